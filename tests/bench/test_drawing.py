"""How fast the worlds are drawn."""

import pytest

from litetext.bench.drawing import bench_drawing
from litetext.bench.timing import Measured


def test_every_rate_is_measured() -> None:
    found = bench_drawing(scenes=2, rounds=2)
    rates = {name: rate for name, rate in found.items() if name.endswith("/s")}
    assert len(rates) == 8
    assert all(isinstance(rate, Measured) and rate.rounds == 2 and rate > 0 for rate in rates.values())
    for world in ("nouns", "shapes"):  # all parts take longer than one of them
        assert found[f"{world} scenes with 4 phrases/s"] < found[f"{world} render/s"]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="scenes=0 must be at least 1"):
        bench_drawing(scenes=0)
