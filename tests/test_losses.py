"""The losses are the reference trainer's, and nothing at padding counts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from litetext.losses import consistency, masked_cosine, masked_mse, pool

GOLDEN = Path(__file__).parent / "fixtures" / "golden"


@pytest.fixture(scope="module")
def expected() -> dict[str, float]:
    return json.loads((GOLDEN / "golden.json").read_text())["losses"]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    names = ("pred", "teacher", "pred_permuted", "valid")
    with np.load(GOLDEN / "arrays.npz") as arrays:
        found = {name: torch.from_numpy(arrays[f"loss__{name}"]) for name in names}
    return found | {"valid": found["valid"].bool()}


def mask_of(lengths: list[int], columns: int) -> Tensor:
    return torch.arange(columns) < torch.tensor(lengths)[:, None]


# The reference


def test_token_losses_are_the_references(recorded: dict[str, Tensor], expected: dict[str, float]) -> None:
    pair, valid = (recorded["pred"], recorded["teacher"]), recorded["valid"]
    assert masked_mse(*pair, valid).mean().item() == pytest.approx(expected["masked_mse"], rel=1e-6)
    assert masked_cosine(*pair, valid).mean().item() == pytest.approx(expected["masked_cos"], rel=1e-6)


def test_a_row_without_valid_tokens_counts_as_zero_like_the_references(
    recorded: dict[str, Tensor], expected: dict[str, float]
) -> None:
    pair, valid = (recorded["pred"], recorded["teacher"]), recorded["valid"].clone()
    valid[3] = False
    mse, cosine = masked_mse(*pair, valid), masked_cosine(*pair, valid)
    assert mse[3] == cosine[3] == 0
    assert mse.mean().item() == pytest.approx(expected["masked_mse_row_without_valid"], rel=1e-6)
    assert cosine.mean().item() == pytest.approx(expected["masked_cos_row_without_valid"], rel=1e-6)


def test_without_padding_the_plain_means_are_the_references(
    recorded: dict[str, Tensor], expected: dict[str, float]
) -> None:
    pair, everything = (recorded["pred"], recorded["teacher"]), torch.ones_like(recorded["valid"])
    assert masked_mse(*pair, everything).mean().item() == pytest.approx(expected["mse_unmasked"], rel=1e-6)
    assert masked_cosine(*pair, everything).mean().item() == pytest.approx(expected["cos_unmasked"], rel=1e-6)


@pytest.mark.parametrize(
    ("masked", "name"),
    [
        (False, "consistency_ref_mean_incl_pads"),
        (True, "consistency_masked_mean_variant(not the reference)"),
    ],
)
def test_consistency_with_and_without_padding(
    masked: bool, name: str, recorded: dict[str, Tensor], expected: dict[str, float]
) -> None:
    valid = recorded["valid"] if masked else None
    found = consistency(pool(recorded["pred"], valid), pool(recorded["pred_permuted"], valid))
    assert found.mean().item() == pytest.approx(expected[name], rel=1e-6)


# Small cases by hand


def test_mean_squared_error_by_hand() -> None:
    student = torch.tensor([[[1.0, 3.0], [0.0, 2.0]], [[5.0, 5.0], [9.0, 9.0]]])
    teacher = torch.tensor([[[0.0, 1.0], [0.0, 0.0]], [[5.0, 2.0], [0.0, 0.0]]])
    # first: ((1 + 4) / 2 + (0 + 4) / 2) / 2; second: one token, (0 + 9) / 2
    assert masked_mse(student, teacher, mask_of([2, 1], 2)).tolist() == pytest.approx([2.25, 4.5])


def test_cosine_by_hand() -> None:
    student = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]]])
    teacher = torch.tensor([[[5.0, 0.0], [0.0, -1.0], [1.0, 0.0]]])
    found = masked_cosine(student, teacher, mask_of([3], 3))
    assert found.item() == pytest.approx((0 + 2 + 1 - 0.5**0.5) / 3, rel=1e-6)
    assert masked_cosine(student, teacher, mask_of([1], 3)).item() == pytest.approx(0, abs=1e-6)


def test_pool_by_hand() -> None:
    features = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [8.0, 0.0]]])
    assert pool(features).tolist() == [[4.0, 2.0]]
    assert pool(features, mask_of([2], 3)).tolist() == [[2.0, 3.0]]
    assert pool(features, mask_of([0], 3)).tolist() == [[0.0, 0.0]]


def test_consistency_by_hand_and_its_gradient_through_both_sides() -> None:
    one = torch.tensor([[1.0, 2.0]], requires_grad=True)
    other = torch.tensor([[3.0, 2.0]], requires_grad=True)
    found = consistency(one, other)
    assert found.tolist() == [2.0]
    found.sum().backward()
    assert one.grad is not None
    assert other.grad is not None
    assert one.grad.tolist() == [[-2.0, 0.0]]
    assert other.grad.tolist() == [[2.0, 0.0]]


# Laws

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=5)


def pair_of(seed: int, lengths: list[int], columns: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shape = (len(lengths), columns, 5)
    return torch.randn(shape, generator=draw), torch.randn(shape, generator=draw), mask_of(lengths, columns)


@settings(deadline=None)
@given(SEEDS, LENGTHS, st.sampled_from([0.0, -7.5, 1e18, -1e30, 3e38]), st.integers(0, 4))
def test_padding_and_its_amount_count_for_nothing(seed: int, lengths: list[int], poison: float, more: int) -> None:
    student, teacher, mask = pair_of(seed, lengths, 6)
    wider = torch.nn.functional.pad(mask, (0, more))
    spoilt = torch.nn.functional.pad(student, (0, 0, 0, more)).masked_fill(~wider[..., None], poison)
    target = torch.nn.functional.pad(teacher, (0, 0, 0, more)).masked_fill(~wider[..., None], -poison)
    torch.testing.assert_close(masked_mse(spoilt, target, wider), masked_mse(student, teacher, mask))
    torch.testing.assert_close(masked_cosine(spoilt, target, wider), masked_cosine(student, teacher, mask))
    torch.testing.assert_close(pool(spoilt, wider), pool(student, mask))


@settings(deadline=None)
@given(SEEDS, LENGTHS)
def test_valid_tokens_may_stand_anywhere(seed: int, lengths: list[int]) -> None:
    student, teacher, mask = pair_of(seed, lengths, 6)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    for loss in (masked_mse, masked_cosine):
        torch.testing.assert_close(
            loss(student[:, order], teacher[:, order], mask[:, order]), loss(student, teacher, mask)
        )


@settings(deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(2, 7))
def test_every_prompt_weighs_the_same_whatever_its_length(seed: int, length: int, times: int) -> None:
    # The tokens of the first prompt come `times` times over in the second: the same mean, the same weight.
    draw = torch.Generator().manual_seed(seed)
    short = [torch.randn(1, length, 4, generator=draw) for _ in range(2)]
    student, teacher = (
        torch.cat([torch.nn.functional.pad(s, (0, 0, 0, length * (times - 1))), s.repeat(1, times, 1)]) for s in short
    )
    mask = mask_of([length, length * times], length * times)
    for loss in (masked_mse, masked_cosine):
        values = loss(student, teacher, mask)
        torch.testing.assert_close(values[0], values[1])
        alone = loss(*short, mask_of([length], length))
        torch.testing.assert_close(values.mean(), alone[0])


@settings(deadline=None)
@given(SEEDS, LENGTHS)
def test_gradients_reach_valid_tokens_only(seed: int, lengths: list[int]) -> None:
    student, teacher, mask = pair_of(seed, lengths, 6)
    student = student.masked_fill(~mask[..., None], 1e18).requires_grad_()
    total = masked_mse(student, teacher, mask) + masked_cosine(student, teacher, mask)
    (total.sum() + consistency(pool(student, mask), pool(teacher, mask)).sum()).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert not student.grad[~mask].any()
    assert student.grad[mask].any(-1).all()


@pytest.mark.parametrize("zero", ["student", "teacher", "both"])
def test_zero_vectors_give_no_nan(zero: str) -> None:
    student = torch.full((2, 3, 4), 0.0 if zero != "teacher" else 1.0, requires_grad=True)
    teacher = torch.full((2, 3, 4), 0.0 if zero != "student" else 1.0)
    mask = mask_of([3, 2], 3)
    values = masked_cosine(student, teacher, mask)
    assert values.tolist() == [1.0, 1.0]  # no direction: as far as a right angle
    (values + masked_mse(student, teacher, mask)).sum().backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_half_precision_teachers_are_read_as_stored() -> None:
    student, teacher, mask = pair_of(0, [3, 6], 6)
    exact = masked_mse(student, teacher.half().float(), mask)
    assert exact.dtype == torch.float32
    torch.testing.assert_close(masked_mse(student, teacher.half(), mask), exact)
    assert masked_cosine(student, teacher.half(), mask).dtype == torch.float32
