"""`litetext score` with the files of several annotators."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.fixtures.runs import Answer
from tests.fixtures.saco_world import content, entry, mark


def test_files_of_two_subsets_are_no_two_annotators(
    tmp_path: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    marks = [{**mark(k, k), "iscrowd": int(k == 3)} for k in range(1, 6, 2)]
    for name, thing in (("a", "thing"), ("b", "thing"), ("other", "dog")):
        entries = [entry(k, f"{k}.png", f"{thing} {k}") for k in range(6)]
        if name == "b":
            entries.pop(5)
        known = {item["id"] for item in entries}
        text = json.dumps(content(entries, [item for item in marks if item["image_id"] in known]))
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "found.json").write_text(json.dumps([{**mark(1, 1), "score": 0.9}]))
    a, b, other, found = (str(tmp_path / f"{name}.json") for name in ("a", "b", "other", "found"))
    assert "give the files of annotators of one subset" in refused("score", "--gt", a, other, "--predictions", found)
    answer = litetext("score", "--gt", a, b, "--predictions", found)
    assert "b.json lacks datapoints and so marks nothing there, as officially: 1 (first: id 5)" in answer.out
    assert (
        "a.json: datapoints of which crowds alone are marked are negatives, as officially: 1 (first: id 3)"
        in answer.out
    )
