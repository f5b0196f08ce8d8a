"""COCO-style data sets whose photographs carry an EXIF orientation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from litetext.data.images.items import ImagePairs, decode
from litetext.data.images.orientation import orient
from litetext.data.shapes.world import FIRST_HELD_OUT, draw_scene, render
from litetext.metrics.matching import rle_text, to_rle
from tests.fixtures.runs import Answer


def entry(folder: Path, name: str, number: int | None, marked: tuple[int, int]) -> ImagePairs:
    """An image of 4 x 6 stored pixels (height x width), annotated with another size."""
    exif = Image.Exif()
    if number is not None:
        exif[0x0112] = number
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save(folder / name, exif=exif)
    return ImagePairs("coco", name, folder / name, *marked, [])


def test_sizes_tell_and_the_others_go_with_them(tmp_path: Path) -> None:
    turned, stored, none = (entry(tmp_path, f"{n}.png", 6, (6, 4) if n == 0 else (4, 6)) for n in range(3))
    none = entry(tmp_path, "2.png", None, (4, 6))
    silent, flipped = entry(tmp_path, "3.jpg", 3, (4, 6)), entry(tmp_path, "4.jpg", 2, (4, 6))
    gone = none._replace(path=tmp_path / "gone.png")
    images, line = orient([turned, stored, none, silent, flipped, gone])
    assert [image.turn for image in images[:2]] == [True, False]
    assert [image.turn for image in images[3:5]] == [True, True]
    assert line is not None
    assert line.startswith("4 of 6 images carry an EXIF orientation: 3 are turned by it, 1 are taken as stored")
    images, line = orient([stored, silent])
    assert [image.turn for image in images] == [False, False]
    images, line = orient([silent, none])
    assert images[0].turn
    assert line is not None
    assert "all are turned by it, as annotation tools show them" in line
    for choice, wanted in (("turned", True), ("stored", False)):
        images, line = orient([turned, stored, silent], choice)  # pyright: ignore[reportArgumentType]
        assert [image.turn for image in images] == [wanted] * 3
        assert line == f"3 of 3 images carry an EXIF orientation: all are taken as {choice} (data.coco.exif)"
    assert orient([none])[1] is None
    with pytest.raises(ValueError, match="has 6 x 4 pixels"):
        decode(stored.path, 4, 6, turn=True)


@pytest.fixture
def upside_down(folder: Path) -> list[str]:
    """Two scenes with their shapes as ground truth, stored upside down with an orientation that turns them."""
    images: list[Any] = []
    marks: list[Any] = []
    names: dict[str, int] = {}
    for number in (3, 2):
        scene, exif = draw_scene(FIRST_HELD_OUT + number), Image.Exif()
        exif[0x0112] = 3
        Image.fromarray(render(scene)[::-1, ::-1].copy()).save(folder / f"{number}.png", exif=exif)
        images.append({"id": number, "file_name": f"{number}.png", "height": 112, "width": 112})
        for shape in scene.shapes:
            mask = shape.mask()
            (code,) = to_rle(torch.from_numpy(mask)[None])
            rows, columns = np.nonzero(mask)
            box = [int(v) for v in (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)]
            category = names.setdefault(f"{shape.values.colour} {shape.values.kind}", len(names) + 1)
            mark = {"id": len(marks) + 1, "image_id": number, "category_id": category, "iscrowd": 0}
            marks.append(mark | {"segmentation": rle_text(code), "bbox": box, "area": int(mask.sum())})
    categories = [{"id": number, "name": name} for name, number in names.items()]
    Path("gt.json").write_text(json.dumps({"images": images, "annotations": marks, "categories": categories}))
    return ["test", "--config", "shapes.yaml", "--data.root", "null", "--model.text_encoders", "null",
            "--data.coco.annotations", "gt.json", "--model.pictures", "1", "--run"]  # fmt: skip


def test_an_own_data_set_is_turned_and_says_so(
    upside_down: list[str], litetext: Callable[..., Answer], caplog: pytest.LogCaptureFixture
) -> None:
    answer = litetext(*upside_down, "a")
    assert answer.code == 0, answer.err
    line = "subset coco: 2 of 2 images carry an EXIF orientation, and all are turned by it"
    # Lightning's handler keeps the stream of the test that imported it; what was logged is in caplog for sure.
    assert line in answer.err + caplog.text
    (found,) = Path().rglob("a/results.json")
    right = json.loads(found.read_text())["encoders"]["teacher"]["average"]["CG_F1"]
    answer = litetext(*upside_down, "b", "--data.coco.exif", "stored")
    assert "all are taken as stored" in answer.err + caplog.text
    (found,) = Path().rglob("b/results.json")
    wrong = json.loads(found.read_text())["encoders"]["teacher"]["average"]["CG_F1"]
    assert right > 50 > 5 * wrong
