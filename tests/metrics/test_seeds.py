"""Spreads over seeds, and differences seed by seed."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from litetext.metrics.seeds import differ, fold, format_difference, format_spread, seeds_of, spread

numbers = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8)


@given(numbers, st.floats(-100, 100))
def test_spread(values: list[float], shift: float) -> None:
    found = spread(values)
    assert found["min"] <= found["mean"] + 1e-6 <= found["max"] + 2e-6
    assert found["sd"] == pytest.approx(math.sqrt(statistics.variance(values)), abs=1e-6)
    moved = spread([value + shift for value in values])
    assert moved["mean"] == pytest.approx(found["mean"] + shift, abs=1e-5)
    assert moved["sd"] == pytest.approx(found["sd"], abs=1e-3)
    assert spread(iter(values)) == found
    assert set(spread([*values, None]).values()) == {None}
    assert set(spread(iter([*values, None])).values()) == {None}


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=8))
def test_the_interval_is_that_of_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    values, others = [a for a, _ in pairs], [b for _, b in pairs]
    found = differ(values, others)
    gaps = [a - b for a, b in pairs]
    if statistics.stdev(gaps) > 1e-6:
        interval = stats.ttest_rel(values, others).confidence_interval(0.95)
        assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)
    back = differ(others, values)
    assert (back["low"], back["high"]) == pytest.approx((-found["high"], -found["low"]), abs=1e-9)


def test_what_all_seeds_share_does_not_widen_a_difference() -> None:
    found = differ([1.0, 51.0, 101.0], [0.0, 50.0, 100.0])
    assert found == {"mean": 1, "sd": 0, "low": 1, "high": 1}
    assert format_difference(found, 1) == "+1.0 [+1.0, +1.0]"


def test_one_seed_has_no_spread_and_a_missing_number_no_mean() -> None:
    assert differ([2.0], [1.5]) == {"mean": 0.5, "sd": None, "low": None, "high": None}
    assert format_difference(differ([2.0], [1.5]), 1) == "+0.5"
    assert format_spread(spread([2.0]), 1) == "2.0"
    assert format_spread(spread([2.0, 4.0]), 1) == "3.0 ± 1.4"
    undefined = differ([2.0, None], [1.0, 1.0])
    assert set(undefined.values()) == {None}
    assert format_difference(undefined, 1) == format_spread(spread([None]), 1) == ""
    with pytest.raises(ValueError, match="zip"):
        differ([1.0, 2.0], [1.0])


def test_fold_keeps_what_all_seeds_have() -> None:
    one = {
        "iou": "segm",
        "average": {"CG_F1": 1.0, "pmF1": None},
        "kinds": {"noun": {"pairs": 3}, "count": {"pairs": 1}},
    }
    two = {"iou": "segm", "average": {"CG_F1": 3.0, "pmF1": 2.0}, "kinds": {"noun": {"pairs": 3}}}
    assert fold([one, two]) == {
        "average": {"CG_F1": spread([1.0, 3.0]), "pmF1": spread([None, 2.0])},
        "kinds": {"noun": {"pairs": spread([3.0, 3.0])}},
    }


def test_seeds_are_told_by_their_names() -> None:
    names = ["teacher", "eighth-seed10", "eighth-seed2", "mine-seed", "quarter-seed1", "a-seed1-seed1", "a-seed1-seed2"]
    names += ["eighth-seed02", "b-seed1", "b-seed01"]  # no numbers that litetext ablate writes: two would be one seed
    assert seeds_of(names) == {
        "eighth": {2: "eighth-seed2", 10: "eighth-seed10"},
        "a-seed1": {1: "a-seed1-seed1", 2: "a-seed1-seed2"},
    }
