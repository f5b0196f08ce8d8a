"""Writes small data sets in the layout in which SA-Co Gold and Silver are released."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask

H, W = 12, 16


def rle(pixels: np.ndarray) -> dict[str, Any]:
    """A compressed mask as the files have it."""
    coder: Any = mask
    code = coder.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {"counts": code["counts"].decode(), "size": list(code["size"])}


def entry(number: int, file_name: str, text: str, exhaustive: int = 1) -> dict[str, Any]:
    """One pair in `images`."""
    return {
        "id": number,
        "file_name": file_name,
        "text_input": text,
        "width": W,
        "height": H,
        "queried_category": "0",
        "is_instance_exhaustive": exhaustive,
        "is_pixel_exhaustive": exhaustive,
    }


def mark(number: int, pair: int, top: int = 2, height: int = H, width: int = W) -> dict[str, Any]:
    """One annotation: a box of 3 x 4 pixels."""
    pixels = np.zeros((height, width), bool)
    pixels[top : top + 3, 1:5] = True
    return {
        "id": number,
        "image_id": pair,
        "source": "manual",
        "area": 12 / (H * W),
        "bbox": [1 / W, top / H, 4 / W, 3 / H],
        "segmentation": rle(pixels),
        "category_id": 1,
        "iscrowd": 0,
    }


def content(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def paint(path: Path, shade: int = 100, size: tuple[int, int] = (W, H)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(path)


def write_gold(root: Path, name: str, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> list[Path]:
    """The three files of one subset, equal but for where the mark lies."""
    root.mkdir(parents=True, exist_ok=True)
    paths = []
    for shift, annotator in enumerate("abc"):
        moved = [mark(a["id"], a["image_id"], 2 + shift) for a in annotations]
        path = root / f"gold_{name}_merged_{annotator}_release_test.json"
        path.write_text(json.dumps(content(images, moved)))
        paths.append(path)
    return paths


def small_gold(root: Path, name: str = "crowded", count: int = 5) -> list[Path]:
    """`count` images in two folders, three pairs each, every third one negative; pairs of an image lie apart."""
    files = [f"1/{i % 2}/img{i}.png" for i in range(count)]
    images = [entry(10_000_000 + k, files[k % count], f"thing {k}") for k in range(3 * count)]
    for i, file in enumerate(files):
        paint(root / ("sa1b" if name == "sa1b" else "metaclip") / file, 10 + i)
    return write_gold(root, name, images, [mark(k + 1, images[k]["id"]) for k in range(3 * count) if k % 3])
