"""Students as ONNX files: token ids and their mask in, token features and their mask out."""

import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor

from litetext.export.graph import INPUTS, OUTPUTS, Graph, Run, mask_of
from litetext.models.text.student import Student

OnnxType = Literal["fp32", "fp16", "int8"]


def export_onnx(
    student: Student,
    folder: str | os.PathLike[str],
    dtype: OnnxType = "fp32",
    batch: int | None = None,
    length: int | None = None,
    name: str = "model.onnx",
    about: Mapping[str, str] | None = None,
    traced: Path | None = None,
) -> Path:
    """Writes a student as an ONNX file, for any runtime.

    Inputs `input_ids` and `attention_mask` (1 at tokens, 0 at padding, which stands behind them), int64 (B, L); outputs
    `text_features` (B, L, width), float32, zeros at padding, and `text_mask` (B, L), bool. L may be anything from 2 to
    the student's context length, so that a prompt alone needs no padding; for a student with `padding: reference` it is
    the context length.

    Args:
        student: Any student; it stays as it is.
        folder: Made if need be.
        dtype: What weights are stored in. `int8`: the matrices of linear layers only, by output channel in 7 bits, so
            that no sum overflows on processors without 8-bit dot products (ONNX Runtime's dynamic quantisation).
        batch: Prompts at once, B; None for any number.
        length: Tokens of every prompt, L; None for any number.
        name: Of the file.
        about: What the file says of itself, its `metadata_props`.
        traced: For `int8`, a file of the same student, batch and length in `fp32`: it is not traced again.

    Returns:
        The file.

    Raises:
        ValueError: If the type is unknown, `batch` or `length` do not fit, or packages of the extra `onnx` are missing.
    """
    if dtype not in ("fp32", "fp16", "int8"):
        raise ValueError(f"dtype={dtype!r} is unknown; choose fp32, fp16 or int8")
    try:
        import onnx
        import onnxscript  # noqa: F401  # the exporter needs it
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install onnx onnxscript onnxruntime") from error
    graph = Graph(student, dtype == "fp16", batch, length)
    target = Path(folder) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch, _quiet():
        if dtype != "int8":
            _trace(graph, target)
        else:
            model = onnx.load(traced or _trace(graph, Path(scratch) / "model.onnx"))
            del model.graph.value_info[:]  # the quantiser transposes weights and leaves their old shapes there
            quantize_dynamic(
                model,
                target,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
        if about:
            model = onnx.load(target)
            onnx.helper.set_model_props(model, dict(about))
            onnx.save(model, target)
    return target


def _trace(graph: Graph, file: Path) -> Path:
    torch.onnx.export(
        graph,
        graph.inputs,
        file,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        dynamic_shapes=graph.shapes,
        dynamo=True,
        external_data=False,  # a student is far below the 2 GB of one file
        verbose=False,
    )
    return file


def float_operators(file: str | os.PathLike[str]) -> list[str]:
    """What an int8 file computes in 32 bits all the same, and why, one sentence each.

    Args:
        file: Of `export_onnx`.
    """
    import onnx

    kinds = Counter(node.op_type for node in onnx.load(file, load_external_data=False).graph.node)
    return [f"{kinds[kind]} {kind}: {why}" for kind, why in _FLOAT.items() if kinds[kind]]


_FLOAT = {
    "Conv": "depthwise convolutions, which ONNX Runtime computes in 8 bits (ConvInteger) slower than in 32",
    "MatMul": "products of two activations inside attention, neither of which is a weight",
    "Gemm": "products with a bias added in the same step, which dynamic quantisation leaves",
    "Gather": "rows of the token table, which are read and not computed with",
    "LayerNormalization": "normalisation, whose statistics need the range of floats",
    "Softmax": "attention weights, which 8 bits would cut off",
    "Erf": "the exact GELU between two layers",
}


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
        given = dict(zip(INPUTS, (ids.numpy(), mask_of(ids, lengths).numpy()), strict=True))
        features, mask = session.run(list(OUTPUTS), given)
        return torch.from_numpy(features), torch.from_numpy(mask)

    return run
