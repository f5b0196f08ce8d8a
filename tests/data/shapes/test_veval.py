"""The embedded video benchmark: the VEval layout, occlusion, entry and exit, and nothing of training in it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litetext.data.shapes.veval import MEDIA, NAME, PAIRS, draw_clip, write_video_shapes
from litetext.data.shapes.world import FIRST_HELD_OUT, SIZE
from litetext.metrics.matching import rle
from litetext.saco.videos import VideoAnnotations, read_video_annotations

FEW = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_video_shapes(tmp_path_factory.mktemp("clips") / "v", FEW, seed=1)
    assert made.written
    assert made.pairs == FEW * PAIRS
    return made.folder


@pytest.fixture(scope="module")
def annotations(folder: Path) -> VideoAnnotations:
    return read_video_annotations(folder / "annotation" / NAME)


def test_every_frame_is_there_and_of_the_stated_size(folder: Path, annotations: VideoAnnotations) -> None:
    for video in annotations.videos.values():
        for file in video.file_names:
            with Image.open(folder / MEDIA / file) as image:
                assert image.size == (video.width, video.height) == (SIZE, SIZE)


def test_half_of_the_phrases_are_negatives(annotations: VideoAnnotations) -> None:
    for video, truth in annotations.truth.items():
        asked = [category for v, category in annotations.pairs if v == video]
        marked = set(truth.categories.tolist())
        assert len(asked) == len(set(asked)) == PAIRS
        assert len(marked) == PAIRS // 2
        assert marked < set(asked)


def test_no_two_objects_of_a_video_share_a_pixel(annotations: VideoAnnotations) -> None:
    for truth in annotations.truth.values():
        own = [n for n in range(len(truth)) if truth.categories[n] == truth.categories[0]]
        for t in range(truth.boxed.shape[1]):
            masks = [truth.masks[n][t] for n in own if truth.masks[n][t] is not None]
            if masks:
                assert rle.decode(masks).sum(axis=2).max() <= 1


def test_boxes_and_areas_are_those_of_the_masks(annotations: VideoAnnotations) -> None:
    for truth in annotations.truth.values():
        for n in range(len(truth)):
            for t, mask in enumerate(truth.masks[n]):
                assert (mask is not None) == bool(truth.boxed[n, t])
                if mask is not None:
                    assert int(rle.area(mask)) == truth.areas[n, t]
                    assert np.array_equal(rle.toBbox(mask), truth.boxes[n, t])


def test_objects_hide_each_other_and_come_and_go() -> None:
    clips = [clip for n in range(12) if (clip := draw_clip(FIRST_HELD_OUT * 900 + n)) is not None]
    whole = [[[shape.mask().sum() for shape in scene.shapes] for scene in clip.frames] for clip in clips]
    seen = [clip.seen.sum(axis=(2, 3)) for clip in clips]
    assert any((np.asarray(w) > s + 12).any() for w, s in zip(whole, seen, strict=True))  # occlusion
    assert any((s[0] < 12).any() for s in seen)  # entry
    assert any((s[-1] < 12).any() for s in seen)  # exit


def test_the_same_seed_draws_the_same(folder: Path, tmp_path: Path) -> None:
    again = write_video_shapes(tmp_path / "v", FEW, seed=1).folder
    one, two = (path / "annotation" / NAME for path in (folder, again))
    assert one.read_bytes() == two.read_bytes()
    other = write_video_shapes(tmp_path / "w", FEW, seed=2).folder / "annotation" / NAME
    assert other.read_bytes() != one.read_bytes()


def test_it_is_written_once_and_over_nothing_else(folder: Path) -> None:
    assert not write_video_shapes(folder, FEW, seed=1).written
    with pytest.raises(ValueError, match=r"videos 3, seed 1.*asked for are videos 4, seed 1"):
        write_video_shapes(folder, 4, seed=1)
    with pytest.raises(ValueError, match="videos is 0"):
        write_video_shapes(folder, 0)


def test_the_command_writes_it(litetext, tmp_path: Path, refused) -> None:
    answer = litetext("shapes", "--video", str(tmp_path / "v"), "--videos", "1")
    assert answer.code == 0
    assert "1 videos, 6 pairs" in answer.out
    content = json.loads((tmp_path / "v" / "annotation" / NAME).read_text())
    assert content.keys() == {"info", "videos", "annotations", "categories", "video_np_pairs"}
    assert "--images 3 does not go with --video" in refused("shapes", "--video", str(tmp_path / "x"), "--images", "3")
    assert "--videos 3 needs --video" in refused("shapes", str(tmp_path / "x"), "--videos", "3")
