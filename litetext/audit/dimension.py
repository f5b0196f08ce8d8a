"""Intrinsic dimension of a text encoder's features: how many numbers say where a prompt lies (paper, Figure 5).

Three estimates, none of which needs the features to lie in a plane but the first:

- the effective rank of the centred features (`litetext.audit.spectra.effective_rank`);
- TwoNN: Facco, d'Errico, Rodriguez and Laio, "Estimating the intrinsic dimension of datasets by a minimal
  neighborhood information" (Scientific Reports 2017), the line through the origin, without the tenth of the points
  whose ratio is largest, as they propose;
- MLE: Levina and Bickel, "Maximum likelihood estimation of intrinsic dimension" (NIPS 2004), equation 8, over k
  neighbours, its inverses averaged over points as MacKay and Ghahramani's comment on it (2005) derives.

Both neighbour estimates are those of scikit-dimension (`TwoNN()` and `MLE().fit(..., n_neighbors=k)`). All of them
fall short of high dimensions with few points: `litetext.bench.estimators` shows by how much.

Repeated points have no ratio of distances. Features of one text differ in the last bits from batch to batch (a causal
encoder gives all prompts the same first token), so points count as repeated within a tolerance, not only bit for bit.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from litetext.audit.spectra import effective_rank, singular_values

_BLOCK = 512
"""Points compared with all others at a time; bounds the memory to a few blocks of _BLOCK x N doubles."""
_HALVES = 50
"""Halves drawn for the interval of the effective rank."""
_KEPT = 0.9
"""Share of the points that TwoNN's line is fitted to, those of the smallest ratios."""
_POINTS = 200
"""Most points of a curve."""
_FEWEST = 10
"""Fewest points of which halves say something about the whole."""
_SAME = 1e-12
"""Logs of ratios of distances below this are rounding: the distances are the same."""
_NORMAL = 1.959964
"""Half width of a 95% interval in standard deviations."""

Estimate = dict[str, float | None]


def feature_matrices(
    features: Sequence[Float[Tensor, "n width"]], limit: int = 5000, seed: int = 0
) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "prompts width"]]:
    """Token features and pooled features of prompts, as `intrinsic_dimension` takes them.

    Args:
        features: For each prompt the features of its valid tokens, (n, width).
        limit: Most rows of either matrix; drawn without replacement where there are more, in their own order.
        seed: Chooses the rows.

    Returns:
        All valid tokens, and each prompt's mean over its valid tokens.

    Raises:
        ValueError: There are no prompts, one has no tokens, or `limit` is below 1.
    """
    if limit < 1:
        raise ValueError(f"limit={limit} must be at least 1")
    if not features:
        raise ValueError("features is empty; encode at least one prompt")
    bare = next((i for i, one in enumerate(features) if not len(one)), None)
    if bare is not None:
        raise ValueError(f"features[{bare}] has no tokens; give the valid tokens of each prompt, at least one")
    draw = torch.Generator().manual_seed(seed)

    def drawn(count: int) -> Tensor:
        return torch.randperm(count, generator=draw)[:limit].sort().values

    tokens = torch.cat([one.float() for one in features])
    pooled = torch.stack([one.float().mean(0) for one in features])
    return tokens[drawn(len(tokens))], pooled[drawn(len(pooled))]


def intrinsic_dimension(
    features: Float[Tensor, "points width"],
    ks: Sequence[int] = (5, 10, 20, 50),
    bootstrap: int = 200,
    seed: int = 0,
    tolerance: float = 1e-5,
) -> dict[str, Any]:
    """Estimates the dimension of a cloud of points in three ways, each with a 95% interval.

    Points drawn with replacement would be repeated points, at distance 0 of each other, so the intervals resample
    what is averaged instead: TwoNN's ratios and MLE's inverses, one a point, with replacement (percentiles of
    `bootstrap` draws). Neighbours share distances, which makes these intervals somewhat too narrow. The effective rank
    is taken of random halves without replacement (50, or `bootstrap` if less), whose spread for a mean is that of
    the whole; the interval is the value and 1.96 standard deviations to either side.

    Args:
        features: Points, (N, D).
        ks: Numbers of neighbours of MLE, each at least 2.
        bootstrap: Draws for the intervals, at least 2.
        seed: Chooses the draws; the estimates do not depend on it.
        tolerance: A point is repeated, and left out, if an earlier one is nearer than this share of the points' root
            mean square distance from their mean. 1e-5 is ten times the rounding of a float32 encoder; take 1e-3 for
            features that were stored in half precision.

    Returns:
        `points` (given), `n` (without repeated ones), `duplicates`, `width`; `svd_effective_rank`, `twonn` and, for
        each k as a string, `mle`: {`value`, `low`, `high`}, all None where undefined: MLE with fewer than k + 1
        points, TwoNN with fewer than 3, everything with one point or when all are the same, an effective rank's
        interval with fewer than 10. For the figures
        `svd_effective_rank["curve"]`, points [directions, share of the variance], and `twonn["curve"]`, points
        [log ratio, -log(1 - F)] whose slope is the dimension; at most 200 points each.

    Raises:
        ValueError: A value is not finite, there are no points, or a number is too small.
    """
    small = next((k for k in ks if k < 2), None)
    if small is not None:
        raise ValueError(f"ks holds {small}; MLE needs at least 2 neighbours")
    if bootstrap < 2:
        raise ValueError(f"bootstrap={bootstrap} must be at least 2")
    values = singular_values(features, "features")  # refuses what is no matrix or not finite
    cloud = features.detach().double().cpu()
    cloud = cloud - cloud.mean(0)
    points = cloud[distinct(cloud, tolerance)] if values[0] > 0 else cloud[:1]
    rng = np.random.default_rng(seed)
    distances = neighbour_distances(points, max((2, *ks)))
    return {
        "points": len(cloud),
        "n": len(points),
        "duplicates": len(cloud) - len(points),
        "width": cloud.shape[1],
        "svd_effective_rank": _rank(points, min(bootstrap, _HALVES), rng),
        "twonn": _twonn(distances, bootstrap, rng),
        "mle": {str(k): _mle(distances, k, bootstrap, rng) for k in ks},
    }


def distinct(points: Float[Tensor, "points width"], tolerance: float) -> Int[Tensor, " distinct"]:
    """Points that have no earlier one nearby.

    Args:
        points: Points, (N, D), in double precision.
        tolerance: What is near, as a share of the points' root mean square distance from their mean.

    Returns:
        Their row numbers, ascending; the first point is always among them.
    """
    # Bit for bit first: corpora repeat some tokens thousands of times.
    _, place = np.unique(points.numpy(), axis=0, return_index=True)
    rows = torch.from_numpy(np.sort(place))
    left = points[rows]
    near = tolerance**2 * (points - points.mean(0)).square().sum(1).mean()
    keep = torch.ones(len(rows), dtype=torch.bool)
    for start, block in _squares(left):
        earlier = torch.arange(len(left)) < torch.arange(start, start + len(block))[:, None]
        keep[start : start + len(block)] = ~((block < near) & earlier).any(1)
    return rows[keep]


def neighbour_distances(points: Float[Tensor, "points width"], k: int) -> Float[np.ndarray, "points k"]:
    """Distances of each point to its nearest others, ascending.

    Args:
        points: Points, (N, D), in double precision.
        k: Number of neighbours; with fewer others than that, all of them.

    Returns:
        Distances, (N, min(k, N - 1)).
    """
    k = min(k, len(points) - 1)
    found = []
    for start, block in _squares(points):
        rows = torch.arange(len(block))
        block[rows, rows + start] = torch.inf
        nearest = block.topk(k, dim=1, largest=False).indices
        # The squares are differences of large numbers; which points are near they tell, how near is measured again.
        exact = [(points[one] - points[start + i]).norm(dim=1) for i, one in enumerate(nearest)]
        found.append(torch.stack(exact).sort(1).values)
    return torch.cat(found).numpy()


def _squares(points: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Blocks of squared distances to all points, with the row where each starts."""
    norms = points.square().sum(1)
    for start in range(0, len(points), _BLOCK):
        part = slice(start, start + _BLOCK)
        yield start, torch.addmm(norms, points[part], points.T, alpha=-2).add_(norms[part, None]).clamp_min_(0)


def _estimate(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    if value is None or low is None or high is None or not all(map(math.isfinite, (value, low, high))):
        low = high = None
    return {"value": value if value is not None and math.isfinite(value) else None, "low": low, "high": high}


def _rank(points: Tensor, halves: int, rng: np.random.Generator) -> dict[str, Any]:
    values = singular_values(points, "features")
    whole = effective_rank(values)
    curve: list[list[float]] = []
    if whole is not None:
        share = np.cumsum(values**2) / (values**2).sum()
        curve = [[int(k) + 1, float(share[k])] for k in _places(len(share))]
    drawn = [] if whole is None or len(points) < _FEWEST else [rng.permutation(len(points)) for _ in range(halves)]
    ranks = [effective_rank(singular_values(points[rows[: len(rows) // 2]], "features")) for rows in drawn]
    known = [rank for rank in ranks if rank is not None]
    if whole is None or len(known) < 2:
        return _estimate(whole) | {"curve": curve}
    spread = _NORMAL * float(np.std(known, ddof=1))
    return _estimate(whole, max(1.0, whole - spread), whole + spread) | {"curve": curve}


def _twonn(distances: np.ndarray, bootstrap: int, rng: np.random.Generator) -> dict[str, Any]:
    if distances.shape[1] < 2:
        return _estimate(None) | {"curve": []}
    ratios = np.log(distances[:, 1] / distances[:, 0])
    ratios[ratios < _SAME] = 0
    count = len(ratios)
    kept = int(count * _KEPT)
    height = -np.log1p(-np.arange(1, kept + 1) / count)

    def slope(drawn: np.ndarray) -> float:
        across = np.sort(drawn)[:kept]
        square = float(across @ across)
        return float(across @ height) / square if square else math.nan

    value = slope(ratios)
    if not math.isfinite(value):  # all distances the same, as in a grid
        return _estimate(None) | {"curve": []}
    draws = np.array([slope(rng.choice(ratios, count)) for _ in range(bootstrap)])
    across = np.sort(ratios)
    curve = [[float(across[i]), float(height[i])] for i in _places(kept)]
    return _estimate(value, *_percentiles(draws)) | {"curve": curve}


def _mle(distances: np.ndarray, k: int, bootstrap: int, rng: np.random.Generator) -> Estimate:
    if distances.shape[1] < k:
        return _estimate(None)
    inverse = np.log(distances[:, k - 1 : k] / distances[:, : k - 1]).mean(1)
    mean = float(inverse.mean())
    if mean < _SAME:  # all neighbours equally far
        return _estimate(None)
    draws = np.array([rng.choice(inverse, len(inverse)).mean() for _ in range(bootstrap)])
    with np.errstate(divide="ignore"):
        return _estimate(1 / mean, *_percentiles(1 / draws))


def _percentiles(draws: np.ndarray) -> tuple[float, float]:
    if not np.isfinite(draws).all():
        return math.nan, math.nan
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _places(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(_POINTS, count)).round().astype(int))
