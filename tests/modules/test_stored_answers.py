"""`litetext test` takes stored answers for the same question alone, and gives no number where none was measured."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask
from safetensors.torch import load_file, save_file

from litetext.data.shapes.veval import NAME, write_video_shapes
from litetext.data.shapes.world import FIRST_HELD_OUT, draw_scene, render
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.linking import Linker
from litetext.modules.run_folder import sole_writer
from litetext.modules.seg_eval import SegEvalModule
from litetext.modules.video_eval import VideoEvalModule
from litetext.shipped import shipped
from tests.fixtures.runs import Answer

coder: Any = mask
KINDS = ["circle", "square", "triangle", "diamond", "cross", "ring"]
NO_PICTURES = ("--model.pictures", "0", "--trainer.enable_progress_bar", "false")
Run = Callable[..., dict[str, Any]]


def write_coco(folder: Path, first: int, images: int = 2) -> Path:
    """A COCO data set of held-out scenes; every image is asked for all kinds that occur."""
    (folder / "images").mkdir(parents=True)
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    for number in range(images):
        scene = draw_scene(FIRST_HELD_OUT + first + number)
        Image.fromarray(render(scene)).save(folder / "images" / f"{number}.png")
        content["images"].append({"id": number + 1, "file_name": f"{number}.png", "height": 112, "width": 112})
        for shape in scene.shapes:
            code = coder.encode(np.asfortranarray(shape.mask().astype(np.uint8)))
            mark = {"id": len(content["annotations"]) + 1, "image_id": number + 1, "iscrowd": 0}
            mark |= {"category_id": KINDS.index(str(shape.values.kind)) + 1, "bbox": coder.toBbox(code).tolist()}
            content["annotations"].append(mark | {"segmentation": {**code, "counts": code["counts"].decode()}})
    content["categories"] = [{"id": n + 1, "name": name} for n, name in enumerate(KINDS)]
    path = folder / "a.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_coco(tmp_path / "w", 0)


@pytest.fixture
def tested(litetext: Callable[..., Answer]) -> Run:
    """Scores a data set under the one run name; gives the results with what was told of reuse."""

    def run(path: Path, *more: str) -> dict[str, Any]:
        data = ("--data.root", "null", "--data.coco.annotations", str(path), "--data.coco.images", "w/images")
        models = ("--config", "shapes.yaml", "--model.text_encoders", "null", *NO_PICTURES, "--run", "r")
        answer = litetext("test", *models, *data, *more)
        assert answer.code == 0, answer.err
        (told,) = (line for line in answer.out.splitlines() if line.startswith("records "))
        results = json.loads(Path("lightning_logs/r/results.json").read_text())
        return {**results["encoders"]["teacher"]["average"], "told": told.partition(": ")[2], "out": answer.out}

    return run


@pytest.fixture
def last_line(litetext: Callable[..., Answer]) -> Callable[..., str]:
    """Runs a command that must end with exit code 2 and a line after what was told before; gives that line."""

    def run(*argv: str) -> str:
        answer = litetext(*argv)
        assert answer.code == 2, answer
        assert "Traceback" not in answer.err
        line = answer.err.strip().splitlines()[-1]
        assert line.startswith("litetext: error: ")
        return line

    return run


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads(path.read_text())
    change(content)
    other = path.with_name("b.json")
    other.write_text(json.dumps(content))
    return other


def exchange(content: dict[str, Any]) -> None:
    names = [category["name"] for category in content["categories"]]
    for category, name in zip(content["categories"], [*names[1:], names[0]], strict=True):
        category["name"] = name


def test_what_is_asked_and_seen_decides(world: Path, tested: Run) -> None:
    first = tested(world)
    assert first["CG_F1"] > 30
    assert first["told"] == "0 of 2 images reused"
    again = tested(world)
    assert again["told"] == "2 of 2 images reused; --fresh computes all anew"
    assert "put aside" not in again["out"]
    renamed = tested(changed(world, exchange))
    assert renamed["told"] == "0 of 2 images reused"
    assert renamed["CG_F1"] < 5
    assert "put aside   lightning_logs/r/earlier/" in renamed["out"]
    shutil.copy("w/images/1.png", "w/images/0.png")
    seen = tested(world)
    assert seen["told"] == "1 of 2 images reused; --fresh computes all anew"
    assert seen["CG_F1"] < first["CG_F1"]
    (folder,) = (path for path in Path("lightning_logs/r/records").iterdir())
    assert f"records     {folder}: " in seen["out"]
    anew = tested(world, "--fresh")
    assert anew["told"] == "0 of 2 images reused"
    assert len(list(Path("lightning_logs/r/earlier").iterdir())) == 2


def test_two_evaluations_do_not_write_into_one_folder(world: Path, last_line: Callable[..., str], tested: Run) -> None:
    data = ("--data.root", "null", "--data.coco.annotations", str(world), "--data.coco.images", "w/images")
    argv = ("test", "--config", "shapes.yaml", "--model.text_encoders", "null", *NO_PICTURES, *data, "--run", "r")
    with sole_writer([Path("lightning_logs/r")], "litetext test", "r"):
        assert "lightning_logs/r is being written by another process (litetext test, process" in last_line(*argv)
    assert not Path("lightning_logs/r/records").exists()
    tested(world)


def test_models_and_how_they_compute_decide(world: Path, tested: Run) -> None:
    model = Path(shutil.copytree(shipped("checkpoints/sam3-tiny"), "m"))
    sam3 = ("--model.sam3", "m")
    first = tested(world, *sam3)
    assert tested(world, *sam3)["told"].startswith("2 of 2")
    for more in (["--model.dtype", "bfloat16"], ["--trainer.precision", "bf16-mixed"], ["--model.threshold", "0.6"]):
        assert tested(world, *sam3, *more)["told"].startswith("0 of 2"), more
    path = model / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"image_mean": [\n    0.5', '"image_mean": [\n    0.1'))
    other = tested(world, *sam3)
    assert other["told"].startswith("0 of 2")
    assert other["CG_F1"] != first["CG_F1"]
    weights = load_file(model / "model.safetensors")
    key = next(key for key in weights if "text_encoder" in key)
    weights[key] += 0.01
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    assert tested(world, *sam3)["told"].startswith("0 of 2")


def test_phrases_of_videos_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable) -> None:
    monkeypatch.chdir(tmp_path)
    write_video_shapes("v", 2, frames=4)

    def run(*more: str) -> tuple[float, str]:
        answer = litetext(
            *("test", "--config", "shapes_video.yaml", "--data.root", "v", "--model.text_encoders", "null"),
            *("--trainer.enable_progress_bar", "false", "--model.min_hits", "2", "--run", "r", *more),
        )
        assert answer.code == 0, answer.err
        results = json.loads(Path("lightning_logs/r/results.json").read_text())
        (told,) = (line for line in answer.out.splitlines() if line.startswith("records "))
        return results["encoders"]["teacher"]["average"]["pHOTA"], told.partition(": ")[2]

    first, told = run()
    assert told == "0 of 2 videos reused"
    path = Path("v/annotation") / NAME
    whole = path.read_text()
    content = json.loads(whole)
    exchange(content)
    names = {category["id"]: category["name"] for category in content["categories"]}
    for entry in content["video_np_pairs"] + content["annotations"]:
        entry["noun_phrase"] = names[entry["category_id"]]
    path.write_text(json.dumps(content))
    renamed, told = run()
    assert told == "0 of 2 videos reused"
    assert renamed < first / 2
    path.write_text(whole)
    assert run() == (first, "2 of 2 videos reused; --fresh computes all anew")
    frame = next(Path("v/media").rglob("00001.jpg"))
    Image.fromarray(255 - np.asarray(Image.open(frame))).save(frame)
    assert run()[1] == "1 of 2 videos reused; --fresh computes all anew"
    assert run("--fresh")[1] == "0 of 2 videos reused"


def test_a_fault_of_the_tracker_is_not_taken_for_a_bad_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_line: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video_shapes("v", 1, frames=4)

    def breaks(self: Linker, frame: int, found: object) -> None:
        raise ValueError("a fault of the tracker")

    monkeypatch.setattr(Linker, "add", breaks)
    line = last_line(
        "test", "--config", "shapes_video.yaml", "--data.root", "v", "--trainer.enable_progress_bar", "false"
    )
    assert "a fault of the tracker" in line
    assert not Path("lightning_logs/shapes_video/results.json").exists()


def test_a_subset_of_one_side_has_no_score(world: Path, tested: Run, last_line: Callable[..., str]) -> None:
    def rings_alone(content: dict[str, Any]) -> None:
        content["annotations"] = [mark for mark in content["annotations"] if mark["image_id"] == 1]
        kept = {mark["category_id"] for mark in content["annotations"]}
        content["categories"] = [category for category in content["categories"] if category["id"] in kept]
        content["images"] = content["images"][:1]

    found = tested(changed(world, rings_alone))
    assert (found["CG_F1"], found["IL_MCC"], found["retention"]) == (None, None, None)
    assert found["pmF1"] > 30
    assert "not scored  coco: all " in found["out"]
    assert "are positives: the correlation of presence and CG_F1 are not defined" in found["out"]
    # Nothing but negatives: there is nothing to print.
    Path("w/images/0.png").write_bytes(b"no image")
    before = Path("lightning_logs/r/results.json").read_bytes()

    def one_side(content: dict[str, Any]) -> None:
        content["annotations"] = [mark for mark in content["annotations"] if mark["image_id"] == 1]

    data = ("--data.root", "null", "--data.coco.annotations", str(changed(world, one_side)))
    line = last_line(
        *("test", "--config", "shapes.yaml", "--model.text_encoders", "null", *NO_PICTURES, "--run", "r"),
        *(*data, "--data.coco.images", "w/images"),
    )
    assert "nothing was scored: no pair that could be used has its phrase in the image" in line, line
    assert "does not decode" in line
    assert Path("lightning_logs/r/results.json").read_bytes() == before


@pytest.mark.parametrize("key", ["detr_decoder.query_embed.weight", "text_projection.weight"])
def test_weights_that_are_not_finite_are_named(key: str, world: Path, last_line: Callable[..., str]) -> None:
    model = Path(shutil.copytree(shipped("checkpoints/sam3-tiny"), "broken"))
    weights = load_file(model / "model.safetensors")
    weights[next(name for name in weights if name.endswith(key))].view(-1)[3] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    data = ("--data.root", "null", "--data.coco.annotations", str(world), "--data.coco.images", "w/images")
    line = last_line("test", "--config", "shapes.yaml", "--model.sam3", "broken", *NO_PICTURES, *data)
    assert "broken" in line
    assert "hold NaN or infinite values, such as" in line
    if "text" in key:
        asked = ("--data.sources", '{"mine": "p.txt"}', "--model.output", "b.safetensors")
        Path("p.txt").write_text("red circle\n")
        assert "broken: " in last_line(
            "predict", "--config", "prompt_bank.yaml", "--model.text_encoder", "broken", *asked
        )
        assert not Path("b.safetensors").exists()


def test_scores_that_are_no_numbers_are_not_taken_for_nothing_found(unchecked: None) -> None:
    sam3 = Sam3Image.from_pretrained("checkpoints/sam3-tiny")
    vision = sam3.encode_images(torch.zeros(1, 3, sam3.size, sam3.size))
    features = torch.full((1, 3, sam3.width), float("inf"))
    with pytest.raises(ValueError, match="gives scores that are not numbers, which would read as nothing found"):
        list(sam3.segment(vision, features, torch.tensor([3]), (10, 10)))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--data.coco.name", "../../x"], "data.coco.name is '../../x'"),
        (["--model.text_encoders", '{"../x": "checkpoints/sam3-tiny"}'], "a name in model.text_encoders is '../x'"),
        (["--trainer.accelerator", "gpu"], "No supported gpu"),
    ],
)
def test_odd_names_and_devices_end_in_one_line(
    options: list[str], told: str, world: Path, litetext: Callable[..., Answer]
) -> None:
    if "gpu" in options and torch.cuda.is_available():
        pytest.skip("there is one")
    data = ("--data.root", "null", "--data.coco.annotations", str(world), "--data.coco.images", "w/images")
    answer = litetext("test", "--config", "shapes.yaml", *NO_PICTURES, *data, *options)
    assert answer.code == 2
    assert told in answer.err.strip().splitlines()[-1]
    assert "Traceback" not in answer.err
    assert not list(Path().glob("**/results.json"))


def test_names_of_models_stay_in_the_folder() -> None:
    for options in ({"text_encoders": {"../x": "x"}}, {"detectors": {"a/b": "x"}}):
        with pytest.raises(ValueError, match=rf"a name in model\.{next(iter(options))} is "):
            SegEvalModule(**options)
    with pytest.raises(ValueError, match=r"a name in model\.text_encoders is "):
        VideoEvalModule(text_encoders={"..": "x"})
