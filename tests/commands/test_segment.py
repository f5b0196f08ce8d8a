"""`litetext segment` and `litetext.Segmenter`: own images and clips, for own phrases."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

import litetext.modules.evaluation  # noqa: F401  Lightning writes to the stderr that it first sees
from litetext import Segmenter, segmenter
from litetext.commands.segment_results import fitted
from litetext.data.shapes.world import FIRST_HELD_OUT, draw_scene, render
from litetext.metrics.matching import mask_ious, to_rle
from litetext.models.sam3.image import Sam3Image
from litetext.models.text.bank import make_bank, save_bank
from litetext.models.text.loading import load_text_encoder
from litetext.overlays import COLOURS
from tests.fixtures.runs import Answer

STUDENT = "checkpoints/student-tiny/student.ckpt"
RINGS, CIRCLES, CLIP = FIRST_HELD_OUT + 3, FIRST_HELD_OUT + 2, FIRST_HELD_OUT + 5
ASKED = ("--sam3", "checkpoints/sam3-tiny", "--phrases", "white ring", "black circle")


@pytest.fixture
def images(folder: Path) -> Path:
    """A folder of two images; one holds two white rings, the other two black circles."""
    (folder / "in").mkdir()
    for name, seed in (("rings", RINGS), ("circles", CIRCLES)):
        Image.fromarray(render(draw_scene(seed))).save(folder / "in" / f"{name}.png")
    return folder / "in"


@pytest.fixture(scope="session")
def tiny() -> Segmenter:
    return Segmenter("shapes")


def test_a_folder_of_images(images: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encode = Sam3Image.encode_images

    def counted(self: Sam3Image, pixels: torch.Tensor) -> Any:
        seen.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(Sam3Image, "encode_images", counted)
    answer = litetext("segment", "in", *ASKED, "white ring", "--output", "out")
    assert answer.code == 0, answer.err
    assert seen == [1, 1], "several phrases take one pass of the vision tower an image"
    assert answer.out.splitlines()[-1] == "2 of 2 segmented: out"
    circles, rings = answer.out.splitlines()[:2]
    assert circles.startswith("in/circles.png  white ring: nothing   black circle: ")
    assert rings.startswith("in/rings.png  white ring: 1.00 ")
    coco = COCO("out/predictions.json")
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["white ring", "black circle"]
    for name, seed, category, kind in (("rings", RINGS, 1, "ring"), ("circles", CIRCLES, 2, "circle")):
        (entry,) = [image for image in coco.loadImgs(coco.getImgIds()) if image["file_name"] == f"in/{name}.png"]
        found = coco.loadAnns(coco.getAnnIds(imgIds=[entry["id"]]))
        assert {mark["category_id"] for mark in found} == {category}
        colour = "white" if kind == "ring" else "black"
        truth = [s.mask() for s in draw_scene(seed).shapes if (s.values.colour, s.values.kind) == (colour, kind)]
        ious = mask_ious([mark["segmentation"] for mark in found], to_rle(torch.from_numpy(np.stack(truth))))
        assert len(truth) == 2
        assert (ious.max(0) > 0.7).all(), "every object is found"
        for mark in found:
            rows, columns = np.nonzero(coco.annToMask(mark))
            assert mark["area"] == len(rows)
            assert mark["score"] >= 0.5
            x, y, w, h = mark["bbox"]  # in pixels
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.allclose((x, y, x + w, y + h), box, atol=6)
        with Image.open(f"out/{name}.png") as picture:
            assert picture.size == (560, 560)  # 112 pixels, enlarged until labels are legible
            pixels = np.array(picture)
        assert (pixels == COLOURS[category - 1]).all(-1).sum() > 500, "outline and label, in the phrase's colour"


def test_patterns_names_and_what_cannot_be_read(
    images: Path, folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    (folder / "other").mkdir()
    Image.open(images / "rings.png").convert("RGB").save(folder / "other" / "rings.jpg")
    (images / "bad.jpg").write_bytes(b"nothing")
    whole = (images / "rings.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    answer = litetext("segment", "*/*.png", "other/rings.jpg", "in/bad.jpg", "gone.png", *ASKED, "--output", "out/a")
    assert answer.code == 1, answer.err
    assert answer.out.splitlines()[-1] == "3 of 6 segmented; 3 left out: out/a"
    assert sorted(path.name for path in Path("out/a").iterdir()) == [
        "circles.png",
        "predictions.json",
        "rings-2.png",
        "rings.png",
    ]
    lines = answer.err.splitlines()
    assert [line.split(":")[2].strip() for line in lines] == ["gone.png", "in/cut.png", "in/bad.jpg"]
    assert len(json.loads(Path("out/a/predictions.json").read_text())["images"]) == 3
    nothing = litetext("segment", "in/bad.jpg", "gone.png", *ASKED, "--output", "b")
    assert nothing.code == 2
    assert "none of 2 inputs can be read; the first: gone.png: no such file" in nothing.err.splitlines()[-1]
    assert not Path("b/predictions.json").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["in", "--output", "out"], "phrases"),
        (["--phrases", "cup", "--output", "out"], "there is nothing to segment"),
        (["in", *ASKED, "--output", "in"], "is an input there; name another folder"),
        (["in", *ASKED, "--output", "tiny.yaml"], "is a file; name a folder"),
        (["in", *ASKED, "--output", "out", "--threshold", "2"], "threshold is 2.0; choose a score from 0 to 1"),
        (["in", *ASKED, "--output", "out", "--nms", "-1"], "nms is -1.0; choose an IoU from 0 to 1"),
        (["in", *ASKED, "--output", "out", "--across_phrases"], "give nms, such as 0.7"),
        (["in", *ASKED, "--output", "out", "--max_per_phrase", "0"], "max_per_phrase is 0"),
        (["in", *ASKED, "--output", "out", "--tiles", "0"], "tiles is 0; a tile has 32 pixels or more"),
        (["in", *ASKED, "--output", "out", "--tiles", "64", "--overlap", "1"], "overlap is 1.0; choose a part"),
        (
            ["in", *ASKED, "--output", "out", "--device", "tpu9"],
            "device tpu9 is none that PyTorch knows; choose such as ",
        ),
        (["in", *ASKED, "--output", "out", "--device", "cuda:99"], "device cuda:99 is not there ("),
        (["in", *ASKED, "--output", "out", "--device", "meta"], "device meta computes nothing"),
        (["in", *ASKED, "--output", "out", "--fps", "0"], "--fps is 0.0"),
        (["in", "--phrases", " ", "--output", "out"], "one of the phrases is empty"),
        (["in", *ASKED, "--output", "out", "--model", "nowhere"], "SAM3 'nowhere'"),
        (["in", *ASKED, "--output", "out", "--text_encoder", "no.ckpt"], "'no.ckpt': no such file"),
        (["in", *ASKED, "--output", "out", "--bank", "no.safetensors"], "no.safetensors: no such file"),
    ],
)
def test_bad_options_end_in_one_line(images: Path, refused: Callable[..., str], options: list[str], told: str) -> None:
    if "nowhere" in options:
        told = "'nowhere': no such file or folder"
    before = {path: path.read_bytes() for path in images.iterdir()}
    assert told in refused("segment", *options)
    assert not Path("out/predictions.json").exists()
    assert {path: path.read_bytes() for path in images.iterdir()} == before


def test_a_used_folder_keeps_what_is_in_it(
    images: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    assert litetext("segment", "in", *ASKED, "--output", "out").code == 0
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    line = refused("segment", "in/rings.png", "--phrases", "cup", "--output", "out")
    assert (
        "--output out holds rings.png and 1 more of before; name another folder, or replace them: --overwrite" in line
    )
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    answer = litetext("segment", "in/rings.png", "--phrases", "cup", "--output", "out", "--overwrite")
    assert answer.code == 0
    told = "litetext: out holds 1 other file, such as circles.png, which this run leaves as they are"
    assert told in answer.err.splitlines()
    assert Path("out/circles.png").read_bytes() == before[Path("out/circles.png")]
    assert [c["name"] for c in json.loads(Path("out/predictions.json").read_text())["categories"]] == ["cup"]
    Path("out/notes").mkdir()
    refused("segment", "in", *ASKED, "--output", "in", "--overwrite")


def test_a_folder_of_all_that_can_be_read(images: Path, litetext: Callable[..., Answer]) -> None:
    whole = Image.open(images / "rings.png").convert("RGB")
    for suffix, kind in (("jfif", "JPEG"), ("avif", "AVIF"), ("jp2", "JPEG2000"), ("TIF", "TIFF")):
        whole.save(images / f"{suffix}.{suffix}", kind)
    (images / "._rings.png").write_bytes(b"\0\5\x16\7")
    (images / "broken.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (images / "notes.txt").write_text("none")
    (images / "more").mkdir()
    answer = litetext("segment", "in", *ASKED, "--output", "out")
    assert answer.code == 1
    assert answer.out.splitlines()[-1] == "6 of 7 segmented; 1 left out: out"
    told = "litetext: in: 3 not taken, their name says no image or video: ._rings.png, more/, notes.txt"
    assert answer.err.splitlines()[0] == told
    assert answer.err.splitlines()[1].startswith("litetext: left out: in/broken.heic: ")
    for line in answer.out.splitlines()[:6]:
        assert ("white ring: 1.00" in line) == ("circles" not in line), line


def test_polygons_and_yolo_beside_run_lengths(images: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext("segment", "in", *ASKED, "--output", "out", "--polygons", "--yolo").code == 0
    exact, drawn = COCO("out/predictions.json"), COCO("out/predictions_polygons.json")
    assert exact.getAnnIds() == drawn.getAnnIds() != []
    for one, other in zip(*(file.loadAnns(file.getAnnIds()) for file in (exact, drawn)), strict=True):
        a, b = exact.annToMask(one).astype(bool), drawn.annToMask(other).astype(bool)
        assert (a & b).sum() / (a | b).sum() > 0.9
        assert other["segmentation"][0][:2] == [int(v) for v in other["segmentation"][0][:2]]
    assert Path("out/data.yaml").read_text() == "names:\n  0: white ring\n  1: black circle\n"
    for name, number in (("rings", "0"), ("circles", "1")):
        lines = Path(f"out/labels/{name}.txt").read_text().splitlines()
        (image,) = [e for e in exact.loadImgs(exact.getImgIds()) if e["overlay"] == f"{name}.png"]
        assert len(lines) == len(exact.getAnnIds(imgIds=[image["id"]]))
        for line in lines:
            category, *corners = line.split()
            assert category == number
            assert len(corners) >= 6
            assert all(0 <= float(value) <= 1 for value in corners)


def test_duplicates_and_the_surest(images: Path, litetext: Callable[..., Answer], tiny: Segmenter) -> None:
    phrases = ["white ring", "ring", "white ring"]
    plain = [len(part.scores) for part in tiny("in/rings.png", phrases)]
    assert [len(part.scores) for part in tiny("in/rings.png", iter(phrases))] == plain, "an iterator is read once"
    assert plain[0] >= 2
    assert plain[1] >= 2
    across = Segmenter("shapes", nms=0.5, across_phrases=True)("in/rings.png", phrases[:2])
    masks = [mask for part in across for mask in to_rle(part.masks)]
    ious = mask_ious(masks, masks)
    assert (ious[~np.eye(len(masks), dtype=bool)] <= 0.5).all()
    twice = Segmenter("shapes", nms=0.5, across_phrases=True)("in/rings.png", [phrases[1], *phrases[:2]])
    assert torch.equal(twice[0].scores, twice[2].scores), "a phrase does not take its own objects away"
    assert sorted(len(part.scores) for part in twice[1:]) == sorted(len(part.scores) for part in across)
    within = Segmenter("shapes", nms=0.5)("in/rings.png", phrases)
    assert len(within[0].scores) >= 2
    assert sum(len(part.scores) for part in across) < sum(len(part.scores) for part in within[:2])
    assert torch.equal(within[0].masks, within[2].masks)
    one = Segmenter("shapes", max_per_phrase=1)("in/rings.png", phrases)
    assert [len(part.scores) for part in one] == [1, 1, 1]
    assert one[0].scores[0] == within[0].scores[0]
    answer = litetext("segment", "in/rings.png", "--phrases", "ring", "--max_per_phrase", "1", "--output", "out")
    assert answer.out.startswith("in/rings.png  ring: ")
    assert len(json.loads(Path("out/predictions.json").read_text())["annotations"]) == 1


def test_a_tiny_sam3_says_once_that_it_has_seen_no_photos(folder: Path, litetext: Callable[..., Answer]) -> None:
    noise = np.random.default_rng(0)
    for name, side in (("drawn", 112), ("photo", 300), ("second", 400)):
        Image.fromarray(noise.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    small = litetext("segment", "drawn.png", *ASKED, "--output", "small")
    assert "drawn world" not in small.err + small.out
    large = litetext("segment", "photo.png", "second.png", *ASKED, "--output", "large")
    assert (small.code, large.code) == (0, 0), small.err + large.err
    line = "checkpoints/sam3-tiny knows only its own drawn world (images of 112 pixels); photos need a SAM3"
    assert (large.err + large.out).count(line) == 1
    segmenter = Segmenter("shapes")
    with pytest.warns(UserWarning, match="knows only its own drawn world") as told:
        segmenter(["photo.png", "second.png"], ["white ring"])
    assert len(told) == 1
    with pytest.warns(UserWarning, match="knows only its own drawn world"):
        Segmenter("shapes").track([Image.open("photo.png")] * 2, ["white ring"])


def test_phrases_that_are_cut_are_counted(images: Path, litetext: Callable[..., Answer], tiny: Segmenter) -> None:
    long = "white ring " * 40
    with pytest.warns(UserWarning, match="1 of 2 phrases cut at 32 tokens, what comes after is not read: 'white ring"):
        tiny.encode([long, "cup"])
    answer = litetext("segment", "in/rings.png", "--phrases", long, "cup", "--output", "out")
    assert "litetext: 1 of 2 phrases cut at 32 tokens, what comes after is not read: 'white ring white" in answer.err


def test_lines_fit_the_terminal() -> None:
    parts = [f"phrase {n}: 0.99 0.98" for n in range(6)]
    assert fitted("a.png  ", parts, None).count("\n") == 0
    lines = fitted("a.png  ", parts, 60).splitlines()
    assert lines[0] == "a.png"
    assert all(len(line) <= 60 and line.startswith("    phrase") for line in lines[1:])
    assert "".join(lines).count("phrase") == 6


def test_a_student_its_bank_and_a_bank_made_by_another(
    images: Path, litetext: Callable[..., Answer], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    student = load_text_encoder(STUDENT)
    save_bank(make_bank(student, STUDENT, ["white ring", "black circle"]), "bank.safetensors")
    run = ("segment", "in", *ASKED, "--output")
    assert litetext(*run, "a", "--text_encoder", STUDENT).code == 0
    assert litetext(*run, "c", "--bank", "bank.safetensors", "--text_encoder", STUDENT).code == 0
    line = refused(*run, "d", "--bank", "bank.safetensors", "--text_encoder", "checkpoints/sam3-tiny")
    assert "bank.safetensors was made by another text encoder than checkpoints/sam3-tiny" in line

    def none(path: str) -> None:
        raise AssertionError(f"{path} was loaded")

    monkeypatch.setattr(segmenter, "load_text_encoder", none)
    assert litetext(*run, "b", "--bank", "bank.safetensors").code == 0
    found = [json.loads(Path(name, "predictions.json").read_text())["annotations"] for name in "abc"]
    assert found[0] == found[1] == found[2]
    assert found[0]
    line = refused("segment", "in", *ASKED, "cup", "saucer", "--output", "e", "--bank", "bank.safetensors")
    assert "bank.safetensors has no features of the phrase 'cup' and of 1 more (2 of 4 asked are missing)" in line


def test_python_in_three_lines(tiny: Segmenter, images: Path) -> None:
    found = tiny("in/rings.png", ["white ring", "black circle", "White Ring"])
    assert [part.phrase for part in found] == ["white ring", "black circle", "White Ring"]
    rings, circles, again = found
    assert len(rings.scores) >= 2
    assert len(circles.scores) == 0
    assert torch.equal(rings.masks, again.masks)
    assert rings.masks.shape[1:] == (112, 112)
    assert rings.masks.dtype == torch.bool
    assert (rings.scores.diff() <= 0).all()
    pixels = np.array(Image.open("in/rings.png"))
    for image in (pixels, Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1)):
        (other,) = tiny(image, ["white ring"])
        torch.testing.assert_close(other.scores, rings.scores, rtol=0, atol=1e-4)  # alone in its batch
        torch.testing.assert_close(other.boxes, rings.boxes, rtol=0, atol=1e-2)
    sure = Segmenter("shapes", threshold=0.95)
    (few,) = sure("in/rings.png", ["white ring"])
    assert len(few.scores) == int((rings.scores >= 0.95).sum())
    # A phrase that comes later has its own features.
    assert [len(part.scores) >= 2 for part in sure("in/circles.png", ["black circle", "white ring"])] == [True, False]


def test_python_says_what_is_wrong(tiny: Segmenter, images: Path) -> None:
    with pytest.raises(ValueError, match="give a list of phrases"):
        tiny("in/rings.png", "white ring")
    with pytest.raises(ValueError, match="phrases is empty"):
        tiny("in/rings.png", [])
    with pytest.raises(ValueError, match="phrases holds None, which is no text"):
        tiny("in/rings.png", ["cup", None])  # type: ignore[list-item]
    assert [len(found) for found in tiny(("in/rings.png", "in/circles.png"), ["cup"])] == [1, 1]
    with pytest.raises(ValueError, match=r"float32 \(8, 8, 5\); give a path"):
        tiny(np.zeros((8, 8, 5), dtype=np.float32), ["cup"])
    with pytest.raises(ValueError, match=r"nowhere\.png: no such file"):
        tiny("nowhere.png", ["cup"])


def test_help_and_the_package_import_nothing_heavy() -> None:
    script = (
        "import sys, litetext; from litetext.cli import main; code = main(['segment', '--help']);"
        "print('heavy:', *({'torch', 'lightning', 'numpy', 'PIL', 'transformers'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for option in ("IMAGE", "--phrases", "--bank", "--video"):
        assert option in done.stdout
    assert done.stdout.splitlines()[-1].strip() == "heavy:"


def test_by_default_the_shipped_sam3_that_reads_the_text_encoder(images: Path, litetext: Callable[..., Answer]) -> None:
    answer = litetext("segment", "in/rings.png", "--phrases", "cup", "--text_encoder", STUDENT, "--output", "out")
    assert answer.code == 0
    assert "SAM3: checkpoints/sam3-tiny, which ships with litetext" in answer.err


@pytest.mark.parametrize(
    ("phrases", "model"), [(["white ring", "Squares"], "sam3-tiny"), (["ring", "dog"], "sam3-nouns")]
)
def test_by_default_the_shipped_sam3_that_knows_what_is_asked_for(
    phrases: list[str], model: str, images: Path, litetext: Callable[..., Answer]
) -> None:
    answer = litetext("segment", "in/rings.png", "--phrases", *phrases, "--output", "out")
    assert answer.code == 0
    assert f"SAM3: checkpoints/{model}, which ships with litetext" in answer.err
    assert json.loads(Path("out/predictions.json").read_text())["info"]["model"] == f"checkpoints/{model}"
