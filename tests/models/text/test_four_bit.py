"""Weights in 4 bits: bounds of the error, equal layers, and their size."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from litetext.losses import pool
from litetext.models.text.encoder import count_parameters
from litetext.models.text.fast import FastStudent
from litetext.models.text.four_bit import GROUP, Int4Embedding, Int4Linear, quantize_groups, widen_groups
from litetext.models.text.quantized import quantize_weights, resident_bytes
from litetext.tokenizer import pad
from tests.fixtures.students import nano

BATCH = pad([[1, 2, 3], [4, 5, 6, 7, 8], [9]])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.integers(1, 100))
def test_a_group_is_never_worse_than_plain_rounding(seed: int, size: float, columns: int) -> None:
    weight = size * torch.randn(5, columns, generator=torch.Generator().manual_seed(seed))
    weight[3] = 0
    packed, scale = quantize_groups(weight)
    wide = widen_groups(packed, scale)
    assert packed.shape == (5, wide.shape[1] // 2)
    group = wide.shape[1] // scale.shape[1]
    assert group % 2 == 0
    assert min(columns, GROUP // 2) <= group <= GROUP
    assert wide.shape[1] - columns < group
    assert not wide[:, columns:].any()
    assert not wide[3].any()
    groups = F.pad(weight, (0, wide.shape[1] - columns)).unflatten(1, (-1, group))
    plain = (groups.abs().amax(2, keepdim=True) / 7).to(torch.bfloat16).float()
    rounded = torch.nan_to_num(torch.round(groups / plain).clamp(-8, 7) * plain)
    errors = [(one - groups).square().sum(2) for one in (wide.unflatten(1, (-1, group)), rounded)]
    assert (errors[0] <= errors[1] * (1 + 1e-5) + 1e-30).all()


@given(st.integers(0, 2**32 - 1))
def test_numbers_that_fit_come_back(seed: int) -> None:
    numbers = torch.randint(-7, 8, (3, 2 * GROUP), generator=torch.Generator().manual_seed(seed)).float()
    numbers[:, ::GROUP] = 7  # the largest, so that a scale of one fits
    assert torch.equal(widen_groups(*quantize_groups(numbers)), numbers)


def test_layers_equal_their_widened_numbers() -> None:
    linear, table = nn.Linear(40, 6).requires_grad_(False), nn.Embedding(9, 40).requires_grad_(False)
    small, rows = Int4Linear.of(linear), torch.randn(2, 3, 40)
    torch.testing.assert_close(small.widened()(rows), small(rows))
    assert small.widened().weight.shape == (6, 40)
    assert not torch.equal(small(rows), linear(rows))
    torch.testing.assert_close(small(rows), linear(rows), rtol=0, atol=0.5)
    tiny, ids = Int4Embedding.of(table), torch.tensor([[0, 8], [3, 3]])
    assert tiny(ids).shape == (2, 2, 40)
    torch.testing.assert_close(tiny(ids), table(ids), rtol=0, atol=float(table.weight.abs().max()) / 12)


@pytest.mark.parametrize("repmixer", [False, True])
def test_features_keep_their_direction_in_a_fast_student_too(repmixer: bool) -> None:
    student = nano(repmixer)
    small = quantize_weights(student, 4, 4)
    exact, found = student(*BATCH), small(*BATCH)
    pooled = [pool(features, BATCH.mask) for features in (exact, found)]
    assert F.cosine_similarity(*pooled, dim=-1).min() > 0.97
    torch.testing.assert_close(FastStudent(small)(*BATCH)[BATCH.mask], found[BATCH.mask], rtol=1e-4, atol=1e-4)
    assert resident_bytes(small) < 0.75 * resident_bytes(quantize_weights(student))


def test_parameters_are_numbers_and_not_bytes() -> None:
    student = nano()
    own = count_parameters(student.reparameterize()) - student.eot_projection.numel()
    small = quantize_weights(student, 4, 4)
    scales = sum(p.scale.numel() for p in small.modules() if isinstance(p, Int4Linear | Int4Embedding))
    assert count_parameters(small) == own + scales
