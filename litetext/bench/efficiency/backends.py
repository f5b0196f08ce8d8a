"""Ways to run a text encoder: plain PyTorch, compiled, ONNX Runtime, 8-bit linear layers; each where installed."""

import importlib.util
import logging
import shutil
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn

from litetext.models.text.quantized import dynamic_int8

Backend = Literal["eager", "compiled", "onnx", "int8"]
Run = Callable[[Tensor, Tensor], Any]
FIXED_SHAPE: frozenset[Backend] = frozenset({"compiled", "onnx"})
"""Backends made for one batch size and length; they compute padding, as nothing may depend on the data there."""

_ONNX = ("onnx", "onnxruntime", "onnxscript")


def missing(backend: Backend, device: str, dtype: str = "float32") -> str | None:
    """Why a backend cannot run here, or None if it can.

    Args:
        backend: The backend.
        device: Where the encoder is to run.
        dtype: What it is to compute in.
    """
    kind = torch.device(device).type
    if backend == "onnx":
        absent = [name for name in _ONNX if importlib.util.find_spec(name) is None]
        if absent:
            return f"{' and '.join(absent)} not installed: pip install {' '.join(_ONNX)}"
    if backend in ("onnx", "int8"):
        if kind != "cpu":
            return f"measured on the CPU only, not on {device}"
        if dtype not in ("float32", "int8"):
            return f"made from float32 weights, not from {dtype}"
    if backend == "int8" and torch.backends.quantized.engine == "none":
        return "this PyTorch has no engine for 8-bit layers"
    if backend == "compiled" and kind == "cpu" and not any(map(shutil.which, ("g++", "clang++", "cl"))):
        return "torch.compile needs a C++ compiler (g++ or clang++)"
    return None


def prepare(encoder: nn.Module, backend: Backend, threads: int) -> Run:
    """What runs an encoder on a backend; the encoder itself is used up.

    Args:
        encoder: In eval mode, on its device; for `onnx` and `int8` in float32.
        backend: One that is not `missing`.
        threads: CPU threads of ONNX Runtime; PyTorch's are set elsewhere.

    Returns:
        A function of ids (B, L) and lengths (B,).
    """
    if backend == "compiled":
        return torch.compile(encoder, dynamic=False)
    if backend == "onnx":
        return OnnxRun(encoder, threads)
    if backend == "int8":
        return dynamic_int8(encoder)
    return encoder


class OnnxRun:
    """An encoder in ONNX Runtime: a graph of its own for every shape of the ids, exported when first met.

    Args:
        encoder: The encoder, in float32 on the CPU.
        threads: Threads within an operator.
    """

    def __init__(self, encoder: nn.Module, threads: int) -> None:
        self.encoder, self.threads = encoder, threads
        self.sessions: dict[tuple[int, ...], Any] = {}

    def __call__(self, ids: Tensor, lengths: Tensor) -> Any:
        """Ids (B, L) and lengths (B,) -> features (B, L, width) as an array."""
        shape = tuple(ids.shape)
        if shape not in self.sessions:
            self.sessions[shape] = self._export(ids, lengths)
        return self.sessions[shape].run(None, {"ids": ids.numpy(), "lengths": lengths.numpy()})[0]

    def _export(self, ids: Tensor, lengths: Tensor) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with TemporaryDirectory() as folder, warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            file = Path(folder) / "encoder.onnx"
            torch.onnx.export(
                self.encoder,
                (ids, lengths),
                file,
                input_names=["ids", "lengths"],
                output_names=["features"],
                dynamo=True,
                external_data=True,  # one file may not exceed 2 GB
                verbose=False,
            )
            return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
