"""What is exported: a student, where it comes from, and its weights as public layouts can hold them."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from litetext.checkpoints.lightning import read_checkpoint
from litetext.checkpoints.text import resize_positions
from litetext.models.text.folder import stored_config
from litetext.models.text.kinds import build_student
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.student import Student
from litetext.shipped import shipped

Positions = Literal["keep", "slice", "interpolate"]
_ABOUT = ("teacher", "teacher_parameters", "sources", "context_length", "scores")


@dataclass(frozen=True)
class ExportSource:
    """A student to export, and where it comes from.

    Attributes:
        student: In eval mode, its position table resized if that was asked.
        checkpoint: Where it came from, as the user wrote it.
        about: What the checkpoint says of its making: `teacher`, `teacher_parameters`, `sources`, `scores`; or nothing.
            Scores are those of this student: with resized positions, or a part of its tokens, it has none.
        positions: What was done to the position table, in words; empty if nothing.
    """

    student: Student
    checkpoint: str
    about: dict[str, Any]
    positions: str

    def dense_state(self) -> dict[str, Tensor]:
        """The weights by our names; a factorised token table multiplied out, since no public layout has one."""
        state = {key: value.detach() for key, value in self.student.state_dict().items()}
        lift = state.pop("embedding.lift.weight", None)
        if lift is not None:
            state["embedding.token.weight"] = state["embedding.token.weight"] @ lift.T
        return state


def read_source(path: str, context_length: int | None = None, positions: Positions = "keep") -> ExportSource:
    """Loads a student to export.

    Args:
        path: Whatever `load_text_encoder` takes that is a student.
        context_length: Rows of the position table in the export; None keeps the student's own.
        positions: How a table of another length is made from the student's: its first rows (`slice`), or resampled
            (`interpolate`). They are different students; `keep` refuses.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is no student in full precision, or the positions do not fit.
    """
    student = load_text_encoder(path)
    if not isinstance(student, Student):
        raise ValueError(f"{path} is SAM3's own text encoder; export takes a student that `litetext fit` wrote")
    with torch.device("meta"):
        plain = build_student(student.config)
    if plain.state_dict().keys() != student.state_dict().keys():
        raise ValueError(
            f"{path} holds a student in 8 bits or with part of its vocabulary; export the one it came from"
        )
    where = shipped(str(path))
    stored = read_checkpoint(where) if where.endswith(".ckpt") else stored_config(where)
    about = stored.get("litetext") or {}
    if about.get("scored_step") not in (None, stored.get("global_step")):
        about = {**about, "scores": {}}  # a last.ckpt's are those of an earlier validation
    about = {key: value for key, value in about.items() if key in _ABOUT}
    note = ""
    if context_length is not None and context_length != student.context_length:
        if context_length < 3:
            raise ValueError(f"--context_length {context_length} leaves no room between start and end; give at least 3")
        if positions == "keep":
            raise ValueError(
                f"--context_length {context_length}, and {path} has {student.context_length} positions; choose "
                "--positions slice (its first rows) or interpolate (resampled, as some published students were)"
            )
        state, note = resize_positions(student.state_dict(), context_length, positions, str(path))
        reads, student = student.reads, build_student(student.config, context_length=context_length)
        student.load_state_dict(state)
        student.reads = reads
    if note or (student.reads is not None and student.reads.sam3_ids):  # another student than the one that was scored
        about = {**about, "scores": {}}
    return ExportSource(student.eval().requires_grad_(False), str(path), about, note)
