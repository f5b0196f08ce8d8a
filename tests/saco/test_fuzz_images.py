"""Damaged files of images: whatever a small change does to them, one line says so or the rest is counted.

LITETEXT_FUZZ sets how many files of each kind are damaged (1,000 take a minute or two).
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.mutations import run_damaged
from tests.fixtures.saco_world import H, W, content, entry, mark, paint

COUNT = int(os.environ.get("LITETEXT_FUZZ", "60"))
READ = "!tests.fixtures.reading"


def coco() -> dict[str, Any]:
    """Polygons, compressed and plain run-length masks, a crowd, and the lists of LVIS."""
    square = [1.0, 1.0, 5.0, 1.0, 5.0, 4.0, 1.0, 4.0]
    whole = mark(0, 0)["segmentation"]
    plain = {"size": [H, W], "counts": [H + 2, 3, H * W - H - 5]}
    marks = [
        {"id": n, "image_id": i, "category_id": c, "bbox": [1, 1, 4, 3], "segmentation": code, "iscrowd": crowd}
        for n, (i, c, code, crowd) in enumerate(
            [
                (0, 1, [square], 0),
                (0, 1, whole, 0),
                (1, 2, plain, 0),
                (1, 2, [square, square[::-1]], 0),
                (2, 1, plain, 1),
            ]
        )
    ]
    images = [{"id": i, "file_name": f"{i}.png", "height": H, "width": W} for i in range(3)]
    images[2] |= {"neg_category_ids": [2], "not_exhaustive_category_ids": []}
    return {"images": images, "annotations": marks, "categories": [{"id": i, "name": f"a_thing {i}"} for i in (1, 2)]}


def gold() -> dict[str, Any]:
    images = [entry(k, f"{k % 3}.png", f"thing {k}", exhaustive=int(k != 4)) for k in range(6)]
    return content(images, [mark(n, k) for n, k in enumerate([0, 0, 1, 3, 4])])


@pytest.fixture
def images(tmp_path: Path) -> str:
    for i in range(3):
        paint(tmp_path / "images" / f"{i}.png")
    return str(tmp_path / "images")


def test_damaged_coco_files(tmp_path: Path, images: str) -> None:
    assert run_damaged(tmp_path, {"coco.json": coco()}, (READ, "coco", "@coco.json", images), COUNT) == []


def test_damaged_ground_truth_of_several_annotators(tmp_path: Path, images: str) -> None:
    files = {f"{x}.json": gold() for x in "abc"}
    assert run_damaged(tmp_path, files, (READ, "gold", *(f"@{name}" for name in files), images), COUNT) == []


def test_the_undamaged_files_are_read(tmp_path: Path, images: str) -> None:
    from tests.fixtures.reading import main

    (tmp_path / "coco.json").write_text(json.dumps(coco()))
    (tmp_path / "a.json").write_text(json.dumps(gold()))
    assert main(["coco", str(tmp_path / "coco.json"), images]) == 0
    assert main(["gold", str(tmp_path / "a.json"), images]) == 0
    (tmp_path / "coco.json").write_text("{}")
    assert main(["coco", str(tmp_path / "coco.json"), images]) == 2
