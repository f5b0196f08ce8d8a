"""The video benchmark of nouns: the VEval layout, occlusion, entry and exit."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litetext.data.nouns.scenes import FIRST_HELD_OUT, SIZE
from litetext.data.nouns.veval import MEDIA, NAME, PAIRS, draw_clip, write_video_nouns
from litetext.data.videos.datamodule import VideoDataModule
from litetext.saco.videos import read_video_annotations

FEW = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video_nouns(tmp_path_factory.mktemp("clips") / "v", FEW, seed=1, frames=8).folder


def test_it_is_read_as_veval(folder: Path) -> None:
    data = VideoDataModule(root=str(folder), splits="all")
    data.setup("test")
    assert data.names == ["nouns_test"]
    assert [len(video.phrases) for video in data.videos] == [PAIRS] * FEW
    annotations = read_video_annotations(folder / "annotation" / NAME)
    for number, truth in annotations.truth.items():
        asked = [category for video, category in annotations.pairs if video == number]
        assert len(set(truth.categories.tolist())) == PAIRS // 2
        assert set(truth.categories.tolist()) < set(asked)
    for video in annotations.videos.values():
        assert len(video.file_names) == 8
        for file in video.file_names:
            with Image.open(folder / MEDIA / file) as image:
                assert image.size == (SIZE, SIZE)


def test_objects_hide_each_other_and_come_and_go() -> None:
    clips = [clip for n in range(12) if (clip := draw_clip(FIRST_HELD_OUT * 900 + n)) is not None]
    areas = [clip.seen.sum(axis=(2, 3)) for clip in clips]
    assert any((area[0] < 12).any() for area in areas)  # entry
    assert any((area[-1] < 12).any() for area in areas)  # exit
    hidden = [(area[1:-1] < 0.7 * np.minimum(area[:-2], area[2:])).any() for area in areas]
    assert any(hidden) or any(((area > 12) & (area < 0.5 * area.max(0))).any() for area in areas)
    for clip in clips:
        assert clip.seen.sum(axis=1).max() <= 1
        assert len(clip.phrases) == PAIRS
        assert all(k < clip.seen.shape[1] for phrase in clip.phrases for k in phrase.targets)


def test_the_same_seed_draws_the_same(folder: Path, tmp_path: Path) -> None:
    again = write_video_nouns(tmp_path / "v", FEW, seed=1, frames=8).folder
    one, two = (path / "annotation" / NAME for path in (folder, again))
    assert one.read_bytes() == two.read_bytes()
    assert not write_video_nouns(folder, FEW, seed=1, frames=8).written
    with pytest.raises(ValueError, match=r"holds nouns with other options \(videos 2, seed 1\)"):
        write_video_nouns(folder, 3, seed=1, frames=8)
    with pytest.raises(ValueError, match="frames is 3; it must be from 4 to"):
        write_video_nouns(tmp_path / "w", 1, frames=3)
