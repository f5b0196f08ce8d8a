"""What the evaluations of images and of videos share: the run's folder and key, the results, and how they are shown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger

from litetext.data.images.items import Skip
from litetext.models.devices import DType, DTypeOption, choose_dtype
from litetext.models.text.encoder import PhraseFeatures
from litetext.modules.cache_key import begin_key
from litetext.modules.kinds import kinds_table
from litetext.modules.probes import probes_table
from litetext.modules.ranks import meet
from litetext.modules.results import missing_side, notes, refuse_nothing, table
from litetext.modules.results_files import (
    RESULTS,
    check_name,
    check_place,
    claim_boards,
    publish,
    replace_json,
    run_folder,
)
from litetext.modules.resume_cache import ResumeCache, open_resume_cache
from litetext.modules.seed_tables import add_seeds, seeds_table

_NO_TOKEN = "texts without the geometry token (model.geometry_token)"


class EvaluationModule(LightningModule):
    """An evaluation of text encoders before one frozen SAM3: `litetext test`.

    Args:
        names: Paths of the text encoders, by name.
        geometry_token: Append the token that Meta's SAM3 adds to every text.
        dtype: Type of the segmenter's weights and computation.
        fresh: Compute everything anew and clear what an earlier run of the same evaluation stored.

    Attributes:
        phrases: Features of the phrases, by text encoder.
        text_parameters: Parameters of each text encoder.
        identity: Hash of all that decides every answer: code, options, weights.
        results: What `results.json` says.

    Raises:
        ValueError: A name cannot be that of a file.
    """

    def __init__(self, names: Mapping[str, str], geometry_token: bool, dtype: DTypeOption, fresh: bool) -> None:
        super().__init__()
        for name in names:
            check_name("a name in model.text_encoders", name)
        self.names, self.geometry_token, self.fresh = dict(names), geometry_token, fresh
        self.dtype_option: DTypeOption = dtype
        self.dtype_name: DType = "float32"
        self.phrases: dict[str, PhraseFeatures] = {}
        self.text_parameters: dict[str, int] = {}
        self.identity = ""
        self.results: dict[str, Any] = {}

    def begin(self, option: str, parts: Iterable[str], options: Mapping[str, Any]) -> Any:
        """Checks where the results will go, and chooses the type of computation.

        Args:
            option: What the names of the data's parts were given to, for messages.
            parts: These names: files are named after them.
            options: What decides the answers beside weights and type.

        Returns:
            The hash of what holds for all items; it takes up the models next.

        Raises:
            ValueError: A name cannot be that of a file, the folder holds something else, or the device does not
                compute in the type.
        """
        for part in parts:
            check_name(option, part)
        check_place(run_folder(self))
        self.dtype_name = choose_dtype(self.dtype_option, self.trainer.strategy.root_device)
        return begin_key(self, {"geometry_token": self.geometry_token, "dtype": self.dtype_name, **options})

    def open_cache(self, identity: Any) -> ResumeCache:
        """The stored answers of this evaluation; every process must call it.

        Args:
            identity: The hash from `begin`, with all models in it.
        """
        self.identity = identity.hexdigest()
        folder = run_folder(self) / "records" / self.identity[:16]
        cache = open_resume_cache(folder, self, self.fresh)
        self.ranks = meet(self.trainer, folder)
        return cache

    def complete(
        self,
        sides: Mapping[str, tuple[int, int]],
        official: Mapping[str, Mapping[str, Mapping[str, Any]]],
        skips: Sequence[Skip],
        asked: str,
        limited: bool,
        dtype: str | None,
        unofficial: Sequence[str] = (),
    ) -> None:
        """Adds to `results` what stands beside the scores.

        Args:
            sides: Scored pairs with the phrase in the image or video and without it, by subset.
            official: The official evaluator's numbers, by text encoder and subset; they are 0 or -1 where nothing
                defines them, and become None where nothing was scored.
            skips: What could not be read.
            asked: How much there was to score, for messages.
            limited: A limit (`data.limit`, `trainer.limit_test_batches`) left a part of the data unasked.
            dtype: Type of the segmenter's computation; None without one.
            unofficial: What is otherwise than in the official protocol, a geometry token left out aside.

        Raises:
            ValueError: Nothing was scored.
        """
        left_out = sum(len(skip.ids) for skip in skips)
        first = f"; the first reason: {skips[0]}" if skips else ""
        refuse_nothing(self.results, f"{asked} asked, {left_out:,} pairs left out{first}")
        add_seeds(self.results)
        self.results |= {
            "dtype": dtype,
            "partial": limited or bool(skips),
            "limited": limited,
            "left_out": left_out,
            "unofficial": [*unofficial, *(() if self.geometry_token or not self.names else (_NO_TOKEN,))],
            "not_scored": {part: why for part, pair in sides.items() if (why := missing_side(*pair)) is not None},
            "official": {
                name: {part: row if any(sides[part]) else dict.fromkeys(row) for part, row in rows.items()}
                for name, rows in official.items()
            },
        }

    @property
    def board(self) -> Any:
        """TensorBoard's writer of the run; None where it logs elsewhere or not at all."""
        logger = self.trainer.logger
        return logger.experiment if isinstance(logger, TensorBoardLogger) else None

    def publish(self, fill: Callable[[Path], None], segmenter: Sequence[str], reuse: str) -> None:
        """Writes predictions and results into the run's folder, and shows the results.

        Args:
            fill: Writes predictions and pictures into an empty folder.
            segmenter: Lines about the segmenter.
            reuse: The line about reused answers, see `describe_reuse`.
        """
        folder, board, evaluation = run_folder(self), self.board, self.results["evaluation"]
        if board is not None:
            claim_boards(folder, evaluation)

        def fill_all(draft: Path) -> None:
            fill(draft)
            replace_json(draft / RESULTS, self.results)

        aside = publish(folder, evaluation, fill_all)
        if board is not None:
            board.add_text("results", table(self.results, markdown=True), 0)
            for name, entry in self.results["encoders"].items():
                boxes = {f"boxes/{c}": value for c, value in entry.get("bbox", {}).get("average", {}).items()}
                for column, value in (entry["average"] | boxes).items():
                    if value is not None:
                        board.add_scalar(f"{name}/{column}", value, 0)
        print(table(self.results))
        for line in notes(self.results["not_scored"]):
            print(line)
        for text in (kinds_table(self.results), probes_table(self.results), seeds_table(self.results)):
            if text:
                print(f"\n{text}\n")
        if self.results["partial"]:
            limit = ", others unasked by a limit (of data or trainer)" if self.results["limited"] else ""
            print(f"partial: {self.results['left_out']:,} pairs were left out{limit}")
        for line in segmenter:
            print(line)
        print(f"results     {folder / RESULTS}\npredictions {folder / 'predictions'}")
        if (folder / "pictures").is_dir():
            print(f"pictures    {folder / 'pictures'}")
        print(reuse)
        if aside is not None:
            print(f"put aside   {aside}: what another evaluation left in {folder}")
