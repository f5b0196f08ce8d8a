"""Spectra of embedding tables: how many directions their rows really use (paper, Table 2 and Figure 4).

Tables are centred first, so that squared singular values are variances. The effective rank is that of Roy and
Vetterli, "The effective rank: a measure of effective dimensionality" (EUSIPCO 2007): exp of the entropy of the
singular values, each divided by their sum. The paper does not say whether it squares them; its position table rules
it out, since with 7 components holding 90% of the variance the squared ones could reach 11, not 20 of 32.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_POINTS = 200
"""Most points of a curve."""
_POSITIONS = 64
"""Most positions of the heatmap; longer tables are shown at evenly spaced positions."""
_ROWS = 8192
"""Rows centred at a time, which bounds the memory in double precision."""


def singular_values(table: Float[Tensor, "rows width"], name: str = "table") -> Float[np.ndarray, " k"]:
    """Singular values of a centred table, largest first, in double precision.

    They are the roots of the eigenvalues of the smaller of both Gram matrices, which takes seconds where a singular
    value decomposition of SAM3's 49,408 x 1,024 table takes minutes; those below 1e-7 of the largest are lost to
    rounding and given as 0.

    Args:
        table: Rows, (N, D).
        name: What the table is called in messages.

    Returns:
        min(N, D) values; all 0 when all rows are the same.

    Raises:
        ValueError: `table` has other than two dimensions, no rows, or a value that is not finite.
    """
    table = table.cpu()  # a device may have no float64
    if table.ndim != 2 or not table.numel():
        raise ValueError(f"{name} has shape {tuple(table.shape)}; give a table (rows, width) with at least one row")
    bad = int((~torch.isfinite(table)).any(1).sum())
    if bad:
        raise ValueError(f"{name} holds NaN or infinity in {bad:,} of {len(table):,} rows: damaged weights")
    rows, width = table.shape
    mean = sum(part.double().sum(0) for part in table.split(_ROWS)) / rows
    if rows < width:
        centred = table.double() - mean
        gram = centred @ centred.T
    else:
        gram = torch.zeros(width, width, dtype=torch.float64)
        for part in table.split(_ROWS):
            centred = part.double() - mean
            gram.addmm_(centred.T, centred)
    largest = float(table.abs().max())
    values = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0).sqrt().numpy()
    # What is left of equal rows after their mean is taken away is rounding, no direction.
    if values[0] <= 1e-13 * largest * (rows * width) ** 0.5:
        return np.zeros_like(values)
    return np.where(values > 1e-7 * values[0], values, 0.0)


def effective_rank(values: Float[np.ndarray, " k"]) -> float | None:
    """Effective rank of Roy and Vetterli (2007): exp of the entropy of the normalised singular values.

    Args:
        values: Singular values (not squared).

    Returns:
        Between 1 and the number of values above 0; None when all are 0.
    """
    values = values[values > 0]
    if not len(values):
        return None
    share = values / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def components(values: Float[np.ndarray, " k"], share: float) -> int | None:
    """The fewest directions that hold a share of the variance.

    Args:
        values: Singular values of a centred table, largest first.
        share: Share of the variance, above 0 and at most 1.

    Returns:
        A count from 1; None when there is no variance.
    """
    variance = np.cumsum(values**2)
    if not len(values) or not variance[-1]:
        return None
    return int(np.searchsorted(variance, share * variance[-1] * (1 - 1e-12))) + 1


def spectrum(table: Float[Tensor, "rows width"], name: str = "table") -> dict[str, Any]:
    """What a table's singular values say, in one dict.

    Args:
        table: Rows, (N, D).
        name: What the table is called in messages.

    Returns:
        `rows`, `width`; `effective_rank` and `dims` (`{"90", "95", "99"}`: directions that hold so many percent of
        the variance), None when all rows are the same; `curve`, at most 200 points [directions, share of the
        variance], and `values`, at the same places [place, singular value / the largest]; both empty then.

    Raises:
        ValueError: As `singular_values`.
    """
    values = singular_values(table, name)
    found: dict[str, Any] = {
        "rows": len(table),
        "width": table.shape[1],
        "effective_rank": effective_rank(values),
        "dims": {f"{percent}": components(values, percent / 100) for percent in (90, 95, 99)},
        "curve": [],
        "values": [],
    }
    if values[0] > 0:
        share = np.cumsum(values**2) / (values**2).sum()
        places = [int(k) for k in np.unique(np.linspace(1, len(values), min(_POINTS, len(values))).round())]
        found["curve"] = [[k, float(share[k - 1])] for k in places]
        found["values"] = [[k, float(values[k - 1] / values[0])] for k in places]
    return found


def embedding_spectrum(
    table: Float[Tensor, "vocabulary width"], used_ids: Sequence[int] | np.ndarray | Tensor | None = None
) -> dict[str, Any]:
    """Spectrum of a token table, of all rows and of those that a corpus uses (paper, Table 2).

    Args:
        table: Token table, (V, D).
        used_ids: Ids that occur in the corpus, each once or more often; None leaves that part out.

    Returns:
        `full` and `used`, each as `spectrum` gives it; `used` is None without ids.

    Raises:
        ValueError: The table is no table or holds values that are not finite; an id is outside of it.
    """
    full = spectrum(table, "token embedding")
    ids = torch.as_tensor([] if used_ids is None else used_ids, dtype=torch.int64).unique()
    if not len(ids):
        return {"full": full, "used": None}
    if int(ids[0]) < 0 or int(ids[-1]) >= len(table):
        wrong = int(ids[0]) if int(ids[0]) < 0 else int(ids[-1])
        raise ValueError(f"used_ids holds {wrong}, the token embedding has {len(table):,} rows; take its own tokenizer")
    return {"full": full, "used": spectrum(table[ids.to(table.device)], "token embedding (used rows)")}


def position_spectrum(table: Float[Tensor, "positions width"]) -> dict[str, Any]:
    """Spectrum and neighbourhoods of a position table (paper, Figure 4).

    Cosines are those of the rows as they are; rank and components those of the centred table, as for tokens.

    Args:
        table: Position table, (P, D).

    Returns:
        What `spectrum` gives, and `components_90` (`dims["90"]`); `cosine`, the heatmap as lists of rows, None where
        a row is all zeros, and `positions`, the positions that it shows (at most 64, evenly spaced); `within_0_7` and
        `within_8_up`, the mean cosine between different positions of that range; `groups`, the same as
        [first, last, mean] for 0-7, 8-15, 16-31 and so on, doubling. Means of fewer than two rows are None.

    Raises:
        ValueError: The table is no table or holds values that are not finite.
    """
    found = spectrum(table, "position embedding")
    rows = table.cpu().double().numpy()
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norms, out=np.full_like(rows, np.nan), where=norms > 0)
    cosine = (unit @ unit.T).clip(-1, 1)
    count = len(rows)
    shown = np.unique(np.linspace(0, count - 1, min(count, _POSITIONS)).round().astype(int))
    heatmap = cosine[np.ix_(shown, shown)].tolist()
    edges = [0, 8]
    while edges[-1] < count:
        edges.append(2 * edges[-1])
    found |= {
        "components_90": found["dims"]["90"],
        "positions": shown.tolist(),
        "cosine": [[None if value != value else value for value in row] for row in heatmap],
        "within_0_7": _within(cosine[:8, :8]),
        "within_8_up": _within(cosine[8:, 8:]),
        "groups": [
            [first, min(end, count) - 1, _within(cosine[first:end, first:end])]
            for first, end in pairwise(edges)
            if first < count
        ],
    }
    return found


def _within(cosine: np.ndarray) -> float | None:
    """Mean over the pairs of different rows that have a cosine."""
    pairs = cosine[np.triu_indices(len(cosine), 1)]
    pairs = pairs[~np.isnan(pairs)]
    return float(pairs.mean()) if len(pairs) else None
