"""From files, PIL images and arrays of every kind to the same RGB pixels."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps

from litetext.data.pixels import IMAGE_FILES, to_rgb
from litetext.data.shapes import FIRST_HELD_OUT, draw_scene, render

GREY = np.arange(256, dtype=np.uint8).reshape(8, 32)
RGB = render(draw_scene(FIRST_HELD_OUT))
SMOOTH = np.stack(np.broadcast_arrays(np.arange(64)[:, None], np.arange(96) * 2, 80), -1).astype(np.uint8)


def shown(image: Any, **options: Any) -> np.ndarray:
    pixels = to_rgb(image, **options)
    assert pixels.dtype == torch.uint8
    return pixels.permute(1, 2, 0).numpy()


def grey(image: Any) -> np.ndarray:
    found = shown(image)
    assert (found == found[..., :1]).all()
    return found[..., 0]


SAME = {
    "uint8": GREY,
    "16 bits": GREY.astype(np.uint16) * 257,
    "16 bits, big end first": (GREY.astype(np.uint16) * 257).astype(">u2"),
    "16 bits with a sign": GREY.astype(np.int16) * 128,
    "8 bits in 64": GREY.astype(np.int64),
    "16 bits in 32": GREY.astype(np.int32) * 257,
    "32 bits": GREY.astype(np.uint32) << 24,
    "32 bits with a sign": GREY.astype(np.int32) << 23,
    "float16": (GREY / np.float32(255)).astype(np.float16),
    "float32": GREY.astype(np.float32) / 255,
    "float64": GREY / 255,
    "column of values": GREY[..., None],
}


@pytest.mark.parametrize("kind", SAME)
def test_grey_of_any_depth(kind: str) -> None:
    values = SAME[kind]
    assert np.array_equal(grey(values), GREY)
    plain = torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))
    assert np.array_equal(grey(plain if values.ndim == 2 else plain.permute(2, 0, 1)), GREY)


DEEP = ("16 bits", "16 bits, big end first", "16 bits in 32", "32 bits with a sign", "float32")


@pytest.mark.parametrize(
    ("suffix", "kind"), [("png", "16 bits"), ("pgm", "16 bits"), *(("tif", kind) for kind in DEEP)]
)
def test_grey_files_of_any_depth(tmp_path: Path, suffix: str, kind: str) -> None:
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(SAME[kind]).save(file)
    assert np.array_equal(grey(file), GREY)
    with Image.open(file) as image:
        assert np.array_equal(grey(image), GREY)


def tiff(values: np.ndarray, **tags: int) -> io.BytesIO:
    """A TIFF with tags that Pillow itself would not write."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    about, file = ImageFileDirectory_v2(), io.BytesIO()
    for tag, value in tags.items():
        about[int(tag[1:])] = value
    Image.fromarray(values).save(file, "TIFF", tiffinfo=about)
    return file


def test_tiffs_whose_zero_is_white_and_unsigned_32_bits() -> None:
    white = tiff(65535 - SAME["16 bits"])
    content = bytearray(white.getvalue())
    place = content.find(b"\x06\x01\x03\x00\x01\x00\x00\x00")  # PhotometricInterpretation, short, one
    content[place + 8] = 0
    assert np.array_equal(grey(Image.open(io.BytesIO(content))), GREY)
    signed = bytearray(tiff((GREY.astype(np.uint32) << 24).view(np.int32)).getvalue())
    place = signed.find(b"\x53\x01\x03\x00\x01\x00\x00\x00")  # SampleFormat
    signed[place + 8] = 1
    assert np.array_equal(grey(Image.open(io.BytesIO(signed))), GREY)


def test_modes_of_one_picture(tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    clear = image.copy()
    clear.putalpha(255)
    palette = image.quantize(256)
    for other in (image, clear, RGB, np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])):
        assert np.array_equal(shown(other), RGB)
    assert np.array_equal(shown(torch.from_numpy(RGB).permute(2, 0, 1)), RGB)
    assert np.array_equal(shown(palette), np.array(palette.convert("RGB")))
    assert np.array_equal(grey(image.convert("1")), np.array(image.convert("1")) * np.uint8(255))
    assert np.array_equal(grey(np.array(image.convert("1"))), grey(image.convert("1")))
    for mode, most in (("CMYK", 0), ("YCbCr", 3), ("HSV", 8)):
        assert np.abs(shown(image.convert(mode)).astype(int) - RGB).max() <= most
    from PIL import ImageCms

    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    there = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    assert there is not None
    assert np.abs(shown(there).astype(int) - RGB).mean() < 2
    for suffix in (".jfif", ".avif", ".jp2", ".webp", ".tga", ".JPG"):
        kind = {".jfif": "JPEG", ".JPG": "JPEG", ".webp": "WEBP"}.get(suffix)
        Image.fromarray(SMOOTH).save(tmp_path / f"a{suffix}", kind, quality=95)
        assert suffix.lower() in IMAGE_FILES
        assert np.abs(shown(tmp_path / f"a{suffix}").astype(int) - SMOOTH).mean() < 2


def test_what_is_transparent_lies_on_white() -> None:
    grey_alpha = np.array([[[10, 255], [10, 0]]], dtype=np.uint8)
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    for image in (grey_alpha, Image.fromarray(grey_alpha, "LA")):
        assert shown(image)[0].tolist() == [[10] * 3, [255] * 3]
    for image in (rgba, Image.fromarray(rgba), torch.from_numpy(rgba).permute(2, 0, 1), rgba / 255):
        assert shown(image)[0].tolist() == [[10, 20, 30], [255] * 3, [127] * 3]
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.info["transparency"] = 1
    assert shown(palette)[0].tolist() == [[10, 20, 30], [255] * 3]


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_every_orientation(tmp_path: Path, number: int, deep: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    image = Image.fromarray(stored.astype(np.uint16) * 257 if deep else stored)
    image.save(tmp_path / "a.png", exif=exif)
    wanted = np.array(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    wanted = (wanted >> 8).astype(np.uint8) if deep else wanted
    with Image.open(tmp_path / "a.png") as again:
        for seen in (tmp_path / "a.png", str(tmp_path / "a.png"), again):
            assert np.array_equal(grey(seen), wanted)
            assert np.array_equal(shown(seen, turn=False)[..., 0], stored)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.full((2, 2), np.nan), "floats from nan to nan; scale them to 0..1"),
        (np.full((2, 2, 3), 255.0), "floats from 255 to 255; scale them to 0..1"),
        (np.full((2, 2), -1), "integers from -1 to -1"),
        (np.full((2, 2), 1 << 40), "integers up to 1099511627776; 8, 16 or 32 bits"),
        (np.zeros((0, 2, 3), dtype=np.uint8), r"shape \(0, 2, 3\): it holds no pixels"),
        (np.zeros((3, 2, 7), dtype=np.uint8), r"uint8 \(3, 2, 7\); give a path"),
        (torch.zeros(2, 3, 4, 4), r"torch.float32 \(2, 3, 4, 4\); give a path"),
        (np.full((2, 2), "a"), r"\(2, 2\); give a path"),
        (Image.new("RGB", (0, 5)), "5 x 0 pixels"),
        (7, r"image is int \(\); give a path"),
        ("nowhere.png", "nowhere.png: no such file"),
    ],
)
def test_what_has_no_certain_meaning_is_refused(image: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        to_rgb(image)


def test_damaged_files_name_themselves(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(RGB).save(whole, "JPEG")
    for name, content, told in (
        ("cut.jpg", whole.getvalue()[:-200], r"cut\.jpg: it does not decode \(image file is truncated"),
        ("empty.png", b"", r"empty\.png: it is no image that can be read"),
        ("text.heic", b"\0\0\0\x18ftypheic", r"text\.heic: "),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=told):
            to_rgb(tmp_path / name)
    Image.fromarray(np.full((2, 2), 300, dtype=np.float32)).save(tmp_path / "bright.tif")
    with pytest.raises(ValueError, match=r"bright\.tif: image holds floats from 300 to 300; scale"):
        to_rgb(tmp_path / "bright.tif")
    with pytest.raises(ValueError, match="it is a folder"):
        to_rgb(tmp_path)


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(SMOOTH)).save(tmp_path / "a.heic", quality=95)
    assert np.abs(shown(tmp_path / "a.heic").astype(int) - SMOOTH).mean() < 2


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_array_gives_rgb_or_one_line(data: st.DataObject) -> None:
    kinds = st.sampled_from(["b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]).map(np.dtype)
    values = data.draw(arrays.arrays(data.draw(kinds), data.draw(arrays.array_shapes(max_dims=4, max_side=5))))
    with contextlib.suppress(ValueError):
        pixels = to_rgb(values)
        assert pixels.shape == (3, *values.shape[:2])
        assert pixels.dtype == torch.uint8
