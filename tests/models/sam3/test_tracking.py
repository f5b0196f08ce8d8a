"""One tracker for `litetext test`, `litetext segment` and `Segmenter.track`: SAM3's own where there is one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from litetext import Segmenter
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.linking import Linker
from litetext.models.sam3.tracking import DetectAndLink, choose_tracking
from litetext.models.sam3.video import Sam3Video
from litetext.models.text.encoder import TextBatch
from litetext.models.text.loading import load_text_encoder
from tests.fixtures.runs import Answer
from tests.fixtures.tiny_video import clip

PHRASES = ["white ring", "black circle"]
Entries = list[list[dict[str, Any]]]


@pytest.fixture(scope="module")
def frames() -> list[Tensor]:
    return clip(8)


@pytest.fixture(scope="module")
def features(home: Path) -> TextBatch:
    """Of the checkpoint's own text encoder."""
    return load_text_encoder(str(home)).encode(PHRASES).take(PHRASES)


@pytest.fixture(scope="module")
def wanted(home: Path, frames: list[Tensor], features: TextBatch) -> Entries:
    """What Sam3Video finds."""
    found = Sam3Video.from_pretrained(home).track(frames, {"own": features})["own"]
    assert all(found), "nothing is found of a phrase"
    return found


@pytest.fixture(scope="module")
def own(home: Path) -> Segmenter:
    """With the checkpoint's own tracker, all that it finds."""
    return Segmenter(home, threshold=0.0)


def test_the_segmenter_tracks_as_sam3_does(own: Segmenter, frames: list[Tensor], wanted: Entries) -> None:
    assert own.tracking == "sam3"
    assert own.track(frames, PHRASES) == wanted
    pictures = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]
    assert own.track(pictures, PHRASES) == wanted
    assert own.track([], PHRASES) == [[], []]


def test_its_detector_is_held_once(home: Path, own: Segmenter, frames: list[Tensor]) -> None:
    own.track(frames[:1], PHRASES)
    video: Any = own._video
    mine = {name: part.data_ptr() for name, part in own.sam3.model.named_parameters()}
    assert {name: part.data_ptr() for name, part in video.model.detector_model.named_parameters()} == mine
    # Images afterwards are not touched by it.
    image, fresh = frames[0], Segmenter(home, threshold=0.0)
    for found, expected in zip(own(image, PHRASES), fresh(image, PHRASES), strict=True):
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.masks, expected.masks)


def test_frames_that_come_once_are_enough_for_small_chunks(home: Path, frames: list[Tensor], wanted: Entries) -> None:
    one = Segmenter(home, threshold=0.0, chunk=1)
    assert one.track(iter(frames), PHRASES) == wanted


def test_threshold_and_most_leave_out(
    own: Segmenter, frames: list[Tensor], wanted: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = sorted(entry["score"] for part in wanted for entry in part)
    middle = scores[len(scores) // 2]
    assert scores[0] < middle
    monkeypatch.setattr(own, "max_per_phrase", 1)
    best = [[max(part, key=lambda entry: entry["score"])] for part in wanted]
    assert own.track(frames, PHRASES) == best
    monkeypatch.undo()
    monkeypatch.setattr(own, "threshold", middle)
    assert own.track(frames, PHRASES) == [[entry for entry in part if entry["score"] >= middle] for part in wanted]


@pytest.mark.parametrize("tracker", ["auto", "sam3", "links"])
def test_the_command_tracks_with_it(
    tracker: str,
    home: Path,
    frames: list[Tensor],
    features: TextBatch,
    wanted: Entries,
    folder: Path,
    litetext: Callable[..., Answer],
) -> None:
    Path("clip").mkdir()
    for n, frame in enumerate(frames):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(f"clip/{n}.png")
    asked = ("--phrases", *PHRASES, "--model", str(home), "--threshold", "0.2", "--tracker", tracker)
    answer = litetext("segment", "--video", "clip", *asked, "--output", "out")
    assert answer.code == 0, answer.err
    told = json.loads(Path("out/clip.json").read_text())
    if tracker == "links":
        link = DetectAndLink(Sam3Image.from_pretrained(home), 0.6 * 0.2, 16, lambda: Linker(new=0.2))
        wanted = link.track(frames, {"own": features})["own"]  # type: ignore[assignment]
        assert "litetext: tracker: detections are linked from frame to frame (as asked)" in answer.err
    else:
        assert f"litetext: tracker: SAM3's own, of {home}" in answer.err
    assert told["info"]["tracker"] == ("links" if tracker == "links" else "sam3")
    found: Entries = [[], []]
    for entry in told["masklets"]:
        found[entry["category_id"] - 1].append({key: entry[key] for key in wanted[0][0]})
    assert found == [[entry for entry in part if entry["score"] >= 0.2] for part in wanted]
    assert any(found)


def test_the_two_trackers_differ(home: Path, frames: list[Tensor], wanted: Entries) -> None:
    linked = Segmenter(home, threshold=0.2, tracker="links")
    assert linked.tracking == "links"
    assert linked.track(frames, PHRASES) != wanted


def test_the_tiny_sam3_links_and_says_so(folder: Path, refused: Callable[..., str]) -> None:
    assert choose_tracking("checkpoints/sam3-tiny") == "links"
    with pytest.raises(
        ValueError, match="tracker is sam3, and model checkpoints/sam3-tiny has no weights of a tracker"
    ):
        Segmenter("checkpoints/sam3-tiny", tracker="sam3")
    with pytest.raises(ValueError, match="tracker is 'own'; choose auto, sam3 or links"):
        Segmenter("checkpoints/sam3-tiny", tracker="own")  # type: ignore[arg-type]
    Image.fromarray(np.zeros((40, 40, 3), dtype=np.uint8)).save(
        "a.gif", save_all=True, append_images=[Image.new("RGB", (40, 40), "red")]
    )
    line = refused("segment", "a.gif", "--phrases", "ring", "--tracker", "sam3", "--output", "out")
    assert "tracker is sam3, and model checkpoints/sam3-tiny has no weights of a tracker" in line
