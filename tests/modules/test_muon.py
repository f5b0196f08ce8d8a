"""Muon beside AdamW: what each of them steps, and that both take up where they stopped."""

import copy

import pytest
import torch
from torch import Tensor, nn

from litetext.modules.muon import Muon, orthogonal


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 6))


def _optimizer(model: nn.Module, lr: float = 0.02) -> Muon:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    return Muon([{"params": matrices, "muon": True, "lr": lr}, {"params": rest, "lr": 0.01, "weight_decay": 0.0}])


def _loss(model: nn.Module, step: int) -> Tensor:
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(step))
    return (model(x) - x.flip(1)).square().mean()


def _train(model: nn.Module, optimizer: Muon, steps: range) -> float:
    for step in steps:
        loss = _loss(model, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _loss(model, 999).item()


def test_singular_values_become_alike() -> None:
    torch.manual_seed(0)
    for shape in ((3, 8, 8), (2, 12, 5), (2, 5, 12)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert float(values.min()) > 0.3
        assert float(values.max()) < 1.3


def test_the_loss_falls_and_a_resumed_run_is_the_same() -> None:
    whole = _model()
    before = _loss(whole, 999).item()
    assert _train(whole, _optimizer(whole), range(60)) < 0.5 * before
    torn = _model()
    first = _optimizer(torn)
    _train(torn, first, range(25))
    state = copy.deepcopy(first.state_dict())
    second = _optimizer(torn)
    second.load_state_dict(state)
    _train(torn, second, range(25, 60))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), torn.parameters(), strict=True))


def test_what_had_no_gradient_stays() -> None:
    model = _model()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = _optimizer(model)
    model[0](torch.randn(4, 6)).sum().backward()
    optimizer.step()
    moved = [not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)]
    assert moved == [True, True, False, False, False, False]


def test_vectors_are_refused_where_matrices_are_due() -> None:
    with pytest.raises(ValueError, match="matrices only"):
        Muon([{"params": [nn.Parameter(torch.zeros(3))], "muon": True}])
