"""The losses of a distillation and their gradients, against the reference's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from litetext.data.prompts.datamodule import PromptBatch, PromptDataModule
from litetext.modules.distill import DistillModule
from litetext.tokenizer import TokenBatch, Tokenizer

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"


class Played(nn.Module):
    """A student that gives features recorded elsewhere."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = nn.Parameter(features)
        self.padding, self.context_length, self.width = "reference", features.shape[1], features.shape[2]

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return self.features


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, Tensor], dict[str, Any]]:
    with np.load(GOLDEN / "arrays.npz") as arrays:
        tensors = {key.removeprefix("loss__"): torch.from_numpy(arrays[key]) for key in arrays if key[:4] == "loss"}
    return tensors, json.loads((GOLDEN / "golden.json").read_text())["losses"]


@pytest.mark.parametrize(("total", "cosine", "weight"), [("S0", 2.0, 0.1), ("S1", 1.5, 0.1), ("L", 1.0, 0.05)])
def test_losses_and_gradients_of_the_reference(
    total: str, cosine: float, weight: float, golden: tuple[dict[str, Tensor], dict[str, Any]]
) -> None:
    arrays, expected = golden
    student = Played(torch.cat([arrays["pred"], arrays["pred_permuted"]]))
    module = DistillModule(
        student,  # type: ignore[arg-type]
        consistency_padding=True,
        cosine_weight=cosine,
        consistency_weight=weight,
    )
    tokens = TokenBatch(torch.zeros(4, 16, dtype=torch.int64), arrays["valid"].bool().sum(1))
    assert torch.equal(tokens.mask, arrays["valid"].bool())
    batch = PromptBatch(torch.arange(4), tokens, torch.arange(4), tokens, arrays["teacher"], None)
    parts = module.losses(batch)
    assert parts["mse"].mean().item() == pytest.approx(expected["masked_mse"], rel=1e-6)
    assert parts["cosine_distance"].mean().item() == pytest.approx(expected["masked_cos"], rel=1e-6)
    consistency = expected["consistency_ref_mean_incl_pads"]
    assert parts["consistency"].mean().item() == pytest.approx(consistency, rel=1e-6)
    module.validation_step(batch._replace(permuted_features=arrays["teacher"]), 0)
    held_out = {name: float(value) for name, value in module.val_losses.compute().items()}
    loss = module.total(parts).mean()
    assert held_out == pytest.approx({**{k: v.mean().item() for k, v in parts.items()}, "loss": loss.item()})
    name = next(key for key in expected if key.startswith(f"total_{total}"))
    assert loss.item() == pytest.approx(expected[name], rel=1e-6)
    if total == "S0":
        loss.backward()
        gradient = torch.cat([arrays["grad_pred_S0"], arrays["grad_perm_S0"]])
        torch.testing.assert_close(student.features.grad, gradient, rtol=1e-5, atol=1e-8)
    module.mse_weight = 3.0
    assert module.total(parts).mean().item() == pytest.approx(expected[name] + 2 * expected["masked_mse"], rel=1e-5)
    module.consistency_padding = False
    masked = expected["consistency_masked_mean_variant(not the reference)"]
    assert module.losses(batch)["consistency"].mean().item() == pytest.approx(masked, rel=1e-6)


def test_a_prompt_without_another_order_adds_no_consistency(shapes: tuple[DistillModule, PromptDataModule]) -> None:
    module, data = shapes
    data.setup("fit")
    rows = Tokenizer(16).encode(["dog", "white dog", "cat"])
    tokens = Tokenizer(16)(["dog", "white dog", "cat"])
    permuted = Tokenizer(16)(["dog white"], tokens.ids.shape[1])
    features = torch.randn(3, tokens.ids.shape[1], 64)
    batch = PromptBatch(torch.arange(3), tokens, torch.tensor([1]), permuted, features, None)
    parts = module.losses(batch)
    assert parts["consistency"].count_nonzero() == 1
    assert parts["consistency"][1] > 0
    assert len(rows[0]) == 3
    # No gradient and no loss from padding, whatever stands there.
    poisoned = batch._replace(features=features.masked_fill(~tokens.mask[..., None], 1e4))
    assert torch.equal(module.total(module.losses(poisoned)), module.total(parts))
