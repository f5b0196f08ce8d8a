"""Muon for the matrices of hidden layers, AdamW for everything else, as one optimizer."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.AdamW):
    """AdamW in which groups marked `muon` take orthogonalised momentum steps instead (Jordan et al., 2024).

    `torch.optim.Muon` takes matrices alone and one by one; a model of a hundred small matrices then spends its time
    on starting kernels. Here all matrices of a shape are orthogonalised together.

    Args:
        groups: Parameter groups; those with `muon: True` hold matrices only.
        lr: Learning rate of groups that name none.
        betas: AdamW's.
        momentum: Muon's, in Nesterov's form.
        weight_decay: Decoupled decay of groups that name none.

    Raises:
        ValueError: If a `muon` group holds something other than matrices.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        groups = [{"muon": False, "momentum": momentum, **group} for group in groups]
        if any(p.ndim != 2 for group in groups if group["muon"] for p in group["params"]):
            raise ValueError("Muon steps matrices only; give vectors and convolutions to a group without `muon`")
        super().__init__(groups, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
        self._step_supports_amp_scaling = False  # Muon's part would not unscale its gradients

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Steps both kinds of groups; parameters without a gradient stay."""
        loss = None
        if closure is not None:  # it may clip the gradients of all groups
            with torch.enable_grad():
                loss = closure()
        every = self.param_groups
        self.param_groups = [group for group in every if not group["muon"]]
        try:
            super().step()
        finally:
            self.param_groups = every
        for group in every:
            if group["muon"]:
                self._step_matrices(group)
        return loss

    @torch.no_grad()
    def _step_matrices(self, group: dict[str, Any]) -> None:
        shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                shapes[parameter.shape].append(parameter)
        each: Any = torch  # its functions over lists are untyped
        for shape, parameters in shapes.items():
            for parameter in parameters:
                if not self.state[parameter]:  # AdamW looks for a step when a state is loaded
                    self.state[parameter].update(step=torch.tensor(0.0), momentum_buffer=torch.zeros_like(parameter))
            memory = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
            gradients: list[Any] = [parameter.grad for parameter in parameters]
            each._foreach_lerp_(memory, gradients, 1 - group["momentum"])
            ahead = torch.stack(gradients).lerp(torch.stack(memory), group["momentum"])
            steps = orthogonal(ahead) * max(1.0, shape[0] / shape[1]) ** 0.5
            each._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            each._foreach_add_(parameters, list(steps.unbind()), alpha=-group["lr"])


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest half-orthogonal matrices, roughly: singular values end between about 0.7 and 1.2.

    Args:
        matrices: (N, rows, columns).
        steps: Newton-Schulz steps of the quintic with Jordan's coefficients.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x
