"""What is to be audited, and how its parts are run."""

import math
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litetext.data.prompts.corpora import drawn_world, locate
from litetext.shipped import shipped

Progress = Callable[[str, float], None]
"""Called with the part at hand and the share of the audit that is done."""


@dataclass(frozen=True)
class AuditOptions:
    """What is to be audited.

    Args:
        prompts: Corpora: name to path, as `litetext.data.prompts.corpora.read_prompts` takes them.
        encoder: Text encoder, as `litetext.models.load_tower` takes it; None audits the corpora alone.
        student: Students of the robustness part.
        sam3: SAM3 of the robustness part; None takes the encoder where it is a whole SAM3.
        images: Folder of images for that part; None draws scenes of nouns, or of shapes for the SAM3 of shapes.
        noise: Levels of noise for it, in units of the features' root mean square.
        context_lengths: Contexts to compare.
        sample: Prompts that are encoded.
        budget: Share of the tokens that a context may lose.
        seed: Seed of samples, bootstraps and noise.

    Raises:
        ValueError: If an option is out of its range.
    """

    prompts: Mapping[str, str]
    encoder: str | None = None
    student: Sequence[str] = ()
    sam3: str | None = None
    images: str | None = None
    noise: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 0.97)
    context_lengths: Sequence[int] = (8, 16, 32)
    sample: int = 5000
    budget: float = 0.025
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ValueError("--prompts is empty; give at least one NAME=PATH")
        if min(self.context_lengths, default=0) < 3:
            raise ValueError(
                f"--context_lengths {' '.join(map(str, self.context_lengths)) or 'is empty'}: start and end token "
                "leave no room for a word below 3"
            )
        if self.sample < 1:
            raise ValueError(f"--sample is {self.sample}; it must be at least 1")
        if wrong := [level for level in self.noise if not 0 <= level < math.inf]:
            raise ValueError(f"--noise {wrong[0]}: a level is 0 or more, in units of the features' root mean square")
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; it must be 0 or more")
        if not 0 <= self.budget < 1:
            raise ValueError(f"--budget {self.budget} is outside [0, 1); 0.025 lets 2.5% of the tokens be lost")
        if self.student and not (self.sam3 or self.encoder):
            raise ValueError("--student is followed through a SAM3; name one with --sam3 or --text_encoder")

    def check_paths(self) -> None:
        """Checks that everything named is there, before anything is computed.

        Raises:
            FileNotFoundError: A corpus, model or folder is not there.
        """
        from litetext.models.hub import find_model
        from litetext.models.packaged import packaged

        for name, path in self.prompts.items():
            if not drawn_world(path):
                locate(name, path)
        for option, path in (
            ("--text_encoder", self.encoder),
            ("--sam3", self.sam3),
            *(("--student", p) for p in self.student),
        ):
            if path is not None:
                find_model(packaged(shipped(path)), option, instead="a local path")
        if self.images is not None and not Path(self.images).is_dir():
            raise FileNotFoundError(f"--images {self.images}: no such folder")


class Parts:
    """Runs the parts of an audit one after the other; one that fails leaves a line and no result.

    Args:
        progress: Is called before each part.

    Attributes:
        failed: Why a part failed, by its name.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.failed: dict[str, str] = {}

    def attempt(self, name: str, start: float, function: Callable[[], Any]) -> Any:
        """Runs a part.

        Args:
            name: Its name in `failed`.
            start: Share of the audit that is done before it.
            function: Computes it.

        Returns:
            What it computed, or None when it failed.
        """
        self.progress(name, start)
        try:
            return function()
        except Exception as error:  # whatever is wrong with one part, the others are delivered
            if os.environ.get("LITETEXT_DEBUG") == "1":
                traceback.print_exc()
            reason = " ".join(str(error).split()) or "no reason given"
            self.failed[name] = (
                reason if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {reason}"
            )
            return None
