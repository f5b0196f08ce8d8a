"""Weights and features that are not finite are refused by name: with them every score is a silent 0."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def is_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite; one pass, no memory.

    Args:
        values: Any tensor; integers and booleans are finite.
    """
    if not values.is_floating_point() or not values.numel():
        return True
    # Extremes of what holds a NaN are NaN.
    return all(bool(torch.isfinite(end)) for end in values.detach().aminmax())


def check_weights(module: nn.Module, name: str) -> None:
    """Refuses a model with weights that are not finite; for all that is loaded, encoded with, or exported.

    Args:
        module: The model.
        name: What it is called, for the message: its file, its option.

    Raises:
        ValueError: A parameter or buffer holds NaN or infinity.
    """
    check_tensors(((key, tensor) for key, tensor in module.state_dict().items()), name)


def check_tensors(tensors: Iterable[tuple[str, Tensor]], name: str) -> None:
    """Refuses named tensors that are not finite.

    Args:
        tensors: Names and values.
        name: What holds them, for the message.

    Raises:
        ValueError: One holds NaN or infinity.
    """
    broken, count = [], 0
    for key, tensor in tensors:
        count += 1
        if not is_finite(tensor):
            broken.append(key)
    if broken:
        raise ValueError(
            f"{name}: {len(broken):,} of its {count:,} tensors hold NaN or infinite values, such as {broken[0]}; "
            "nothing can be computed with them: its training diverged or the file is damaged, take another one"
        )
