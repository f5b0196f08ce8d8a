"""Scores by kind of phrase: they are those of a separate count, and say null where nothing was measured."""

import numpy as np
import pytest
import torch

from litetext.metrics.cgf1 import PhraseCounts
from litetext.metrics.counts import headline, tally
from litetext.metrics.matching import to_rle
from litetext.modules.kinds import kinds_table, score_kind
from litetext.modules.results import summarize, table
from litetext.saco.instances import Instances, Truth


def _square(side: int) -> dict:
    pixels = torch.zeros(1, 20, 20, dtype=torch.bool)
    pixels[0, :side, :side] = True
    return to_rle(pixels)[0]


def _datapoints(rng: np.random.Generator, ids: list[int]) -> tuple[list, list]:
    found, truths = [], []
    for _ in ids:
        masks = [_square(int(rng.integers(3, 15))) for _ in range(rng.integers(0, 3))]
        true = [_square(int(rng.integers(3, 15))) for _ in range(rng.integers(0, 3))]
        found.append(Instances([0.9] * len(masks), [[0, 0, 1, 1]] * len(masks), masks))
        truths.append([Truth(true, [[0, 0, 1, 1]] * len(true), [False] * len(true))])
    return found, truths


def test_counts_of_some_datapoints_are_those_of_a_metric_that_saw_only_them() -> None:
    rng = np.random.default_rng(0)
    ids = list(range(40))
    found, truths = _datapoints(rng, ids)
    metric, alone = PhraseCounts(), PhraseCounts()
    metric.update(ids, found, truths)
    metric.update(ids[:9], found[:9], truths[:9])  # repeated
    chosen = [3, 5, 8, 21, 33]
    alone.update(chosen, [found[i] for i in chosen], [truths[i] for i in chosen])
    names, rows = metric.rows()
    assert names.tolist() == ids
    assert headline(tally(rows[np.isin(names, chosen)])) == headline(alone.counts())
    assert headline(tally(rows)) == headline(metric.counts())
    assert PhraseCounts().rows()[1].shape == (0, 12)
    with pytest.raises(ValueError, match="deduplicate=True"):
        PhraseCounts(deduplicate=False).rows()


def test_what_was_not_measured_is_null() -> None:
    metric = PhraseCounts()
    metric.update([1, 2], [Instances([0.9], [[0, 0, 1, 1]], [_square(5)]), Instances([])], [Truth([], [], [])] * 2)
    scores = score_kind(metric.counts())
    assert scores == {"pairs": 2, "positives": 0, "CG_F1": None, "IL_MCC": None, "pmF1": None, "IL_FPR": 50.0} | {
        "IL_FPR": pytest.approx(50, abs=1e-3)
    }
    metric = PhraseCounts()
    metric.update([1], [Instances([])], [[Truth([_square(5)], [[0, 0, 1, 1]], [False])]])
    assert score_kind(metric.counts()) == {
        **{"pairs": 1, "positives": 1, "CG_F1": None, "IL_MCC": None, "IL_FPR": None},
        "pmF1": 0.0,
    }


def test_the_table_has_a_row_a_kind_and_encoder() -> None:
    scores = {"pairs": 1200, "positives": 600, "CG_F1": 40.0, "IL_MCC": 0.5, "pmF1": 80.0, "IL_FPR": 12.5}
    none = scores | {"CG_F1": None, "IL_MCC": None, "pmF1": None}
    results = {
        "encoders": {
            "teacher": {"kinds": {"noun": scores, "open": none}},
            "student": {"kinds": {"noun": scores | {"CG_F1": 30.0}, "open": none}},
        }
    }
    lines = kinds_table(results).splitlines()
    assert lines[0].split("  ")[0] == "kind of phrase"
    assert lines[0].endswith("CG_F1 kept")
    assert lines[1].split() == ["noun", "1,200", "teacher", "40.00", "0.500", "80.00", "12.50", "100.0%"]
    assert lines[2].split() == ["student", "30.00", "0.500", "80.00", "12.50", "75.0%"]
    assert lines[3].split() == ["open", "1,200", "teacher", "-", "-", "-", "12.50"]
    assert kinds_table({"encoders": {"teacher": {}}}) == ""


def test_subsets_beside_the_average_are_told_and_not_averaged() -> None:
    part = {"CG_F1": 60.0, "IL_MCC": 0.8, "pmF1": 75.0}
    scores = {"teacher": {"common": part, "artists": part | {"CG_F1": 10.0}}}
    results = summarize(scores, {"teacher": 1}, "teacher", beside=["artists"])
    assert results["beside"] == ["artists"]
    assert results["encoders"]["teacher"]["average"]["CG_F1"] == 60
    assert results["encoders"]["teacher"]["subsets"]["artists"]["CG_F1"] == 10
    assert "artists (beside)" in table(results)
    alone = summarize({"teacher": {"artists": part}}, {"teacher": 1}, "teacher", beside=["artists"])
    assert alone["encoders"]["teacher"]["average"]["CG_F1"] == 60
    assert "(beside)" not in table(alone)
