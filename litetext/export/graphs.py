"""Students as ONNX files: token ids and lengths in, token features and their mask out."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor

from litetext.export.graph import Graph, Run
from litetext.models.text.mobileclip import MobileClipText

OnnxType = Literal["fp32", "fp16", "int8"]


def export_onnx(
    student: MobileClipText,
    folder: str | os.PathLike[str],
    dtype: OnnxType = "fp32",
    batch: int | None = None,
) -> Path:
    """Writes a student as `model.onnx`, for any runtime.

    Inputs `ids` (B, L) and `lengths` (B,), int64; outputs `features` (B, L, width), float32, and `mask` (B, L). L may
    be anything from 2 to the student's context length, so that a prompt alone needs no padding; for a student with
    `padding: reference` it is the context length.

    Args:
        student: Any student; it stays as it is.
        folder: Made if need be.
        dtype: What weights are stored in. `int8`: the matrices of linear layers only, by output channel in 7 bits, so
            that no sum overflows on processors without 8-bit dot products (ONNX Runtime's dynamic quantisation).
        batch: Prompts at once, B; None for any number.

    Returns:
        The file.

    Raises:
        ValueError: If the type is unknown, `batch` is below 1, or packages of the extra `onnx` are missing.
    """
    if dtype not in ("fp32", "fp16", "int8"):
        raise ValueError(f"dtype={dtype!r} is unknown; choose fp32, fp16 or int8")
    try:
        import onnx
        import onnxscript  # noqa: F401  # the exporter needs it
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install onnx onnxscript onnxruntime") from error
    graph = Graph(student, dtype == "fp16", batch)
    target = Path(folder) / "model.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch, _quiet():
        file = Path(scratch) / "model.onnx" if dtype == "int8" else target
        torch.onnx.export(
            graph,
            graph.inputs,
            file,
            input_names=["ids", "lengths"],
            output_names=["features", "mask"],
            dynamic_shapes=graph.shapes,
            dynamo=True,
            external_data=False,  # a student is far below the 2 GB of one file
            verbose=False,
        )
        if dtype == "int8":
            model = onnx.load(file)
            del model.graph.value_info[:]  # the quantiser transposes weights and leaves their old shapes there
            quantize_dynamic(
                model,
                target,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
    return target


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what exporter and quantiser have to say about themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def open_onnx(file: str | os.PathLike[str], threads: int = 1) -> Run:
    """An exported student in ONNX Runtime on the CPU.

    Args:
        file: Of `export_onnx`.
        threads: Threads within an operator.

    Returns:
        A function of ids (B, L) and lengths (B,) that gives features (B, L, width) and mask (B, L).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])

    def run(ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        features, mask = session.run(None, {"ids": ids.numpy(), "lengths": lengths.numpy()})
        return torch.from_numpy(features), torch.from_numpy(mask)

    return run
