"""Medians, ratios round by round, and their spread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.bench.timing import Measured, Timings, split

SECONDS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9)


@given(SECONDS)
def test_a_median_lies_within_its_spread(values: list[float]) -> None:
    found = Measured(values)
    assert found.low <= found <= found.high
    assert found.rounds == len(values)
    assert (found.spread is None) == (len(values) == 1)


def test_ratios_are_of_one_round() -> None:
    ticks = iter([0, 1, 10, 14, 20, 30, 40, 80])  # the second round has ten times the load
    timings = Timings(clock=lambda: next(ticks))
    for _ in range(2):
        assert timings.run("fast", lambda: 7) == 7
        timings.run("slow", lambda: 8)
    assert timings.seconds == {"fast": [1, 10], "slow": [4, 40]}
    ratio = timings.ratio("slow", "fast")
    assert (ratio, ratio.spread) == (4, [4, 4])
    assert timings.median("fast", scale=2).spread == [2, 20]
    assert timings.rate("slow", 40).spread == [1, 10]


def test_split_leaves_plain_numbers() -> None:
    plain, spreads = split({"count": 3, "ratio": Measured([1.0, 3.0, 2.0]), "once": Measured([5.0]), "what": "s0"})
    assert plain == {"count": 3, "ratio": 2.0, "once": 5.0, "what": "s0"}
    assert type(plain["ratio"]) is float
    assert spreads == {"ratio": [1.0, 3.0]}


def test_ways_that_ran_unequally_often_have_no_ratio() -> None:
    timings = Timings()
    timings.run("a", int)
    with pytest.raises(ValueError, match="zip"):
        timings.ratio("a", "b")
