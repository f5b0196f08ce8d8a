"""`litetext score --predictions_format`: results of other systems, in their documented layouts."""

import base64
import gzip
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coder

from tests.fixtures.runs import Answer
from tests.fixtures.saco_world import H, W, content, entry, mark

ORACLE = Path(__file__).parent.parent / "fixtures" / "oracle"
COCO: Any = coder
PHRASES = ("white dog", "A Cat.")


class World:
    """Two images of two pairs each: four datapoints, three of them with an object."""

    def __init__(self, root: Path) -> None:
        self.root, self.gt = root, root / "gt.json"
        images = [entry(10 * n + k, f"a/{n}.jpg", PHRASES[k]) for n in (1, 2) for k in (0, 1)]
        self.marks = [mark(1, 10, top=2), mark(2, 10, top=7), mark(3, 11, top=4), mark(4, 20, top=6)]
        self.gt.write_text(json.dumps(content(images, self.marks)))
        self.official = [{**m, "score": 0.9, "category_id": 1} for m in self.marks]
        self.official[3]["score"] = 0.3  # does not count

    def scored(self, litetext: Callable[..., Answer], found: Any, layout: str, *more: str) -> tuple[Any, str]:
        path = self.root / f"{layout}.json"
        path.write_text(json.dumps(found))
        return self.scored_at(litetext, path, layout, *more)

    def scored_at(self, litetext: Callable[..., Answer], path: Path, layout: str, *more: str) -> tuple[Any, str]:
        output = self.root / "scores.json"
        told = ("--predictions", str(path), "--predictions-format", layout, "--output", str(output))
        answer = litetext("score", "--gt", str(self.gt), *told, *more)
        if answer.code:
            return None, answer.err
        return json.loads(output.read_text()), answer.out

    def pixels(self, item: dict[str, Any]) -> np.ndarray:
        return COCO.decode(item["segmentation"]).astype(bool)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def numbers(scores: Any) -> Any:
    return {kind: scores[kind] for kind in ("segm", "bbox")}


def gemini(pixels: np.ndarray, label: str = "an animal") -> dict[str, Any]:
    """An object as the documentation of Gemini shows it: the PNG covers the box, and has a size of its own."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    picture = Image.fromarray(np.where(pixels[top:bottom, left:right], 230, 20).astype(np.uint8))
    picture = picture.resize(((right - left) * 4, (bottom - top) * 4), Image.Resampling.NEAREST)
    held = io.BytesIO()
    picture.save(held, "PNG")
    ends = [(top, H), (left, W), (bottom, H), (right, W)]
    code = base64.b64encode(held.getvalue()).decode()
    box = [math.ceil(1000 * value / side) for value, side in ends]
    return {"box_2d": box, "mask": f"data:image/png;base64,{code}", "label": label}


def dino_x(pixels: np.ndarray, category: str, score: float = 0.9) -> dict[str, Any]:
    """An object as DINO-X gives it: its runs go along rows."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    box = [float(x) for x in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]
    counts = COCO.encode(np.asfortranarray(pixels.T.astype(np.uint8)))["counts"].decode()
    return {"category": category, "score": score, "bbox": box, "mask": {"counts": counts, "size": list(pixels.shape)}}


@pytest.mark.parametrize("case", ["case1", "case3"])
def test_coco_results_in_pixels(case: str, tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    gts = sorted((ORACLE / case).glob("gt_*"))
    images = {image["id"]: image for image in json.loads(gzip.decompress(gts[0].read_bytes()))["images"]}
    found = json.loads(gzip.decompress((ORACLE / case / "pred.json.gz").read_bytes()))
    for item in found:
        image = images.get(item["image_id"])
        if image is not None and item.get("bbox"):
            sides = (image["width"], image["height"]) * 2
            item["bbox"] = [x * side for x, side in zip(item["bbox"], sides, strict=True)]
    pixels, scores = tmp_path / "pixels.json", tmp_path / "scores.json"
    pixels.write_text(json.dumps(found))
    argv = ("score", "--gt", *map(str, gts), "--output", str(scores), "--predictions")
    told = litetext(*argv, str(ORACLE / case / "pred.json.gz"))
    assert told.code == 0, told.err
    official = numbers(json.loads(scores.read_text()))
    answer = litetext(*argv, str(pixels), "--predictions-format", "coco")
    assert answer.code == 0, answer.err
    for kind, expected in official.items():
        assert json.loads(scores.read_text())[kind] == pytest.approx(expected, abs=1e-9)


def test_answers_of_gemini(world: World, litetext: Callable[..., Answer]) -> None:
    official, _ = world.scored(litetext, world.official[:3], "saco")
    by_pair = {str(pair): [gemini(world.pixels(m)) for m in world.marks if m["image_id"] == pair] for pair in (10, 11)}
    found = {**by_pair, "20": [], "21": "```JSON\n[]\n```"}
    scores, told = world.scored(litetext, found, "gemini")
    assert numbers(scores) == numbers(official), told
    assert "without an answer" not in told
    # A file an answer, named after the pair; text as it came.
    folder = world.root / "answers"
    folder.mkdir()
    for key, answer in found.items():
        text = answer if isinstance(answer, str) else f"Here they are:\n```json\n{json.dumps(answer)}\n```"
        (folder / f"{key}.txt").write_text(text)
    assert world.scored_at(litetext, folder, "gemini")[0] == scores
    # One answer an image: labels say what each object is.
    by_file = {"1.jpg": [gemini(world.pixels(m), PHRASES[m["image_id"] - 10].upper()) for m in world.marks[:3]]}
    scores, told = world.scored(litetext, by_file, "gemini")
    assert numbers(scores) == numbers(official)
    assert "datapoints without an answer count as if nothing had been found: 2 (id 20, 21)" in told


def test_what_is_amiss_in_answers_is_counted(world: World, litetext: Callable[..., Answer]) -> None:
    sound = [gemini(world.pixels(m)) for m in world.marks if m["image_id"] == 10]
    official, _ = world.scored(litetext, [*world.official[:2], {**world.official[2], "segmentation": None}], "saco")
    damaged = gemini(world.pixels(world.marks[2])) | {"mask": "<start_of_mask><seg_4>"}
    good = {"10": sound, "11": [damaged], "20": [], "21": []}
    scores, told = world.scored(litetext, good, "gemini")
    assert scores["segm"] == official["segm"]
    assert "damaged masks match nothing: 1 (id 11, object 0: mask is '<start_of_mask><seg_4>', not a PNG" in told
    _, told = world.scored(litetext, good | {"21": "I see nothing", "9": []}, "gemini", "--allow_unknown")
    assert "answers that cannot be read find nothing: 1 (id 21: its text is no JSON" in told
    broken = gemini(world.pixels(world.marks[2])) | {"mask": "data:image/png;base64,aGVsbG8="}
    assert "not a PNG as base64 text (it is no image)" in world.scored(litetext, good | {"11": [broken]}, "gemini")[1]
    assert "answers of nothing in gt.json are ignored: 1 (id 9)" in told


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "must hold a JSON mapping from datapoint ids or image file names to answers, got list"),
        ({}, "holds no answer"),
        ({"10": "no", "11": []}, "1 of 2 answers cannot be read (first: 10: its text is no JSON"),
        ({"10": [{"box_2d": [1, 2, 3]}]}, "box_2d is [1, 2, 3]; give four numbers [ymin, xmin, ymax, xmax]"),
        ({"10": [{"box_2d": [0, 0, 1, 1001]}]}, "its numbers go from 0 to 1000"),
        ({"10": [{"box_2d": [500, 0, 400, 10]}]}, "an end lies before its beginning"),
        ({"10": [{"box_2d": [0.1, 0.1, 0.9, 0.5]}]}, "than 0.9: these are fractions; boxes of gemini"),
        ({"77": []}, "1 of 1 answers are of nothing in gt.json (first: 77); name each after an id or a file"),
        ({"1.jpg": [{"box_2d": [0, 0, 9, 9], "label": "sofa"}]}, "of phrases that were not asked (first: 1.jpg"),
    ],
)  # fmt: skip
def test_bad_answers_end_in_one_line(found: Any, said: str, world: World, litetext: Callable[..., Answer]) -> None:
    scores, told = world.scored(litetext, found, "gemini")
    assert scores is None
    assert said in told
    assert len(told.splitlines()) == 1


def test_two_answers_for_a_pair_are_not_added_up(world: World, litetext: Callable[..., Answer]) -> None:
    answers = [gemini(world.pixels(world.marks[0]))]
    scores, told = world.scored(litetext, {"10": answers, "a/1.jpg": []}, "gemini")
    assert scores is None
    assert "datapoint 10 has two answers, 10 and a/1.jpg; keep one" in told
    folder = world.root / "answers"
    folder.mkdir()
    for name in ("10.json", "10.txt"):
        (folder / name).write_text(json.dumps(answers))
    assert "datapoint 10 has two answers" in world.scored_at(litetext, folder, "gemini")[1]


def test_answers_of_dino_x(world: World, litetext: Callable[..., Answer]) -> None:
    official, _ = world.scored(litetext, world.official, "saco")
    # One request an image names all phrases of it; the interface wraps what it answers.
    found: dict[str, Any] = {}
    for item, score in zip(world.marks, (0.9, 0.9, 0.9, 0.3), strict=True):
        image, phrase = divmod(item["image_id"], 10)
        answer = found.setdefault(f"a/{image}", {"code": 0, "data": {"result": {"objects": []}}, "msg": "ok"})
        one = dino_x(world.pixels(item), ("white dog", "a cat")[phrase], score)
        answer["data"]["result"]["objects"].append(one)
    scores, told = world.scored(litetext, found, "dino-x")
    assert numbers(scores) == numbers(official), told
    # Runs as numbers, which end with the last pixel of the object, and a size written as text.
    first = found["a/1"]["data"]["result"]["objects"][0]
    flat = np.concatenate([[0], world.pixels(world.marks[0]).ravel().astype(int), [0]])
    places = np.flatnonzero(np.diff(flat))
    first["mask"] = {"counts": np.diff([0, *places.tolist()]).tolist(), "size": [str(H), str(W)]}
    assert world.scored(litetext, found, "dino-x")[0] == scores
    first["mask"] = {"counts": [5, H * W], "size": [H, W]}
    _, told = world.scored(litetext, found, "dino-x")
    assert f"a mask's runs cover {H * W + 5} pixels, the image has {H * W}" in told
    first["mask"] = {"counts": [H * W], "size": [W, H]}
    assert f"a mask's size (height, width) is [{W}, {H}]" in world.scored(litetext, found, "dino-x")[1]
    bare = {"10": {"objects": [dino_x(world.pixels(world.marks[0]), "sofa")]}}
    scores, told = world.scored(litetext, bare, "dino-x")
    assert scores is None
    assert "objects are of phrases that were not asked (first: 10, object 0: category 'sofa'); correct their" in told
    first |= {"mask": None, "bbox": [0.1, 0.1, 0.9, 0.9]}
    _, told = world.scored(litetext, {"a/1": {"objects": [first]}}, "dino-x")
    assert "no number of a box is larger than 0.9: these are fractions; boxes of dino-x are in pixels" in told


def test_boxes_outside_their_image_match_nothing_and_are_counted(world: World, litetext: Callable[..., Answer]) -> None:
    def box(item: dict[str, Any]) -> list[float]:
        return [value * side for value, side in zip(item["bbox"], (W, H) * 2, strict=True)]

    sound = [{**item, "bbox": box(item)} for item in world.official]
    expected, _ = world.scored(litetext, [*sound, {**sound[0], "bbox": [0, 0, 0, 0]}], "coco")
    far = {**sound[0], "bbox": [5000.0, 3.0, 30.0, 30.0]}
    scores, told = world.scored(litetext, [*sound, far], "coco")
    assert numbers(scores) == numbers(expected)
    assert "boxes outside their image match nothing: 1 (id 10, prediction 2: bbox is [5000.0, 3.0, 30.0" in told
    assert f"the image has {W} x {H}" in told
    scores, told = world.scored(litetext, [*sound[:3], far], "coco")
    assert scores is None
    assert "1 of 4 boxes lie outside their image (first: id 10" in told
    assert "give pixels of the image's own size" in told
    objects = [dino_x(world.pixels(world.marks[0]), "white dog") for _ in range(5)]
    objects[0]["bbox"] = [400.0, 0.0, 500.0, 9.0]
    _, told = world.scored(litetext, {"a/1.jpg": {"objects": objects}}, "dino-x")
    assert "boxes outside their image match nothing: 1 (id a/1.jpg, object 0: bbox is [400.0" in told
    _, told = world.scored(litetext, {"a/1.jpg": {"objects": objects[:2]}}, "dino-x")
    assert "1 of 2 boxes lie outside their image" in told
    _, told = world.scored(litetext, [], "coco")
    assert "coco.json holds no prediction: nothing was found anywhere" in told


def test_fractions_are_no_pixels_and_layouts_keep_to_their_kind(world: World, litetext: Callable[..., Answer]) -> None:
    _, told = world.scored(litetext, world.official, "coco")
    assert "these are fractions, not pixels; leave out --predictions_format" in told
    _, told = world.scored(litetext, world.official, "youtube-vis")
    assert "youtube-vis is of videos, and --gt is of images" in told
    world.gt = ORACLE / "video_synth" / "gt.json.gz"
    _, told = world.scored(litetext, {}, "gemini")
    assert "--predictions_format gemini is of images, and --gt is of videos; theirs is youtube-vis" in told


def test_youtube_vis_results(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    gt, official = (ORACLE / "video_synth" / f"{name}.json.gz" for name in ("gt", "pred"))
    output, tracks = tmp_path / "scores.json", tmp_path / "results.json"
    argv = ("score", "--gt", str(gt), "--output", str(output), "--predictions")
    found = json.loads(gzip.decompress(official.read_bytes()))
    for item in found:  # as masks say it, so that both can be compared
        for t, code in enumerate(item["segmentations"]):
            item["bboxes"][t] = COCO.toBbox(code).tolist() if code else None
            item["areas"][t] = int(COCO.area(code)) if code else None
    tracks.write_text(json.dumps(found))
    assert litetext(*argv, str(tracks)).code == 0
    expected = json.loads(output.read_text())["dataset_results"]
    bare = [{key: item[key] for key in ("video_id", "category_id", "score", "segmentations")} for item in found]
    tracks.write_text(json.dumps(bare))
    assert "has no bboxes" in litetext(*argv, str(tracks)).err
    answer = litetext(*argv, str(tracks), "--predictions-format", "youtube-vis")
    assert answer.code == 0, answer.err
    assert json.loads(output.read_text())["dataset_results"] == expected
    # A tracker of boxes: boxes are scored, masks are not guessed.
    boxes = [{key: item[key] for key in ("video_id", "category_id", "score", "bboxes")} for item in found]
    tracks.write_text(json.dumps(boxes))
    answer = litetext(*argv, str(tracks), "--predictions-format", "youtube-vis")
    assert answer.code == 0, answer.err
    scores = json.loads(output.read_text())["dataset_results"]
    assert scores["video_mask_demo_cgf1_micro_50_95"] is None
    assert scores["video_bbox_demo_cgf1_micro_50_95"] == expected["video_bbox_demo_cgf1_micro_50_95"]
    boxes[0]["bboxes"] = [[1e5, 0.0, 5.0, 5.0], *boxes[0]["bboxes"][1:]]
    tracks.write_text(json.dumps(boxes))
    answer = litetext(*argv, str(tracks), "--predictions-format", "youtube-vis")
    assert (
        "boxes outside their frame match nothing: 1 (first: video 0: [100000.0, 0.0, 5.0, 5.0], its frames"
        in answer.out
    )
    tracks.write_text("[]")
    answer = litetext(*argv, str(tracks), "--predictions-format", "youtube-vis")
    assert "results.json holds no track: nothing was found anywhere" in answer.out
    for bad, said in (
        ({"video_id": 0, "category_id": 1, "score": 1}, "track 0 has neither segmentations nor bboxes"),
        ({**bare[0], "segmentations": {}}, "track 0: segmentations is {}, not a list of one a frame"),
        ({**bare[0], "segmentations": [None]}, "it has 1 bboxes for"),
    ):
        tracks.write_text(json.dumps([bad]))
        assert said in litetext(*argv, str(tracks), "--predictions-format", "youtube-vis").err
