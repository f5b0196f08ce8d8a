"""Clips of a user's own: turned as people see them, with the times of their frames."""

import importlib
import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litetext.data.videos.clips import Clip, is_clip, write_clip
from litetext.data.videos.frames import _turned, find_frames, read_video
from litetext.saco.masklets import Video

TURNED = Path(__file__).parents[2] / "fixtures" / "turned"
"""`phone.mp4` holds on its side, with a turn by 90 degrees, what `upright.mp4` holds upright."""
PICTURE = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def grey(value: int, size: tuple[int, int] = (16, 24)) -> np.ndarray:
    return np.full((*size, 3), value, dtype=np.uint8)


def test_a_phone_video_is_turned() -> None:
    pytest.importorskip("av")
    phone, upright = (np.stack([f.numpy() for f in Clip(TURNED / name)]) for name in ("phone.mp4", "upright.mp4"))
    assert phone.shape == upright.shape == (3, 3, 112, 112)
    assert np.abs(phone.astype(int) - upright).mean() < 2  # encoded twice
    stored = np.stack([frame.pixels.numpy() for frame in read_video(TURNED / "phone.mp4", turn=False)])
    assert np.abs(np.rot90(stored, -1, (2, 3)).astype(int) - upright).mean() < 2


# From places in the stored to places in the shown picture, as MP4 files say it: x' = a x + c y, y' = b x + d y.
@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        ((1, 0, 0, 1), PICTURE),
        ((-1, 0, 0, 1), PICTURE[:, ::-1]),
        ((1, 0, 0, -1), PICTURE[::-1]),
        ((-1, 0, 0, -1), np.rot90(PICTURE, 2)),
        ((0, 1, -1, 0), np.rot90(PICTURE, -1)),
        ((0, -1, 1, 0), np.rot90(PICTURE, 1)),
        ((0, 1, 1, 0), PICTURE.swapaxes(0, 1)),
        ((0, -1, -1, 0), np.rot90(PICTURE, 2).swapaxes(0, 1)),
    ],
)
def test_every_display_matrix(matrix: tuple[int, ...], seen: np.ndarray) -> None:
    a, b, c, d = (65536 * value for value in matrix)

    class Part(bytes):
        type = SimpleNamespace(name="DISPLAYMATRIX")

    packed = Part(struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))
    found = _turned(PICTURE, SimpleNamespace(side_data=[packed]))
    assert np.array_equal(found, seen)
    height, width = PICTURE.shape[:2]
    for y in range(height):
        for x in range(width):
            a, b, c, d = matrix
            to_x, to_y = int((a * (x + 0.5) + c * (y + 0.5)) // 1), int((b * (x + 0.5) + d * (y + 0.5)) // 1)
            assert np.array_equal(found[to_y % found.shape[0], to_x % found.shape[1]], PICTURE[y, x]), "by the formula"
    assert np.array_equal(_turned(PICTURE, SimpleNamespace(side_data=[])), PICTURE)


def write_with_times(path: Path, times: list[float], size: tuple[int, int] = (16, 24)) -> None:
    av: Any = importlib.import_module("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for n, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(grey(40 * n, size), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_frame_times_survive(tmp_path: Path) -> None:
    pytest.importorskip("av")
    times = [0.0, 0.04, 0.5, 0.54, 2.0]
    write_with_times(tmp_path / "phone.mp4", times)
    clip = Clip(tmp_path / "phone.mp4")
    frames = [frame.permute(1, 2, 0).numpy() for frame in clip]
    assert clip.times == pytest.approx(times, abs=2e-3)
    assert clip.rate == pytest.approx(2, abs=0.02)
    again = Clip(write_clip(tmp_path / "out", iter(frames), clip.times))
    assert len(list(again)) == 5
    assert again.times == pytest.approx(times, abs=2e-3)
    fixed = Clip(tmp_path / "phone.mp4", rate=10)
    assert len(list(fixed)) == 5
    assert (fixed.rate, fixed.times) == (10, pytest.approx([0, 0.1, 0.2, 0.3, 0.4]))


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_every_pause_of_a_moving_image_counts(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = [1000, 40, 40, 200]
    first, *others = [Image.fromarray(grey(60 * n)) for n in range(4)]
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=others, duration=pauses)
    clip = Clip(tmp_path / f"a.{kind}")
    assert is_clip(clip.path)
    assert [round(float(frame.float().mean())) // 20 for frame in clip] == [0, 3, 6, 9]
    assert clip.times == pytest.approx([0, 1.0, 1.04, 1.08])
    assert clip.rate == pytest.approx(4 / 1.28, abs=1e-3)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else find(name))
    again = Clip(write_clip(tmp_path / "again", (frame.permute(1, 2, 0).numpy() for frame in clip), clip.times))
    assert again.path.suffix == ".gif"
    assert len(list(again)) == 4
    assert again.times == pytest.approx(clip.times)


def test_hidden_files_do_not_end_a_folder_of_frames(tmp_path: Path) -> None:
    for n in range(3):
        Image.fromarray(grey(50 * n)).save(tmp_path / f"{n}.jpg")
        (tmp_path / f"._{n}.jpg").write_bytes(b"\0\5\x16\7")
    (tmp_path / "notes.txt").write_text("none")
    clip = Clip(tmp_path)
    assert [round(float(frame.float().mean())) for frame in clip] == [0, 50, 100]
    assert clip.passed_over == ["._0.jpg", "._1.jpg", "._2.jpg", "notes.txt"]
    assert (clip.rate, clip.times) == (10, pytest.approx([0, 0.1, 0.2]))


def on_its_side(file: Path) -> None:
    """Makes an MP4 file say that it is to be turned by 90 degrees (in the matrix of its track header)."""
    content = bytearray(file.read_bytes())
    place = content.find(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    file.write_bytes(content)


@pytest.mark.parametrize("turned", [False, True])
def test_annotated_sizes_tell_whether_a_video_is_turned(tmp_path: Path, turned: bool) -> None:
    pytest.importorskip("av")
    write_with_times(tmp_path / "v.mp4", [0, 0.1, 0.2], (16, 48))
    on_its_side(tmp_path / "v.mp4")
    size = (48, 16) if turned else (16, 48)
    names = tuple(f"v/{n:05}.jpg" for n in range(3))
    frames = list(find_frames(Video(1, names, *size), tmp_path))
    assert [tuple(frame.shape[1:]) for frame in frames] == [size] * 3
    assert tuple(next(iter(Clip(tmp_path / "v.mp4"))).shape[1:]) == (48, 16)
    with pytest.raises(ValueError, match="frames have"):
        list(find_frames(Video(1, names, 10, 10), tmp_path))
