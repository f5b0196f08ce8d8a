"""Least-cost assignment of many small problems at once, on the device where the costs are."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@torch.no_grad()
def assign(cost: Float[Tensor, "n r q"], rows: Int64[Tensor, " n"]) -> Int64[Tensor, "n r"]:
    """Gives every row a column of its own such that the sum of the costs is least.

    SciPy solves one problem at a time on the processor, so each training step would wait for a copy from the
    accelerator and then for hundreds of small problems. Here all of them take the same steps of the shortest
    augmenting path method (Hungarian), R (R + 1) / 2 at most.

    Args:
        cost: Finite costs, (N, R, Q) with R <= Q.
        rows: How many rows of each problem count, (N,): the first ones.

    Returns:
        The column of each row, (N, R); -1 for rows that do not count.

    Raises:
        ValueError: If there are more rows than columns.
    """
    problems, most, columns = cost.shape
    if most > columns:
        raise ValueError(f"{most} rows cannot have a column each of {columns}")
    cost = cost.float()
    # Row and column 0 stand for "none"; potentials of rows and columns, and the row that has each column.
    row_price, column_price = cost.new_zeros(problems, most + 1), cost.new_zeros(problems, columns + 1)
    owner = torch.zeros(problems, columns + 1, dtype=torch.int64, device=cost.device)
    far = torch.finfo(cost.dtype).max
    for row in range(1, most + 1):
        owner[:, 0] = torch.where(rows >= row, row, 0)  # a row that does not count begins and ends at "none"
        here = torch.zeros(problems, 1, dtype=torch.int64, device=cost.device)
        distance, came = torch.full_like(column_price, far), torch.zeros_like(owner)
        seen = torch.zeros_like(owner, dtype=torch.bool)
        for _ in range(row):
            mine = owner.gather(1, here)
            active = mine > 0
            seen.scatter_(1, here, active | seen.gather(1, here))
            step = _row(cost, mine) - row_price.gather(1, mine) - column_price[:, 1:]
            shorter = active & ~seen[:, 1:] & (step < distance[:, 1:])
            distance[:, 1:] = torch.where(shorter, step, distance[:, 1:])
            came[:, 1:] = torch.where(shorter, here, came[:, 1:])
            nearest, where = distance[:, 1:].masked_fill(seen[:, 1:], far).min(1, keepdim=True)
            delta = torch.where(active, nearest, 0)
            change = seen * delta
            row_price.scatter_add_(1, owner, change)
            column_price -= change
            distance = torch.where(seen, distance, distance - delta)
            here = torch.where(active, where + 1, here)
        for _ in range(row):  # every column on the path goes to the row before it
            before = came.gather(1, here)
            owner.scatter_(1, here, torch.where(here > 0, owner.gather(1, before), owner.gather(1, here)))
            here = torch.where(here > 0, before, here)
    chosen = torch.full((problems, most + 1), -1, dtype=torch.int64, device=cost.device)
    chosen.scatter_(1, owner[:, 1:], torch.arange(columns, device=cost.device).expand(problems, -1))
    return chosen[:, 1:]


def _row(cost: Tensor, row: Tensor) -> Tensor:
    """The costs of one row each, (N, Q); `row` (N, 1) counts from 1."""
    return cost.gather(1, (row - 1).clamp(min=0)[..., None].expand(-1, -1, cost.shape[2]))[:, 0]
