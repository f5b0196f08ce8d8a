"""Spectra against a plain singular value decomposition, against laws, and against tables of known rank."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.audit.spectra import (
    components,
    effective_rank,
    embedding_spectrum,
    position_spectrum,
    singular_values,
    spectrum,
)


def table(rows: int, width: int, seed: int = 0, rank: int | None = None) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    if rank is None:
        return torch.randn(rows, width, generator=draw)
    return torch.randn(rows, rank, generator=draw) @ torch.randn(rank, width, generator=draw)


@pytest.mark.parametrize(("rows", "width"), [(300, 40), (40, 300), (9000, 8), (2, 5)])
def test_singular_values_are_those_of_a_decomposition(rows: int, width: int) -> None:
    given_ = table(rows, width) + 3  # not centred
    centred = given_.double() - given_.double().mean(0)
    expected = torch.linalg.svdvals(centred).numpy()
    expected[expected < 1e-7 * expected[0]] = 0  # as many rows as directions: centring takes one away
    np.testing.assert_allclose(singular_values(given_), expected, rtol=1e-6, atol=1e-9)


@given(st.integers(1, 12), st.floats(0.1, 10), st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_equal_singular_values_have_their_number_as_rank(count: int, size: float, zeros: int) -> None:
    values = np.array([size] * count + [0.0] * zeros)
    rank = effective_rank(values)
    assert rank is not None
    assert math.isclose(rank, count, rel_tol=1e-9)
    assert components(values, 1.0) == count


def test_effective_rank_takes_singular_values_not_their_squares() -> None:
    # shares 2/3 and 1/3: the entropy is ln 3 - (2/3) ln 2; squares would give shares 4/5 and 1/5
    expected = 3 / 2 ** (2 / 3)
    assert effective_rank(np.array([2.0, 1.0])) == pytest.approx(expected)
    # four rows around their mean whose singular values are 2 and 1
    cross = torch.tensor([[2.0, 0], [-2, 0], [0, 1], [0, -1]]) + 7
    assert spectrum(cross)["effective_rank"] == pytest.approx(expected)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.floats(0.05, 1))
@settings(max_examples=100, deadline=None)
def test_components_hold_the_share_and_one_fewer_do_not(values: list[float], share: float) -> None:
    sorted_ = np.sort(values)[::-1]
    count = components(sorted_, share)
    assert count is not None
    variance = sorted_**2
    assert variance[:count].sum() >= share * variance.sum() * (1 - 1e-9)
    assert variance[: count - 1].sum() < share * variance.sum()


@given(st.integers(0, 1000), st.floats(0.1, 100), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_rank_depends_on_neither_scale_nor_shift_nor_rotation(seed: int, scale: float, shift: int) -> None:
    plain = table(60, 10, seed)
    turn = torch.linalg.qr(table(10, 10, seed + 1))[0]
    one, other = spectrum(plain), spectrum(plain @ turn * scale + shift)
    assert other["effective_rank"] == pytest.approx(one["effective_rank"], rel=1e-4)
    assert other["dims"] == one["dims"]


def test_a_table_of_known_rank() -> None:
    found = spectrum(table(500, 64, rank=6))
    assert found["dims"]["99"] <= 6
    assert found["effective_rank"] <= 6
    assert [found["rows"], found["width"]] == [500, 64]
    assert found["curve"][-1] == [64, pytest.approx(1)]
    assert found["curve"][5] == [6, pytest.approx(1)]
    assert found["values"][0] == [1, 1.0]
    assert found["values"][6] == [7, 0.0]


def test_curves_have_at_most_200_points() -> None:
    found = spectrum(table(700, 520))
    assert len(found["curve"]) == len(found["values"]) == 200
    assert found["curve"][0][0] == 1
    assert found["curve"][-1][0] == 520


def test_full_and_used_rows() -> None:
    tokens = table(400, 32)
    tokens[100:] = table(300, 32, seed=1, rank=2)
    found = embedding_spectrum(tokens, np.array([5, 3, 250, 251, 250, 399]))
    assert found["full"]["rows"] == 400
    assert found["used"]["rows"] == 5  # each id once
    assert found["used"] == spectrum(tokens[[3, 5, 250, 251, 399]])
    assert embedding_spectrum(tokens)["used"] is None
    assert embedding_spectrum(tokens, torch.arange(100, 400))["used"]["dims"]["99"] == 2


@pytest.mark.parametrize("wrong", [-1, 400])
def test_an_id_outside_the_table_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"used_ids holds {wrong}, the token embedding has 400 rows"):
        embedding_spectrum(table(400, 8), [1, wrong])


def test_one_row_and_equal_rows_have_no_spectrum() -> None:
    used = embedding_spectrum(table(10, 4), [3])["used"]
    equal = spectrum(torch.full((50, 6), 0.1))
    for found in (used, equal):
        assert found["effective_rank"] is None
        assert found["dims"] == {"90": None, "95": None, "99": None}
        assert found["curve"] == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_damaged_weights_are_refused(bad: float) -> None:
    damaged = table(10, 4)
    damaged[2, 1] = bad
    with pytest.raises(ValueError, match=r"token embedding holds NaN or infinity in 1 of 10 rows"):
        embedding_spectrum(damaged)
    with pytest.raises(ValueError, match=r"position embedding holds NaN or infinity"):
        position_spectrum(damaged)
    with pytest.raises(ValueError, match=r"shape \(0, 4\)"):
        spectrum(torch.empty(0, 4))


def test_positions() -> None:
    # 0-7 are orthogonal, 8-15 the same but for the sign, 16-31 the same
    rows = torch.zeros(32, 10)
    rows[:8, :8] = torch.eye(8) * 3
    rows[8:16, 8] = torch.tensor([1.0, -1.0] * 4)
    rows[16:, 9] = 2
    found = position_spectrum(rows)
    assert found["within_0_7"] == 0
    # of 28 pairs 12 have the same sign, 16 have not
    assert found["groups"] == [[0, 7, 0.0], [8, 15, pytest.approx(-4 / 28)], [16, 31, pytest.approx(1)]]
    # 28 pairs, 120 pairs, and 128 pairs between both, which are orthogonal
    assert found["within_8_up"] == pytest.approx((-4 + 120) / 276)
    assert np.shape(found["cosine"]) == (32, 32)
    assert found["cosine"][8][9] == -1
    assert found["positions"] == list(range(32))
    assert found["components_90"] == found["dims"]["90"]
    assert found["rows"] == 32
    json.dumps(found, allow_nan=False)


def test_short_long_and_zero_position_tables() -> None:
    short = position_spectrum(table(1, 4))
    assert (short["within_0_7"], short["within_8_up"], short["effective_rank"]) == (None, None, None)
    assert short["cosine"] == [[pytest.approx(1)]]
    long = table(514, 8)
    long[0] = 0  # the padding position of some encoders
    found = position_spectrum(long)
    assert np.shape(found["cosine"]) == (64, 64)
    assert found["positions"][-1] == 513
    assert found["cosine"][0] == [None] * 64
    assert found["within_0_7"] == pytest.approx(position_spectrum(long[1:8])["within_0_7"])
    json.dumps(found, allow_nan=False)
