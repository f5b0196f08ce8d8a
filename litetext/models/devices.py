"""Where a model computes, and in what."""

import textwrap
from typing import Literal, cast, get_args

import torch

from litetext.files import reason

DType = Literal["float32", "bfloat16", "float16"]
"""What a segmenter's weights are, and what it computes in."""

DTypeOption = Literal["auto", "float32", "bfloat16", "float16"]
"""As `DType`; `auto` goes by the device, see `choose_dtype`."""


def find_device(name: str | torch.device | None) -> torch.device:
    """The device of a name, if this machine has it.

    Args:
        name: Such as `cpu`, `cuda:1` or `mps`; None takes a GPU of CUDA or ROCm, else Apple's, else the CPU.

    Raises:
        ValueError: It is no device that PyTorch knows, or not one of this machine.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name} is none that PyTorch knows; choose such as {_there()}") from error
    if device.type == "meta":
        raise ValueError(f"device meta computes nothing; choose {_there()}")
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name} is not there ({_reason(error)}); choose {_there()}") from error
    return device


def choose_dtype(name: str, device: str | torch.device) -> DType:
    """What is computed in on a device.

    Args:
        name: One of `DTypeOption`; `auto` is bfloat16 on a GPU that computes in it, as Meta's SAM3 runs, and float32
            elsewhere.
        device: Where it will compute.

    Raises:
        ValueError: It is no such type.
    """
    if name not in get_args(DTypeOption):
        raise ValueError(f"dtype is {name!r}; choose from {', '.join(get_args(DTypeOption))}")
    if name != "auto":
        return cast(DType, name)
    return "bfloat16" if _has_bfloat16(torch.device(device)) else "float32"


def products_on(device: torch.device) -> str:
    """The type of a device, and how it multiplies float32 matrices where it may do so in TF32."""
    how = torch.get_float32_matmul_precision()
    return device.type if device.type == "cpu" or how == "highest" else f"{device.type}, {how} products"


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cpu":  # most only imitate it
        return False
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        ones = torch.ones(2, 2, dtype=torch.bfloat16, device=device)
        return float((ones @ ones).float().sum().cpu()) == 8
    except (RuntimeError, TypeError, AssertionError, NotImplementedError):
        return False


def _there() -> str:
    found = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return " or ".join(found)


def _reason(error: Exception) -> str:
    return textwrap.shorten(reason(error, 500).split(". ")[0].rstrip("."), 100, placeholder=" ...")
