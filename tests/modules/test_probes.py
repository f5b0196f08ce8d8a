"""Pairs of phrases: shares are those that a second count of the predictions files gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask

from litetext.modules.probes import compare, is_right, probes_table, score_probes


def test_an_answer_is_right_if_all_objects_and_nothing_else_are_found() -> None:
    rows = np.zeros((5, 12), dtype=np.int64)
    rows[:, 0] = (0, 2, 2, 1, 1)  # found
    rows[:, 1] = (0, 2, 2, 0, 2)  # meant
    rows[:, 2] = (0, 2, 1, 0, 1)  # matched at 0.5
    assert is_right(rows).tolist() == [True, True, False, False, False]


def test_shares_of_pairs() -> None:
    rows = np.zeros((6, 12), dtype=np.int64)
    rows[:, 0] = (1, 0, 1, 1, 0, 0)
    rows[:, 1] = (1, 0, 1, 0, 1, 0)
    rows[:, 2] = (1, 0, 1, 0, 0, 0)
    couples = {"word order": [(1, 2), (3, 4), (5, 6)], "typo": [(7, 8)]}
    scores = score_probes(couples, np.arange(1, 7), rows)
    assert scores.keys() == {"word order"}  # nothing is told of pairs that were not asked
    third, both = pytest.approx(100 / 3), pytest.approx(200 / 3)
    assert scores["word order"] == {"pairs": 3, "first": both, "second": both, "both": third}
    compare(scores, {"word order": {"both": 50.0}})
    assert scores["word order"]["behind"] == pytest.approx(50 - 100 / 3)
    table = probes_table({"encoders": {"teacher": {"probes": scores}, "other": {}}})
    assert table.splitlines()[1].split() == ["word", "order", "3", "teacher", "66.7", "66.7", "33.3", "16.7"]
    compare(scores, None)
    assert scores["word order"]["behind"] is None
    assert probes_table({"encoders": {"teacher": {}}}) == ""


def _right(found: list[dict[str, Any]], meant: list[dict[str, Any]]) -> bool:
    """Every object is covered by an instance of its own (objects are apart, so that the first to cover it is)."""
    coder: Any = mask
    found = [item for item in found if item["score"] >= 0.5]
    if len(found) != len(meant):
        return False
    if not meant:
        return True
    ious = coder.iou([f["segmentation"] for f in found], [m["segmentation"] for m in meant], [0] * len(meant))
    covered = ious >= 0.5
    return bool(covered.any(0).all() and covered.any(1).all())


def test_the_command_counts_pairs_and_kinds(tmp_path: Path, litetext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quiet = ("--model.sam3", "checkpoints/sam3-tiny", "--trainer.enable_progress_bar", "false")
    answer = litetext("test", "--config", "probes.yaml", *quiet, "--data.root", "probes:2")
    assert answer.code == 0, answer.err
    assert "attribute swap  2" in answer.out
    assert "kind of phrase" not in answer.out
    results = json.loads(Path("lightning_logs/probes/results.json").read_text())["encoders"]["teacher"]["probes"]
    truth = json.loads(Path("checkpoints/probes/2/silver_probes_merged_test.json").read_text())
    said = json.loads(Path("lightning_logs/probes/predictions/teacher/probes.json").read_text())
    right = {
        entry["id"]: _right(
            [item for item in said if item["image_id"] == entry["id"]],
            [item for item in truth["annotations"] if item["image_id"] == entry["id"]],
        )
        for entry in truth["images"]
    }
    for probe, scores in results.items():
        pairs = [(e["id"], e["twin"]) for e in truth["images"] if e["kind"] == probe and e["id"] < e["twin"]]
        assert scores["pairs"] == len(pairs) == 2
        assert scores["both"] == 50 * sum(right[a] and right[b] for a, b in pairs)
        assert scores["first"] == 50 * sum(right[a] for a, _ in pairs)
        assert scores["second"] == 50 * sum(right[b] for _, b in pairs)
        assert scores["behind"] == 0
    answer = litetext("test", "--config", "nouns.yaml", *quiet, "--data.root", "nouns:1", "--model.pictures", "0")
    assert answer.code == 0, answer.err
    assert "kind of phrase" in answer.out
    results = json.loads(Path("lightning_logs/nouns/results.json").read_text())
    assert set(results["beside"]) == {"wordings", "artists", "open"}
    teacher = results["encoders"]["teacher"]
    assert len(teacher["subsets"]) == 10
    asked = [
        json.loads(path.read_text()) for path in sorted(Path("checkpoints/nouns/1").glob("gold_*_merged_a_*.json"))
    ]
    assert {entry["kind"] for content in asked for entry in content["images"]} >= set(teacher["kinds"])
    known = [row["pmF1"] for subset, row in teacher["subsets"].items() if subset not in results["beside"]]
    assert teacher["average"]["pmF1"] == pytest.approx(np.mean([value for value in known if value is not None]))
