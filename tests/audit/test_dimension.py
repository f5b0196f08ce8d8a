"""Intrinsic dimension against scikit-dimension, against manifolds of known dimension, and with repeated points."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.audit import dimension
from litetext.audit.dimension import distinct, feature_matrices, intrinsic_dimension, neighbour_distances
from litetext.bench.estimators import KS, bench_estimators, draw_manifold


def estimates(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [found["svd_effective_rank"], found["twonn"], *found["mle"].values()]


def values(found: dict[str, Any]) -> list[float | None]:
    return [one["value"] for one in estimates(found)]


# Known answers


@pytest.fixture(scope="module", params=["gaussian", "uniform", "sphere", "curved"])
def measured(request: pytest.FixtureRequest) -> dict[str, Any]:
    return bench_estimators(points=1000, ambient=80, manifold=request.param, dimensions=(2, 5, 16))


def test_as_scikit_dimension(measured: dict[str, Any]) -> None:
    pytest.importorskip("skdim")
    for d in (2, 5, 16):
        for name in ("twonn", *(f"mle{k}" for k in KS)):
            assert abs(measured[f"d{d}_{name}_difference"]) < 1e-6, (d, name)


def test_known_dimensions(measured: dict[str, Any]) -> None:
    # High dimensions are underestimated by every method of this kind, the more the more neighbours.
    for name in ("twonn", "mle5", "mle10"):
        assert abs(measured[f"d2_{name}_error"]) < 0.12
        assert abs(measured[f"d5_{name}_error"]) < 0.15
        assert -0.35 < measured[f"d16_{name}_error"] < 0.05
        assert measured[f"d2_{name}"] < measured[f"d5_{name}"] < measured[f"d16_{name}"]
        assert measured[f"d5_{name}"] / 5 - 1 == measured[f"d5_{name}_error"]


def test_a_plane_has_its_dimension_as_effective_rank_and_a_sphere_one_more() -> None:
    flat = intrinsic_dimension(draw_manifold("gaussian", 5, 1000, 40))["svd_effective_rank"]
    round_ = intrinsic_dimension(draw_manifold("sphere", 5, 1000, 40))["svd_effective_rank"]
    assert flat["value"] == pytest.approx(5, abs=0.05)
    assert round_["value"] == pytest.approx(6, abs=0.05)
    assert flat["curve"][4] == [5, pytest.approx(1)]


def test_dimension_of_the_bench_is_recorded() -> None:
    figures = bench_estimators(points=60, ambient=4, dimensions=(2,))
    assert {"points", "ambient", "manifold", "scikit_dimension", "d2_seconds", "d2_mle50_error"} <= figures.keys()
    assert all(isinstance(value, int | float | str) for value in figures.values())
    with pytest.raises(ValueError, match="points=51 must be at least 52"):
        bench_estimators(points=51)
    with pytest.raises(ValueError, match="do not fit into ambient=32; give at least 1 point, dimension 1 and ambient"):
        bench_estimators(manifold="sphere", ambient=32, dimensions=(32,))
    with pytest.raises(ValueError, match="manifold='torus' is unknown"):
        draw_manifold("torus", 2, 10, 4)  # type: ignore[arg-type]


# Laws


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-5, 5))
@settings(max_examples=15, deadline=None)
def test_scale_shift_and_rotation_change_nothing(seed: int, scale: float, shift: float) -> None:
    points = draw_manifold("curved", 3, 120, 6, seed).double()
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    one = intrinsic_dimension(points, (5, 20), bootstrap=2)
    other = intrinsic_dimension((points @ turn) * scale + shift, (5, 20), bootstrap=2)
    np.testing.assert_allclose(values(one), values(other), rtol=1e-6)  # type: ignore[arg-type]


@given(st.integers(0, 1000), st.integers(1, 30), st.sampled_from([0.0, 1e-7]))
@settings(max_examples=15, deadline=None)
def test_repeated_points_count_once(seed: int, repeated: int, noise: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    points = torch.randn(80, 5, generator=draw, dtype=torch.float64)
    again = points[torch.randint(80, (repeated,), generator=draw)]
    again = again + noise * torch.randn(again.shape, generator=draw, dtype=torch.float64)
    one, other = intrinsic_dimension(points, (5,), 2), intrinsic_dimension(torch.cat([points, again]), (5,), 2)
    assert (other["points"], other["n"], other["duplicates"]) == (80 + repeated, 80, repeated)
    np.testing.assert_allclose(values(one), values(other), rtol=1e-9)  # type: ignore[arg-type]


def test_distinct_keeps_the_first_of_each() -> None:
    points = torch.tensor([[1.0], [2], [1], [2 + 1e-6], [3], [-0.0], [0.0]], dtype=torch.float64)
    assert distinct(points, 1e-5).tolist() == [0, 1, 4, 5]
    assert distinct(points, 0).tolist() == [0, 1, 3, 4, 5]


def test_neighbours_are_those_of_a_double_loop() -> None:
    points = torch.randn(700, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # two blocks
    plain = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").sort(1).values[:, 1:8]
    np.testing.assert_allclose(neighbour_distances(points, 7), plain.numpy(), rtol=1e-12)
    assert neighbour_distances(points[:4], 7).shape == (4, 3)


# Intervals


def test_intervals_hold_the_estimate_and_shrink_with_points() -> None:
    widths = []
    for count in (200, 2000):
        found = intrinsic_dimension(draw_manifold("gaussian", 4, count, 8), (5, 20))
        for one in estimates(found):
            assert one["low"] < one["value"] < one["high"]
        widths.append(found["mle"]["5"]["high"] - found["mle"]["5"]["low"])
    # a tenth of the width by the root of ten: 0.32
    assert 0.2 < widths[1] / widths[0] < 0.5


def test_the_interval_of_the_effective_rank_is_as_wide_as_new_samples_differ() -> None:
    ranks = []
    for seed in range(30):
        found = intrinsic_dimension(draw_manifold("curved", 4, 200, 8, seed), (2,), seed=seed)["svd_effective_rank"]
        ranks.append([found["value"], (found["high"] - found["low"]) / (2 * 1.96)])
    spread, claimed = np.std(ranks, axis=0)[0], np.mean(ranks, axis=0)[1]
    assert 0.6 < claimed / spread < 1.6


def test_seeds() -> None:
    points = draw_manifold("gaussian", 4, 200, 8)
    one, same, other = (intrinsic_dimension(points, bootstrap=20, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert values(one) == values(other)
    assert one != other
    json.dumps(one, allow_nan=False)


# Few points, equal points, wrong input


def test_too_few_points_for_some() -> None:
    found = intrinsic_dimension(torch.randn(11, 4, generator=torch.Generator().manual_seed(0)))
    assert found["mle"]["10"]["value"] is not None
    assert found["mle"]["20"] == found["mle"]["50"] == {"value": None, "low": None, "high": None}
    two = intrinsic_dimension(torch.tensor([[0.0, 0], [1, 1]]))
    assert two["svd_effective_rank"]["value"] == 1
    assert two["twonn"]["value"] is None
    json.dumps([found, two], allow_nan=False)


@pytest.mark.parametrize("points", [torch.randn(1, 4), torch.full((70, 4), 0.1), torch.zeros(70, 4)])
def test_one_point_and_equal_points_define_nothing(points: torch.Tensor) -> None:
    found = intrinsic_dimension(points)
    assert values(found) == [None] * 6
    assert (found["n"], found["duplicates"]) == (1, len(points) - 1)
    json.dumps(found, allow_nan=False)


def test_equal_distances_define_no_neighbour_estimate() -> None:
    found = intrinsic_dimension(torch.eye(8, dtype=torch.float64) * 2, (5,))
    assert values(found)[1:] == [None, None]


def test_distances_that_differ_in_their_last_bits_are_equal() -> None:
    # Another order of summation moves them so, on another processor.
    rng = np.random.default_rng(0)
    distances = 2 + rng.integers(-3, 4, (50, 6)) * np.spacing(2.0)
    distances.sort(axis=1)
    assert len(np.unique(distances)) > 1
    assert dimension._twonn(distances, 5, rng)["value"] is None
    assert dimension._mle(distances, 5, 5, rng)["value"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": torch.tensor([[1.0, math.nan], [2, 3]])}, "features holds NaN or infinity in 1 of 2 rows"),
        ({"features": torch.empty(0, 4)}, r"features has shape \(0, 4\)"),
        ({"features": torch.randn(4, 4), "ks": (1,)}, "ks holds 1; MLE needs at least 2 neighbours"),
        ({"features": torch.randn(4, 4), "bootstrap": 1}, "bootstrap=1 must be at least 2"),
    ],
)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        intrinsic_dimension(**arguments)


# Both matrices of an encoder


def test_feature_matrices() -> None:
    prompts = [torch.full((n, 2), float(n)) + torch.arange(n)[:, None] for n in (1, 2, 3)]
    tokens, pooled = feature_matrices(prompts)
    assert tokens[:, 0].tolist() == [1, 2, 3, 3, 4, 5]
    assert pooled[:, 0].tolist() == pytest.approx([1, 2.5, 4])
    drawn, few = feature_matrices(prompts, limit=2, seed=3)
    assert set(drawn[:, 0].tolist()) <= {1, 2, 3, 4, 5}
    assert drawn.shape == few.shape == (2, 2)
    assert torch.equal(drawn, feature_matrices(prompts, limit=2, seed=3)[0])
    assert len({tuple(feature_matrices(prompts, 2, seed)[0][:, 0].tolist()) for seed in range(9)}) > 1
    for wrong, message in (([], "features is empty"), ([torch.ones(1, 2), torch.ones(0, 2)], r"features\[1\] has no")):
        with pytest.raises(ValueError, match=message):
            feature_matrices(wrong)
    with pytest.raises(ValueError, match="limit=0"):
        feature_matrices(prompts, 0)
