"""`litetext score`: the official numbers, from the files of any system."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litetext.commands.score import CURVES, count, differences
from tests.fixtures.runs import Answer
from tests.fixtures.saco_world import H, W, content, entry, mark

ORACLE = Path(__file__).parent.parent / "fixtures" / "oracle"


def gt(case: str) -> list[str]:
    return [str(path) for path in sorted((ORACLE / case).glob("gt_*"))]


def pred(case: str) -> str:
    return str(next((ORACLE / case).glob("pred*")))


@pytest.mark.parametrize("case", ["case1", "case2", "case3"])
def test_official_numbers(case: str, tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    output = tmp_path / "scores.json"
    answer = litetext("score", "--gt", *gt(case), "--predictions", pred(case), "--output", str(output))
    assert answer.code == 0, answer.err
    scores: dict[str, dict[str, float]] = json.loads(output.read_text())
    expected = json.loads((ORACLE / case / "official.json").read_text())
    compared = 0
    for kind in ("segm", "bbox"):
        numbers = scores[kind]
        assert len(numbers) == 26
        for name, value in official_numbers(expected, kind).items():
            assert numbers[name] == pytest.approx(value, abs=1e-9), (kind, name)
            compared += 1
        assert f"{numbers['cgF1']:.4f}" in answer.out
    assert compared >= 26


def official_numbers(expected: Any, kind: str) -> dict[str, float]:
    """The oracle's numbers of a kind, by their names without the prefix."""
    prefix, found = f"cgF1_eval_{kind}_", {}
    stack = [expected]
    while stack:
        for name, value in stack.pop().items():
            if isinstance(value, dict):
                stack.append(value)
            elif name.startswith(prefix):
                found[name.removeprefix(prefix)] = value
    return found


def test_plain_and_gzipped_files_and_what_is_absent(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    items = json.loads(gzip.decompress(Path(pred("case1")).read_bytes()))
    plain = tmp_path / "predictions.json"
    plain.write_text(json.dumps(items))
    argv = ("score", "--gt", *gt("case1"), "--predictions")
    assert litetext(*argv, str(plain)).out == litetext(*argv, pred("case1")).out
    plain.write_text(json.dumps([{k: v for k, v in item.items() if k != "bbox"} for item in items]))
    only_masks = litetext(*argv, str(plain))
    assert "without a mask" not in only_masks.out
    plain.write_text(json.dumps([{**items[0], "segmentation": None}, *items[1:]]))
    assert (
        f"predictions without a mask match nothing: 1 (first: id {items[0]['image_id']})"
        in litetext(*argv, str(plain)).out
    )
    plain.write_text(json.dumps([{k: v for k, v in item.items() if k != "bbox"} for item in items]))
    assert "bbox is left out" in only_masks.out
    assert "segm is left out" not in only_masks.out
    plain.write_text("[]")
    nothing = litetext(*argv, str(plain))
    assert nothing.code == 0
    assert "left out" not in nothing.out


def test_bad_files_end_in_one_line(tmp_path: Path, refused: Callable[..., str]) -> None:
    truth, good = gt("case1"), pred("case1")
    assert "nothere.json" in refused("score", "--gt", *truth, "--predictions", "nothere.json")
    assert "--gt names 4 files" in refused("score", "--gt", *truth, truth[0], "--predictions", good)
    assert "predictions" in refused("score", "--gt", *truth)
    broken = tmp_path / "broken.json"
    broken.write_text('[{"image_id": 1')
    assert "broken.json cannot be read as JSON" in refused("score", "--gt", *truth, "--predictions", str(broken))
    broken.write_text('[{"image_id": 1, "score": 0.5}]')
    assert "prediction 0 has no category_id" in refused("score", "--gt", *truth, "--predictions", str(broken))
    broken.write_text('[{"image_id": 10000254, "category_id": 1, "score": 0.5}]')
    assert "segm is left out: the predictions do not hold it (first without one: id 10000254); bbox" in refused(
        "score", "--gt", *truth, "--predictions", str(broken)
    )
    for damaged, told in (
        ('["x"]', "prediction 0 is 'x'"),
        ('[{"image_id": "x", "category_id": 1, "score": 0.5}]', "prediction 0: image_id is 'x'; give a whole number"),
        ('[{"image_id": 1, "category_id": [1], "score": 0.5}]', "prediction 0: category_id is [1]; give"),
        ('[{"image_id": 1, "category_id": 1, "score": NaN}]', "score is nan; give a finite number"),
        ('[{"image_id": 1, "category_id": 1, "score": null}]', "score is None; give a finite number"),
        ('[{"image_id": 1, "category_id": 1, "score": true}]', "score is True; give a finite number"),
        ('[{"image_id": 1, "category_id": 1, "score": 80.8}]', "score is 80.8; scores go from 0 to 1"),
        ('[{"image_id": 1, "category_id": 1, "score": -2.2}]', "put logits through a sigmoid"),
        ('[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, 3]}]', "bbox is [1, 2, 3], not four numbers"),
        ('[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, 3, NaN]}]', "its numbers must be finite"),
        ('[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, -3, 4]}]', "a width or height is negative"),
        ('[{"image_id": 1, "category_id": 1, "score": 1, "bbox": "1 2 3 4"}]', "bbox is '1 2 3 4', not four"),
        ('[{"video_id": 1, "category_id": 1, "score": 1}]', "has a video_id: these are tracks of videos"),
        ('[{"image_id": 5, "category_id": 1, "score": 1}]', "none of its 1 ids (first: 5) is one of gt_a.json.gz"),
    ):
        broken.write_text(damaged)
        assert told in refused("score", "--gt", *truth, "--predictions", str(broken))
    cut = tmp_path / "gt_a.json.gz"
    cut.write_bytes(Path(truth[0]).read_bytes()[:-50])
    assert "gt_a.json.gz cannot be read as JSON" in refused("score", "--gt", str(cut), "--predictions", good)
    cut.write_bytes(gzip.compress(b'{"images": [{"id": 1}], "annotations": 3, "categories": []}'))
    assert "is not a SA-Co ground-truth file" in refused("score", "--gt", str(cut), "--predictions", good)


MODES = {"oracle": "abc", "single_a": "a", "single_b": "b", "single_c": "c"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", ["case1", "case2", "case3"])
def test_differences_from_the_official_evaluator(case: str, mode: str) -> None:
    counted = count([str(ORACLE / case / f"gt_{x}.json.gz") for x in MODES[mode]], pred(case))
    for values in differences(counted, str(ORACLE / case / "official.json"), mode).values():
        assert len(values) == 26 + len(CURVES)
        assert max(values.values()) < 1e-9


def test_the_official_file_may_be_flat_or_nested_and_must_hold_numbers(
    tmp_path: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    numbers = json.loads((ORACLE / "case1" / "official.json").read_text())["oracle"]["segm"]["metrics"]
    flat = tmp_path / "flat.json"
    flat.write_text(json.dumps(numbers | {"cgF1_eval_segm_cgF1": numbers["cgF1_eval_segm_cgF1"] + 0.25}))
    argv = ("score", "--gt", *gt("case1"), "--predictions", pred("case1"))
    told = litetext(*argv, "--official", str(flat)).out
    assert "segm: largest difference from the official evaluator 0.25 over 26 numbers\n" in told
    assert "bbox: largest" not in told
    nested = str(ORACLE / "case1" / "official.json")
    assert "over 6 lists by threshold" in litetext(*argv, "--official", nested, "--entry", "oracle").out
    assert "name the key under which they lie with --entry" in refused(*argv, "--official", nested)
    assert "there: oracle, single_a" in refused(*argv, "--official", nested, "--entry", "b")
    assert "give both" in refused(*argv, "--entry", "oracle")


class World:
    """Files of one annotator and a system that finds everything, to be damaged."""

    def __init__(self, folder: Path) -> None:
        images = [entry(k, f"{k}.png", f"thing {k}") for k in range(6)]
        self.gt = content(images, [mark(k, k) for k in range(6) if k % 2])
        self.found = [{**mark(k, k), "score": 0.9} for k in range(6) if k % 2]
        self.folder = folder

    def scored(self, litetext: Callable[..., Answer], *options: str) -> tuple[dict[str, Any], str]:
        paths = {name: self.folder / f"{name}.json" for name in ("gt", "found", "out")}
        paths["gt"].write_text(json.dumps(self.gt))
        paths["found"].write_text(json.dumps(self.found))
        answer = litetext(
            *("score", "--gt", str(paths["gt"]), "--predictions", str(paths["found"]), "--output", str(paths["out"])),
            *options,
        )
        assert answer.code == 0, answer.err
        return json.loads(paths["out"].read_text()), answer.out


def test_what_is_amiss_is_told_and_the_rest_is_kept(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    whole, told = World(tmp_path).scored(litetext)
    assert whole.keys() == {"segm", "bbox", "notes", "partial", "left_out", "written_by"}
    assert whole["segm"]["cgF1"] > 0.99
    assert len(told.splitlines()) == 27, "no notes"

    world = World(tmp_path)
    world.found += [{**mark(0, 77), "score": 0.9}, {**mark(0, 77), "score": 0.9}, {**mark(0, 78), "score": 0.9}]
    world.found.append({**mark(9, 2), "score": 0.9, "category_id": 8})
    scores, told = world.scored(litetext, "--allow_unknown")
    assert scores.pop("notes") == told.splitlines()[27:]
    assert scores == {key: value for key, value in whole.items() if key != "notes"}, (
        "predictions for ids and of categories that nobody knows are ignored, as officially"
    )
    assert "predictions for ids that gt.json does not hold are ignored: 3 for 2 (first: id 77)" in told
    assert "predictions of categories that the ground truth does not know are ignored: 1 (first: id 2)" in told

    world = World(tmp_path)
    world.found[0]["segmentation"] = mark(1, 1, height=H + 1)["segmentation"]
    scores, told = world.scored(litetext)
    assert scores["segm"]["recall"] == pytest.approx(2 / 3, abs=1e-3)
    assert scores["bbox"] == whole["bbox"]
    assert "predictions: masks of another size than their image match nothing: 1 (first: id 1)" in told


@pytest.mark.parametrize(
    "damaged", [{"size": [H, W], "counts": "0"}, {"size": [H, W], "counts": "\u00e9"}, "nonsense", [[1.0]], {"size": 3}]
)
def test_damaged_masks(damaged: Any, tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    world = World(tmp_path)
    world.found[1]["segmentation"] = damaged
    scores, told = world.scored(litetext)
    assert "predictions: damaged masks match nothing: 1 (first: id 3: " in told
    assert scores["segm"]["recall"] == pytest.approx(2 / 3, abs=1e-3)
    assert scores["segm"]["IL_recall"] == pytest.approx(1, abs=1e-3), "it is a prediction none the less"
    world = World(tmp_path)
    world.gt["annotations"][1]["segmentation"] = damaged
    scores, told = world.scored(litetext)
    assert "gt.json: datapoints left out for a damaged mask: 1 (first: id 3: " in told
    assert "partial: 1 datapoints were left out" in told
    assert (scores["partial"], scores["left_out"]) == (True, 1)
    assert scores["segm"]["cgF1"] > 0.99


def test_annotations_that_found_no_home_are_told(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    world = World(tmp_path)
    whole, _ = world.scored(litetext)
    world.gt["annotations"] += [mark(10, 0), mark(11, 99)]
    world.found.append({**mark(10, 0), "score": 0.9})
    scores, told = world.scored(litetext)
    assert "gt.json: annotations left out because the file holds no such image_id: 1 (id 11 with image_id 99" in told
    assert scores["segm"]["cgF1"] > 0.99
    world.gt["annotations"] = [{**item, "iscrowd": "0"} for item in World(tmp_path).gt["annotations"]]
    world.gt["images"] = [{**image, "is_instance_exhaustive": "1"} for image in world.gt["images"]]
    world.found.pop()
    assert world.scored(litetext)[0] == whole


@pytest.mark.parametrize("box", [None, [1, 2, 3], [0, 0, float("nan"), 1], "1 2 3 4"])
def test_true_boxes_that_are_missing_are_those_of_the_masks(
    box: Any, tmp_path: Path, litetext: Callable[..., Answer]
) -> None:
    whole, _ = World(tmp_path).scored(litetext)
    world = World(tmp_path)
    world.gt["annotations"][0]["bbox"] = box
    if box is None:
        del world.gt["annotations"][0]["bbox"]
    scores, told = world.scored(litetext)
    assert (scores["segm"], scores["bbox"]) == (whole["segm"], whole["bbox"])
    assert "gt.json: boxes that are missing or no boxes are those of their masks: 1 (first: id 1)" in told


@pytest.mark.parametrize("empty", [None, [], "gone"])
def test_one_annotation_without_a_mask_takes_no_other_pair_with_it(
    empty: Any, tmp_path: Path, litetext: Callable[..., Answer]
) -> None:
    world = World(tmp_path)
    world.gt["annotations"][0]["segmentation"] = empty
    if empty == "gone":
        del world.gt["annotations"][0]["segmentation"]
    scores, told = world.scored(litetext)
    assert "datapoints left out for a damaged mask: 1 (first: id 1: an annotation has no segmentation)" in told
    assert scores["left_out"] == 1
    assert scores["segm"]["cgF1"] > 0.99


def test_ground_truth_without_masks(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    world = World(tmp_path)
    for item in (*world.gt["annotations"], *world.found):
        del item["segmentation"]
    scores, told = world.scored(litetext)
    assert scores["segm"] is None
    assert "segm is left out: the predictions do not hold it" in told
    assert scores["bbox"]["cgF1"] > 0.99


def test_the_output_never_destroys_what_is_there(
    tmp_path: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    world = World(tmp_path)
    world.scored(litetext)
    gt, found, out = (tmp_path / f"{name}.json" for name in ("gt", "found", "out"))
    argv = ("score", "--gt", str(gt), "--predictions", str(found), "--output")
    before = {path: path.read_bytes() for path in (gt, found, out)}
    (tmp_path / "link.json").symlink_to(found)
    for path in (gt, found, tmp_path / "link.json", tmp_path / "." / "found.json"):
        assert "is the input" in refused(*argv, str(path), "--overwrite")
    official = tmp_path / "official.json"
    official.write_text(json.dumps({"cgF1_eval_segm_cgF1": 0.5}))
    assert "is the input" in refused(*argv, str(official), "--official", str(official), "--overwrite")
    assert "there already, and not from this command; give another name, or --overw" in refused(*argv, str(official))
    assert "is a folder" in refused(*argv, str(tmp_path))
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads(official.read_text()) == {"cgF1_eval_segm_cgF1": 0.5}
    assert litetext(*argv, str(out)).code == 0, "its own file it may replace"
    assert litetext(*argv, str(official), "--overwrite").code == 0
    assert official.read_bytes() == out.read_bytes() == before[out]
    assert not list(tmp_path.glob(".*")), "no draft is left"


def test_boxes_in_another_unit_are_not_scored_as_zero(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    world = World(tmp_path)
    kept = [item["bbox"] for item in world.found]
    for item in world.found:
        item["bbox"] = [0.6, 0.6, 0.9, 0.9]
    told = world.scored(litetext)[1]
    assert "3 of 3 boxes reach far over the edge, as corners [x1, y1, x2, y2] would where [x, y, width, he" in told
    for item, box in zip(world.found, kept, strict=True):
        item["bbox"] = box
    for item in world.found:
        item["bbox"] = [x * side for x, side in zip(item["bbox"], (W, H, W, H), strict=True)]
    scores, told = world.scored(litetext)
    assert scores["bbox"] is None
    assert scores["segm"]["cgF1"] > 0.99
    assert "bbox is left out: 3 of 3 boxes are in pixels where fractions of the image are meant: write [x / w" in told
    for item in world.gt["annotations"]:
        item["bbox"] = [x * side for x, side in zip(item["bbox"], (W, H, W, H), strict=True)]
    scores, told = world.scored(litetext)
    assert scores["bbox"]["cgF1"] > 0.99, "both in pixels can be compared"
    assert len(told.splitlines()) == 27
    for item in world.found:
        item["bbox"] = [0.1, 0.1, 0.2, 0.2]
    scores, told = world.scored(litetext)
    assert scores["bbox"] is None
    assert "3 of 3 boxes are in fractions of the image where pixels are meant" in told


def test_repeats_and_ids_as_text(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    world = World(tmp_path)
    whole, _ = world.scored(litetext)
    world.found = [{**item, "image_id": str(item["image_id"]), "category_id": "1"} for item in world.found]
    assert world.scored(litetext)[0] == whole
    world.found *= 2
    scores, told = world.scored(litetext)
    assert "predictions: those that repeat another one count as false alarms: 3 (first: id 1)" in told
    assert scores["segm"]["precision"] == pytest.approx(0.5, abs=1e-3)


def test_no_score_from_negatives_alone(
    tmp_path: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    world = World(tmp_path)
    world.gt["annotations"] = []
    scores, told = world.scored(litetext)
    assert {name: value for name, value in scores["segm"].items() if value is not None} == {
        "IL_FPR": pytest.approx(0.5, abs=1e-3)
    }
    assert "no datapoint that counts holds an instance: negatives alone give no score but IL_FPR" in told
    world = World(tmp_path)
    world.gt["images"] = world.gt["images"][1::2]
    scores, told = world.scored(litetext)
    assert "without negatives IL_MCC and cgF1 are 0" in told
    assert scores["segm"]["recall"] == pytest.approx(1, abs=1e-3)
    for image in world.gt["images"]:
        image["is_instance_exhaustive"] = 0
    (tmp_path / "gt.json").write_text(json.dumps(world.gt))
    argv = ("score", "--gt", str(tmp_path / "gt.json"), "--predictions", str(tmp_path / "found.json"))
    assert "none of its 3 datapoints counts" in refused(*argv)
    world.gt["images"][0].update(is_instance_exhaustive=1)
    del world.gt["images"][0]["height"]
    (tmp_path / "gt.json").write_text(json.dumps(world.gt))
    assert "gt.json: datapoint 1: height is missing" in refused(*argv)


def test_predictions_of_which_a_quarter_have_no_home(
    tmp_path: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    images = [entry(n, f"{n}.png", "cup") for n in range(1, 9)]
    truth = tmp_path / "gt.json"
    truth.write_text(json.dumps(content(images, [mark(n, n) for n in range(1, 8)])))

    def score(strange: dict[str, int], count: int, *options: str) -> tuple[str, ...]:
        found = [{"image_id": n, "category_id": 1, "score": 0.9, **_marked(n)} for n in range(1, 9)]
        found = [{**item, **strange} if n < count else item for n, item in enumerate(found)]
        (tmp_path / "found.json").write_text(json.dumps(found))
        return ("score", "--gt", str(truth), "--predictions", str(tmp_path / "found.json"), *options)

    for strange, told in (
        ({"image_id": 99}, "ids that gt.json does not hold (first: 99)"),
        ({"category_id": 7}, "(1;"),
    ):
        assert litetext(*score(strange, 1)).code == 0
        line = refused(*score(strange, 2))
        assert "2 of 8 predictions are" in line
        assert told in line.replace("([1];", "(1;")
        assert "--allow_unknown" in line
        answer = litetext(*score(strange, 2, "--allow_unknown"))
        assert answer.code == 0
        assert "are ignored: 2" in answer.out
        assert litetext(*score(strange, 8, "--allow_unknown")).code == 2


def _marked(number: int) -> dict[str, Any]:
    annotation = mark(number, number)
    return {"segmentation": annotation["segmentation"], "bbox": annotation["bbox"]}
