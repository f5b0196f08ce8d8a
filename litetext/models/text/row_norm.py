"""BatchNorm over token rows whose statistics do not depend on how a batch is spread over processes."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor, nn


class _SumOverRanks(torch.autograd.Function):
    """All-reduce by sum, forwards and backwards: every rank's loss depends on every rank's rows."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        summed = grads[0].clone()
        dist.all_reduce(summed)
        return summed


class RowNorm(nn.BatchNorm1d):
    """BatchNorm over rows (N, d); in training under torch.distributed the statistics are those of all ranks.

    torch's own SyncBatchNorm needs GPUs; this one works on any backend, and equals a single process that sees all
    rows. The keys of its state are those of BatchNorm.
    """

    def forward(self, input: Float[Tensor, "n d"], counted: Bool[Tensor, " n"] | None = None) -> Float[Tensor, "n d"]:
        """Rows (N, d) -> rows (N, d).

        Args:
            input: The rows.
            counted: Rows that the statistics count, (N,); None for all. A traced graph keeps padding among the rows.
        """
        alone = not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
        if not self.training or (alone and counted is None):
            return super().forward(input)
        rows = input.float()
        weight = torch.ones_like(rows[:, :1]) if counted is None else counted[:, None].to(rows.dtype)
        # Two sums one after the other: as a difference of moments the variance would lose digits in single precision,
        # and not every device has double.
        sums = torch.cat([(weight * rows).sum(0), weight.sum(0)])
        total, n = (sums if alone else _SumOverRanks.apply(sums)).split([self.num_features, 1])
        mean = total / n
        apart = (weight * (rows - mean).square()).sum(0)
        var = (apart if alone else _SumOverRanks.apply(apart)) / n
        self._track(mean.detach(), var.detach() * n.detach() / (n.detach() - 1).clamp_min(1))
        gain = self.weight / (var + self.eps).sqrt()
        return ((rows - mean) * gain + self.bias).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(var.to(self.running_var.dtype), share)
