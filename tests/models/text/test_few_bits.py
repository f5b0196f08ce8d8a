"""Weights in 4 to 6 bits: bounds of the error, equal layers, and their size."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from litetext.losses import pool
from litetext.models.text import few_bits
from litetext.models.text.encoder import count_parameters
from litetext.models.text.fast import FastStudent
from litetext.models.text.few_bits import (
    GROUP,
    Int4Embedding,
    Int4Linear,
    _group,
    _unpack_codes,
    pack_codes,
    quantize_groups,
    widen_groups,
)
from litetext.models.text.quantized import LINEARS, Bits, meet, quantize_weights, resident_bytes
from litetext.models.text.stored import LayerInputs, fixed
from litetext.tokenizer import pad
from tests.fixtures.students import nano

BATCH = pad([[1, 2, 3], [4, 5, 6, 7, 8], [9]])


BITS = st.sampled_from([4, 5, 6])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.integers(1, 100), st.sampled_from([4, 5]))
def test_a_group_is_never_worse_than_plain_rounding(seed: int, size: float, columns: int, bits: int) -> None:
    weight = size * torch.randn(5, columns, generator=torch.Generator().manual_seed(seed))
    weight[3] = 0
    packed, scale = quantize_groups(weight, bits)
    wide = widen_groups(packed, scale, bits, columns)
    assert wide.shape == weight.shape
    assert not wide[3].any()
    assert scale.dtype == torch.bfloat16
    group = _group(columns)
    assert packed.shape[1] == scale.shape[1] * group // 2 + (bits - 4) * -(-scale.shape[1] * group // 8)
    assert min(columns, GROUP // 2) <= group <= GROUP
    padding = (0, -columns % group)
    groups, found = (F.pad(part, padding).unflatten(1, (-1, group)) for part in (weight, wide))
    most = 2 ** (bits - 1)
    plain = (groups.abs().amax(2, keepdim=True) / (most - 1)).to(torch.bfloat16).float()
    rounded = torch.nan_to_num(torch.round(groups / plain).clamp(-most, most - 1) * plain)
    errors = [(one - groups).square().sum(2) for one in (found, rounded)]
    assert (errors[0] <= errors[1] * (1 + 1e-5) + 1e-30).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.integers(2 * GROUP + 1, 160))
def test_a_group_whose_scale_is_a_byte_loses_little_more_than_half_a_step(seed: int, size: float, columns: int) -> None:
    weight = size * torch.randn(5, columns, generator=torch.Generator().manual_seed(seed))
    weight[3] = 0
    packed, scale = quantize_groups(weight, 6)
    wide = widen_groups(packed, scale, 6, columns)
    assert wide.shape == weight.shape
    assert not wide[3].any()
    group = _group(columns)
    count = -(-columns // group)
    assert scale.dtype == torch.uint8
    assert scale.shape == (5, count + 2)  # a byte a group, two a row
    groups, found = (F.pad(part, (0, -columns % group)).unflatten(1, (-1, group)) for part in (weight, wide))
    # One of the scales that are tried is 2 to 9% above the one of the largest magnitude: nothing is cut off there.
    step = 1.09 * groups.abs().amax(2) / 31
    least = groups.abs().amax((1, 2))[:, None] / 31 / 100  # a group that is small in its row takes the least scale
    assert ((found - groups).square().sum(2) <= group * (step.maximum(least) / 2).square() * (1 + 1e-4)).all()


@given(st.integers(1, 200))
def test_scales_take_the_fewest_bytes(columns: int) -> None:
    sizes = [part.nbytes for bits in (5, 6) for part in quantize_groups(torch.ones(1, columns), bits)[1:]]
    groups = -(-columns // _group(columns))
    assert sizes == [2 * groups, min(2 * groups, groups + 2)]


def test_scales_that_are_bytes_cost_nothing_at_6_bits() -> None:
    weight = torch.randn(64, 160, generator=torch.Generator().manual_seed(0))
    found = widen_groups(*quantize_groups(weight, 6), 6, 160)
    groups = weight.unflatten(1, (-1, GROUP))
    scales = few_bits._scales(groups, 6, None)[:, :, None]  # in bfloat16
    before = (few_bits._round(groups, scales, 6) * scales).flatten(1)
    assert (found - weight).square().sum() < 1.01 * (before - weight).square().sum()


@pytest.mark.parametrize("bits", [4, 6])
def test_scales_in_bfloat16_are_read(bits: int) -> None:
    draw = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 2**bits, (3, 96), generator=draw, dtype=torch.uint8)
    scales = torch.rand(3, 3, generator=draw).to(torch.bfloat16)  # one for 32 columns
    exact = (codes.float() - 2 ** (bits - 1)) * scales.float().repeat_interleave(32, 1)
    assert torch.equal(widen_groups(pack_codes(codes, bits), scales, bits, 96), exact)
    layer = LINEARS[bits](96, 3)
    layer.weight, layer.scale = fixed(pack_codes(codes, bits)), fixed(scales.clone())
    layer.multiply_rows(torch.tensor([1.0, -2.0, 0.5]))
    torch.testing.assert_close(layer.widened().weight, exact * torch.tensor([[1.0], [-2.0], [0.5]]))


@pytest.mark.parametrize("bits", [4, 5, 6, 8])
def test_rows_are_multiplied(bits: int) -> None:
    layer, factors = LINEARS[bits].of(nn.Linear(100, 3).requires_grad_(False)), torch.tensor([2.0, -0.5, 0.3])
    before = layer.widened().weight.clone()
    layer.multiply_rows(factors)
    torch.testing.assert_close(layer.widened().weight, before * factors[:, None], rtol=4e-3, atol=0)


@given(st.integers(1, 100), BITS)
def test_a_frame_without_numbers_has_their_shapes(columns: int, bits: int) -> None:
    frame, made = (quantize_groups(torch.ones(3, columns, device=device), bits) for device in ("meta", "cpu"))
    assert [(part.shape, part.dtype) for part in frame] == [(part.shape, part.dtype) for part in made]


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 5]), st.integers(1, 70))
def test_numbers_that_fit_come_back(seed: int, bits: int, columns: int) -> None:
    most = 2 ** (bits - 1)
    draw = torch.Generator().manual_seed(seed)
    numbers = torch.randint(1 - most, most, (3, columns), generator=draw).float()
    numbers[:, :: _group(columns)] = most - 1  # the largest, so that a scale of one fits
    packed, scale = quantize_groups(numbers, bits)
    assert torch.equal(widen_groups(packed, scale, bits, columns), numbers)


@given(st.integers(0, 2**32 - 1), BITS, st.integers(1, 70))
def test_codes_come_back(seed: int, bits: int, columns: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 2**bits, (3, 2 * columns), generator=draw, dtype=torch.uint8)
    assert torch.equal(_unpack_codes(pack_codes(codes, bits), bits, 2 * columns), codes)


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_that_knows_its_inputs_keeps_its_outputs_closer(bias: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, 8, generator=draw) @ torch.randn(8, 40, generator=draw)  # few directions, and a mean
    inputs = inputs + torch.randn(400, 40, generator=draw) / 10 + 3
    linear = nn.Linear(40, 30, bias).requires_grad_(False)
    exact, mean = linear(inputs), inputs.mean(0)
    nearest = (Int4Linear.of(linear)(inputs) - exact).square().mean()
    knowing = Int4Linear.of(linear, LayerInputs(mean, torch.cov(inputs.T, correction=0)))
    assert (knowing(inputs) - exact).square().mean() < nearest / 3
    if bias:  # what rounding loses on the mean is not lost
        torch.testing.assert_close(knowing(mean), linear(mean), rtol=0, atol=1e-4)


def test_inputs_are_those_that_layers_meet() -> None:
    student = nano().eval().reparameterize()
    rows = [[1, 2, 3], [4, 5, 6, 7, 8], [9, 1, 2]]
    met = meet(student, rows)
    assert met.keys() == {part for part in student.modules() if isinstance(part, nn.Linear)}
    embedded = [student.embedding.token(torch.tensor(row)) for row in rows]
    tokens = torch.cat(embedded).flatten(0, -2)
    lift = met[student.embedding.lift] if isinstance(student.embedding.lift, nn.Linear) else None
    if lift is not None:
        torch.testing.assert_close(lift.mean, tokens.mean(0))
        torch.testing.assert_close(lift.covariance, torch.cov(tokens.T, correction=0))
    small, knowing = quantize_weights(student, 32, 4), quantize_weights(student, 32, 4, rows)
    batch = pad(rows)
    exact = pool(student(*batch), batch.mask)
    nearest, close = (pool(one(*batch), batch.mask) for one in (small, knowing))
    assert (close - exact).square().sum() < (nearest - exact).square().sum() / 2


def test_layers_equal_their_widened_numbers() -> None:
    linear, table = nn.Linear(40, 6).requires_grad_(False), nn.Embedding(9, 40).requires_grad_(False)
    small, rows = Int4Linear.of(linear), torch.randn(2, 3, 40)
    torch.testing.assert_close(small.widened()(rows), small(rows))
    assert small.widened().weight.shape == (6, 40)
    assert not torch.equal(small(rows), linear(rows))
    torch.testing.assert_close(small(rows), linear(rows), rtol=0, atol=0.5)
    tiny, ids = Int4Embedding.of(table), torch.tensor([[0, 8], [3, 3]])
    assert tiny(ids).shape == (2, 2, 40)
    torch.testing.assert_close(tiny(ids), table(ids), rtol=0, atol=0.31 * float(table.weight.abs().max()))


@pytest.mark.parametrize("repmixer", [False, True])
def test_features_keep_their_direction_in_a_fast_student_too(repmixer: bool) -> None:
    student = nano(repmixer)
    small = quantize_weights(student, 4, 4)
    exact, found = student(*BATCH), small(*BATCH)
    pooled = [pool(features, BATCH.mask) for features in (exact, found)]
    assert F.cosine_similarity(*pooled, dim=-1).min() > 0.97
    torch.testing.assert_close(FastStudent(small)(*BATCH)[BATCH.mask], found[BATCH.mask], rtol=1e-4, atol=1e-4)
    assert resident_bytes(small) < 0.75 * resident_bytes(quantize_weights(student))


@pytest.mark.parametrize("bits", [4, 6])
def test_parameters_are_numbers_and_not_bytes(bits: Bits) -> None:
    student = nano()
    own = count_parameters(student.reparameterize()) - student.eot_projection.numel()
    small = quantize_weights(student, bits, bits)
    parts = [part for part in small.modules() if isinstance(part, few_bits.FewBits)]
    as_bytes = [part.scale.dtype == torch.uint8 for part in parts]  # then a row has a base besides, in two bytes
    assert any(as_bytes) == (bits == 6)
    scales = sum(p.scale.numel() - len(p.scale) * known for p, known in zip(parts, as_bytes, strict=True))
    assert count_parameters(small) == own + scales
