"""Clips through `litetext segment`: one way in and three ways out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import litetext.modules.evaluation  # noqa: F401  Lightning writes to the stderr that it first sees
from litetext import segmenter
from litetext.data.shapes.veval import draw_clip
from litetext.data.shapes.world import FIRST_HELD_OUT, render
from litetext.data.videos.clips import Clip, is_clip, write_clip
from litetext.metrics.matching import mask_ious, to_rle
from tests.fixtures.runs import Answer

RINGS, CIRCLES, CLIP = FIRST_HELD_OUT + 3, FIRST_HELD_OUT + 2, FIRST_HELD_OUT + 5


def test_one_video_under_any_name(folder: Path, litetext: Callable[..., Answer]) -> None:
    pytest.importorskip("av")
    file = write_clip(Path("clip"), [np.full((32, 32, 3), v, dtype=np.uint8) for v in (9, 90, 200)], 10)
    for name in ("a.m4v", "b.unknown"):
        Path(name).write_bytes(file.read_bytes())
    Path("text.unknown").write_text("no video\n" * 20)
    answer = litetext("segment", "a.m4v", "b.unknown", "text.unknown", "--phrases", "cup", "--output", "out")
    assert answer.code == 1
    assert "left out: text.unknown: it is no image that can be read" in answer.err
    assert [json.loads(Path(f"out/{name}.json").read_text())["frames"] for name in "ab"] == [3, 3]


@pytest.mark.parametrize("kind", ["gif", "folder", "mp4"])
def test_a_clip(folder: Path, litetext: Callable[..., Answer], kind: str) -> None:
    clip = draw_clip(CLIP)
    assert clip is not None
    frames = [Image.fromarray(render(scene)) for scene in clip.frames[:12]]
    if kind == "gif":
        frames[0].save("clip.gif", save_all=True, append_images=frames[1:], duration=100)
        asked = ["clip.gif"]
    elif kind == "mp4":
        pytest.importorskip("av")
        write_clip(Path("clip"), map(np.asarray, frames), 10)
        asked = ["*.mp4"]
    else:
        Path("clip").mkdir()
        for n, frame in enumerate(frames):
            frame.save(f"clip/{n}.png")  # 10 comes after 9
        asked = ["--video", "clip"]
    answer = litetext("segment", *asked, "--phrases", "white ring", "green triangle", "--output", "out")
    assert answer.code == 0, answer.err
    assert " 12 frames  white ring: 1.00   green triangle: nothing" in answer.out
    assert not Path("out/predictions.json").exists()
    told = json.loads(Path("out/clip.json").read_text())
    assert (told["frames"], told["fps"], told["height"], told["width"]) == (12, 10.0, 112, 112)
    (masklet,) = told["masklets"]
    assert masklet["phrase"] == "white ring"
    ring = [s.values.kind for s in clip.frames[0].shapes].index("ring")
    truth = to_rle(torch.from_numpy(clip.seen[:12, ring]))
    ious = mask_ious(masklet["segmentations"], truth).diagonal()
    assert ious.min() > 0.5
    assert ious.mean() > 0.75
    assert all(len(masklet[key]) == 12 for key in ("bboxes", "areas"))
    painted = [frame.numpy() for frame in Clip(Path("out") / told["overlay"])]
    assert len(painted) == 12
    assert all(frame.shape == (3, 560, 560) for frame in painted)
    for t in (0, 11):  # the masklet's colour, the first, where the ring is
        inside = clip.seen[t, ring].repeat(5, 0).repeat(5, 1)
        red, green, blue = (channel[inside].mean() for channel in painted[t].astype(float))
        assert red > green + 30
        assert red > blue + 30


def test_faults_of_a_clip_are_left_out_and_faults_of_a_tracker_end_the_command(
    folder: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("clip").mkdir()
    for n in range(3):
        Image.new("RGB", (40, 40), "gray").save(f"clip/{n}.png")
    argv = ("segment", "--video", "clip", "--phrases", "white ring", "--output", "out", "--overwrite")
    assert litetext(*argv).code == 0

    def fails(self: Any, frames: Any, asked: Any) -> Any:
        assert len(list(frames)) == 3
        raise ValueError("features of the wrong width")

    with monkeypatch.context() as patch:
        patch.setattr(segmenter.DetectAndLink, "track", fails)
        patch.setattr(segmenter.OwnTracker, "track", fails)
        answer = litetext(*argv)
    assert (answer.code, answer.err.splitlines()[-1]) == (2, "litetext: error: clip: features of the wrong width")
    Path("clip/2.png").write_bytes(Path("clip/2.png").read_bytes()[:60])
    assert "none of 1 inputs can be read; the first: clip/2.png: it does not decode" in litetext(*argv).err
    Image.new("RGB", (40, 44), "gray").save("clip/2.png")
    assert "clip: frame 3 has 44 x 40 pixels" in litetext(*argv).err


def test_clips_without_pyav_become_gifs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else find(name))
    frames = [np.full((15, 21, 3), value, dtype=np.uint8) for value in (0, 80, 160, 240)]
    file = write_clip(tmp_path / "a.b", iter(frames), 10.0)
    assert file == tmp_path / "a.b.gif"
    clip = Clip(file)
    assert is_clip(file)
    assert [int(frame.float().mean()) for frame in clip] == [0, 80, 160, 240]
    assert clip.rate == 10
    assert len(clip) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.gif"]


def test_a_clip_keeps_its_frames_whatever_their_size(tmp_path: Path) -> None:
    pytest.importorskip("av")
    frames = [np.full((15, 21, 3), value, dtype=np.uint8) for value in (0, 80, 160, 240)]
    file = write_clip(tmp_path / "odd", iter(frames), 12.5)
    clip = Clip(file)
    means = [float(frame.float().mean()) for frame in clip]
    assert clip.rate == 12.5
    assert np.allclose(means, [0, 80, 160, 240], atol=4)
    assert (clip.height, clip.width) == (16, 22)

    def breaks() -> Any:
        yield frames[0]
        raise ValueError("struck down")

    with pytest.raises(ValueError, match="struck down"):
        write_clip(tmp_path / "half", breaks(), 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd.mp4"]
