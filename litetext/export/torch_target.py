"""Students as ExportedProgram: a graph of PyTorch operators with its weights, run without this package."""

import io
import os
from pathlib import Path

import torch
from torch import Tensor

from litetext.export.graph import Graph, Run, mask_of
from litetext.files import write_bytes
from litetext.models.text.student import Student


def export_torch(
    student: Student, folder: str | os.PathLike[str], batch: int | None = None, length: int | None = None
) -> Path:
    """Writes a student as `model.pt2`, which `torch.export.load` opens.

    Inputs and outputs are those of `litetext.export.graphs.export_onnx`; weights are in 32 bits.

    Args:
        student: Any student; it stays as it is.
        folder: Made if need be.
        batch: Prompts at once; None for any number.
        length: Tokens of every prompt; None for any number.

    Returns:
        The file.

    Raises:
        ValueError: If `batch` or `length` do not fit.
    """
    graph = Graph(student, batch=batch, length=length)
    target = Path(folder) / "model.pt2"
    target.parent.mkdir(parents=True, exist_ok=True)
    held = io.BytesIO()  # on a full disk, torch's own writer of files ends the process
    with torch.no_grad():
        torch.export.save(torch.export.export(graph, graph.inputs, dynamic_shapes=graph.shapes), held)
    write_bytes(target, held.getvalue())
    return target


def open_torch(file: str | os.PathLike[str]) -> Run:
    """An exported student, as `litetext.export.graphs.open_onnx` gives one."""
    graph = torch.export.load(file).module()

    def run(ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return graph(ids, mask_of(ids, lengths))

    return run
