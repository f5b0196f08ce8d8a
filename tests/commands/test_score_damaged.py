"""Damaged ground truth and predictions: `litetext score` never crashes, hangs or shows a traceback."""

import json
from pathlib import Path
from typing import Any

from tests.fixtures.mutations import run_damaged
from tests.fixtures.saco_world import content, entry, mark

CASES = Path(__file__).parents[1] / "fixtures" / "damaged_videos"
SCORE = ("score", "--gt", "@gt.json", "--predictions", "@found.json")
COUNT = 60
"""Of each kind; 1,000 of each were run once."""


def videos() -> dict[str, Any]:
    gt, found = (json.loads((CASES / name).read_text()) for name in ("gt.json", "good.json"))
    polygons = json.loads((CASES / "polygons.json").read_text())
    gt["videos"].append({**gt["videos"][0], "id": 1})
    gt["annotations"].append({**gt["annotations"][0], "id": 2, "video_id": 1, "category_id": 2})
    gt["video_np_pairs"].append({"id": 2, "video_id": 1, "category_id": 2, "noun_phrase": "cat", "num_masklets": 1})
    found += [{**found[0], "video_id": 1, "category_id": 2}, {**polygons[0], "video_id": 1}]
    return {"gt.json": gt, "found.json": found}


def images() -> dict[str, Any]:
    gt = content([entry(k, f"{k}.png", f"thing {k}") for k in range(6)], [mark(k, k) for k in range(6) if k % 2])
    found = [{**mark(k, k), "score": 0.9} for k in range(6) if k % 2]
    found.append({**mark(9, 1), "score": 0.6, "segmentation": [[1, 2, 5, 2, 5, 5, 1, 5]]})
    return {"gt.json": gt, "found.json": found}


def test_damaged_files_of_videos(tmp_path: Path) -> None:
    assert run_damaged(tmp_path, videos(), SCORE, COUNT) == []


def test_damaged_files_of_images(tmp_path: Path) -> None:
    assert run_damaged(tmp_path, images(), SCORE, COUNT) == []
