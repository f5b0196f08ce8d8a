"""The estimators of `litetext.audit.dimension` on clouds whose dimension is known, and beside scikit-dimension's."""

import importlib.util
import time
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from litetext.audit.dimension import intrinsic_dimension

Manifold = Literal["gaussian", "uniform", "sphere", "curved"]
KS = (5, 10, 20, 50)


def draw_manifold(manifold: Manifold, dimension: int, points: int, ambient: int, seed: int = 0) -> Tensor:
    """Draws points of a manifold of known dimension, turned at random into a wider space.

    Args:
        manifold: `gaussian`, a normal cloud in a plane; `uniform`, a cube in a plane; `sphere`, the surface of a ball
            of one dimension more; `curved`, a normal cloud z bent into (z, 0.3 z^2 + 0.3 z * next z), a graph over
            its plane.
        dimension: d, the dimension of the manifold.
        points: N.
        ambient: D, the width of the space.
        seed: Chooses points and turn.

    Returns:
        Points, float32 (N, D).

    Raises:
        ValueError: `manifold` is none of these, a number is below 1, or the manifold does not fit into the space.
    """
    if manifold not in ("gaussian", "uniform", "sphere", "curved"):
        raise ValueError(f"manifold={manifold!r} is unknown; choose gaussian, uniform, sphere or curved")
    needed = {"sphere": dimension + 1, "curved": 2 * dimension}.get(manifold, dimension)
    if dimension < 1 or points < 1 or ambient < needed:
        raise ValueError(
            f"{points} points of a {manifold} manifold of dimension {dimension} do not fit into ambient={ambient}; "
            f"give at least 1 point, dimension 1 and ambient {needed}"
        )
    rng = np.random.default_rng([seed, dimension])
    flat = rng.standard_normal((points, needed if manifold == "sphere" else dimension))
    if manifold == "uniform":
        flat = rng.random((points, dimension))
    elif manifold == "sphere":
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    elif manifold == "curved":
        flat = np.concatenate([flat, 0.3 * flat**2 + 0.3 * flat * np.roll(flat, 1, axis=1)], axis=1)
    turn = np.linalg.qr(rng.standard_normal((ambient, needed)))[0]
    return torch.from_numpy((flat @ turn.T).astype(np.float32))


def bench_estimators(
    points: int = 5000,
    ambient: int = 256,
    manifold: Manifold = "gaussian",
    dimensions: tuple[int, ...] = (2, 5, 16, 32),
    seed: int = 0,
) -> dict[str, Any]:
    """Estimates known dimensions, and compares with scikit-dimension where it is installed.

    Args:
        points: Points of each cloud.
        ambient: Width of the space that it lies in.
        manifold: `gaussian`, `uniform`, `sphere` or `curved`, see `draw_manifold`.
        dimensions: Dimensions of the clouds.
        seed: Chooses the points.

    Returns:
        `points`, `ambient`, `manifold`, `scikit_dimension` (its version, "not installed" without it). For each
        dimension d and each estimator e of `twonn`, `mle5`, `mle10`, `mle20`, `mle50`: `d{d}_{e}`, our estimate;
        `d{d}_{e}_error`, its relative error, estimate / d - 1; with scikit-dimension `d{d}_{e}_difference`, ours less
        its estimate of the same points. `d{d}_seconds` and `d{d}_scikit_seconds`: time of all estimates, ours with
        200 bootstrap draws each.

    Raises:
        ValueError: As `draw_manifold`, or fewer points than 52, which MLE with 50 neighbours takes.
    """
    if points < max(KS) + 2:
        raise ValueError(f"points={points} must be at least {max(KS) + 2} for MLE with {max(KS)} neighbours")
    figures: dict[str, Any] = {"points": points, "ambient": ambient, "manifold": manifold}
    installed = importlib.util.find_spec("skdim") is not None
    figures["scikit_dimension"] = "not installed"
    if installed:
        import skdim

        figures["scikit_dimension"] = skdim.__version__
    for d in dimensions:
        cloud = draw_manifold(manifold, d, points, ambient, seed)
        start = time.perf_counter()
        found = intrinsic_dimension(cloud, KS, seed=seed)
        seconds = time.perf_counter() - start
        ours = {"twonn": found["twonn"]["value"], **{f"mle{k}": found["mle"][str(k)]["value"] for k in KS}}
        start = time.perf_counter()
        theirs = _scikit(cloud.double().numpy()) if installed else {}
        for name, value in ours.items():
            figures[f"d{d}_{name}"] = value
            figures[f"d{d}_{name}_error"] = value / d - 1
            if installed:
                figures[f"d{d}_{name}_difference"] = value - theirs[name]
        figures[f"d{d}_seconds"] = seconds
        if installed:
            figures[f"d{d}_scikit_seconds"] = time.perf_counter() - start
    return figures


def _scikit(cloud: Float[np.ndarray, "points width"]) -> dict[str, float]:
    """The same estimators, each from scikit-dimension's own neighbours."""
    import skdim

    found = {"twonn": float(skdim.id.TwoNN().fit(cloud).dimension_)}
    return found | {f"mle{k}": float(skdim.id.MLE().fit(cloud, n_neighbors=k).dimension_) for k in KS}
