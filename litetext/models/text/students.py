"""Students back from our own Lightning checkpoints."""

from pathlib import Path

import torch

from litetext.checkpoints.hub_tokenizer import HubTokenizer
from litetext.checkpoints.lightning import read_checkpoint
from litetext.checkpoints.reading import open_state
from litetext.checkpoints.text import TextState, require_match
from litetext.models.finite import check_weights
from litetext.models.text.kinds import build_student
from litetext.models.text.student import Student


def load_student(path: str, finite: bool = True) -> Student:
    """Builds the student of a checkpoint that `litetext fit` wrote, without its teacher.

    Args:
        path: The `.ckpt` file.
        finite: Refuse weights that are not finite.

    Returns:
        The student in eval mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of a litetext student, or its weights are of another one or not finite.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"student checkpoint {path}: no such file; fit writes checkpoints/RUN/best.ckpt")
    stored = read_checkpoint(path)
    config = stored.get("litetext", {}).get("student")
    if config is None:
        raise ValueError(f"{path} holds no litetext student; give a .ckpt that `litetext fit` wrote with DistillModule")
    try:
        with torch.device("meta"):
            student = build_student(config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} describes a student that this version cannot build ({error})") from error
    reads = stored["litetext"].get("tokenizer")
    if reads is not None:
        student.reads = HubTokenizer.from_state(reads)
    del stored
    weights = {key.removeprefix("student."): value for key, value in open_state(path).under(["student."]).items()}
    require_match(student.state_dict(), weights, TextState(weights, "native", "student.", path))
    student.load_state_dict(weights, assign=True)
    if finite:
        check_weights(student, path)
    return student.eval()
