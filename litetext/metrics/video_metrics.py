"""The video metrics as torchmetrics: rows of pairs and classes, gathered over batches and ranks, each counted once.

What they compute is in `hota.py`, `teta.py` and `video.py`, which do without torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from litetext.metrics.hota import ALPHAS as HOTA_ALPHAS
from litetext.metrics.hota import hota_numbers
from litetext.metrics.keyed import KeyedMetric
from litetext.metrics.teta import WIDTH as TETA_WIDTH
from litetext.metrics.teta import teta_numbers
from litetext.metrics.video import phrase_numbers


class VideoCGF1(KeyedMetric):
    """CG_F1, VL_MCC and pmF1 over all pairs given; fractions, under the suffixes of the official names."""

    width = 12

    def update(self, keys: Any, rows: Any) -> None:
        """Adds pairs.

        Args:
            keys: Two integers a pair (video, category), (p, 2).
            rows: `VideoRows.phrases`, (p, 12).
        """
        self.add(keys, rows)

    def compute(self) -> dict[str, float]:
        """The nine numbers (see `phrase_numbers`)."""
        return phrase_numbers(self.rows()[1].astype(np.int64))


class PhraseHOTA(KeyedMetric):
    """pHOTA, pDetA, pAssA and their six companions over all sequences given; fractions.

    Rows are kept per sequence and summed in the order of their keys, so that neither batches nor ranks nor repeated
    sequences change a bit.
    """

    width = 7 * len(HOTA_ALPHAS)

    def update(self, keys: Any, sums: Any) -> None:
        """Adds sequences.

        Args:
            keys: Two integers a sequence (video, category), (s, 2).
            sums: What `hota_sums` gave for each, (s, 7, 19).
        """
        self.add(keys, np.asarray(sums, dtype=np.float64).reshape(-1, self.width))

    def sums(self) -> Float64[np.ndarray, "7 19"]:
        """Sums over the sequences, each once."""
        return self.rows()[1].sum(axis=0).reshape(7, len(HOTA_ALPHAS))

    def compute(self) -> dict[str, float]:
        """The nine numbers (see `hota_numbers`)."""
        return hota_numbers(self.sums())


class TETA(KeyedMetric):
    """TETA and its nine parts over all videos given, in percent.

    Args:
        classes: Categories that have ground truth anywhere in the data set, in the order of its `categories`.
    """

    width = TETA_WIDTH

    def __init__(self, classes: Sequence[int]) -> None:
        super().__init__()
        self.classes = list(classes)

    def update(self, video: int, rows: Any) -> None:
        """Adds one video.

        Args:
            video: Its number, unique in the data set.
            rows: What `teta_rows` gave for it.
        """
        if rows:
            self.add([[c, video] for c in rows], np.stack(list(rows.values())))

    def compute(self) -> dict[str, float]:
        """The ten numbers (see `teta_numbers`)."""
        keys, values = self.rows()
        if not len(keys):
            return teta_numbers(values)
        starts = np.flatnonzero(np.diff(keys[:, 0], prepend=-1 - abs(int(keys[0, 0]))))
        return teta_numbers(np.add.reduceat(values, starts, axis=0))
