"""A torchmetrics state of rows with keys: every row counts once, in the order of the keys, on any number of ranks."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn


class KeyedMetric(Metric):
    """Rows of `width` float64 numbers, each under a key of two integers.

    Samplers repeat entries to fill the last batch, and floating-point sums depend on their order: `rows` gives each
    key once and sorted.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    width = 0

    keys: list[Tensor]
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("keys", [], dist_reduce_fx="cat")
        self.add_state("values", [], dist_reduce_fx="cat")

    def add(self, keys: Any, values: Any) -> None:
        """Keeps rows.

        Args:
            keys: Two integers a row, (r, 2).
            values: The rows, (r, width).

        Raises:
            ValueError: There is not one key a row.
        """
        keys, values = np.asarray(keys, dtype=np.int64).reshape(-1, 2), np.asarray(values, dtype=np.float64)
        if values.shape != (len(keys), self.width):
            raise ValueError(f"{len(keys)} keys but rows of shape {values.shape}; give ({len(keys)}, {self.width})")
        self.keys.append(torch.from_numpy(keys.copy()).to(self.device))
        # As integers: not every device has float64, and no bit may change on the way.
        self.values.append(torch.from_numpy(values.copy()).view(torch.int64).to(self.device))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gathers the ranks; one without rows takes part with none."""
        if isinstance(self.keys, list) and not self.keys:
            self.keys = [torch.zeros(0, 2, dtype=torch.int64, device=self.device)]
            self.values = [torch.zeros(0, self.width, dtype=torch.int64, device=self.device)]
        super().sync(*args, **kwargs)

    def rows(self) -> tuple[Int64[np.ndarray, "r 2"], Float64[np.ndarray, "r w"]]:
        """Keys in ascending order and their rows; of rows with the same key the first."""
        held: Any = self.keys
        if not len(held):
            return np.zeros((0, 2), dtype=np.int64), np.zeros((0, self.width))
        parts = [part if isinstance(part, Tensor) else torch.cat(part) for part in (self.keys, self.values)]
        keys, values = once(*(part.cpu().numpy() for part in parts))  # as integers, since NaN is not equal to itself
        return keys, values.view(np.float64)


def once(keys: Int64[np.ndarray, "r k"], values: Any) -> tuple[Any, Any]:
    """Each key once, ascending, with the first of its rows; warns where rows of one key differ.

    A sampler that repeats entries gives equal rows; others mean that ids start anew with each batch or subset.

    Args:
        keys: Integers a row, (r, k).
        values: Rows, (r, w).
    """
    found, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    differ = (values != values[first[place.reshape(-1)]]).any(axis=1)
    if differ.any():
        number = ", ".join(map(str, keys[differ][0].tolist()))
        rank_zero_warn(
            f"{int(differ.sum()):,} of {len(keys):,} rows have the id of an earlier row and other numbers (first: id "
            f"{number}); each id counts once, as it came first: give every datapoint an id of its own"
        )
    return found, values[first]
