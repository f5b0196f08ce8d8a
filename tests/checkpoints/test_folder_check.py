"""Folders of shards as users get them: incomplete, damaged, quantised; each fault is one line that names the file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from litetext.checkpoints.reading import INDEX
from litetext.models.sam3.image import Sam3Image
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.shipped import shipped

SAM3 = Path(shipped("checkpoints/sam3-tiny"))
TEXT, VISION = (
    f"{side}.layers.0.mlp.fc1.weight" for side in ("text_encoder.text_model.encoder", "vision_encoder.backbone")
)
SHARDS = {"text": "model-00001-of-00002.safetensors", "vision": "model-00002-of-00002.safetensors"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped SAM3 in two shards."""
    state = load_file(SAM3 / "model.safetensors")
    homes = {key: SHARDS["text" if key.startswith("text_") else "vision"] for key in state}
    for name in SHARDS.values():
        save_file({k: t for k, t in state.items() if homes[k] == name}, tmp_path / name, metadata={"format": "pt"})
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": homes}))
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(SAM3 / name, tmp_path)
    return tmp_path


def change(folder: Path, side: str, with_what: Callable[[Any], Any]) -> None:
    """Gives a weight of one side what a function makes of it; None leaves it out."""
    key = TEXT if side == "text" else VISION
    state = load_file(folder / SHARDS[side])
    state[key] = with_what(state[key])
    kept = {name: tensor for name, tensor in state.items() if tensor is not None}
    save_file(kept, folder / SHARDS[side], metadata={"format": "pt"})


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no shard": (
        lambda f: (f / SHARDS["vision"]).unlink(),
        r"the shard model-00002-of-00002.safetensors of its index is missing",
    ),
    "cut": (
        lambda f: (f / SHARDS["vision"]).write_bytes(b"\0" * 99),
        r"00002-of-00002.safetensors: cannot be read as a safetensors",
    ),
    "pointer": (
        lambda f: (f / SHARDS["vision"]).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        r"00002-of-00002.safetensors: .*it is a pointer of Git LFS: git lfs pull",
    ),
    "no index": (lambda f: (f / INDEX).write_text("{"), r"index.json: cannot be read as an index of shards"),
    "no such key": (
        lambda f: change(f, "vision", lambda _: None),
        r"1 of its weights are missing, such as vision_encoder.backbone",
    ),
    "shape": (
        lambda f: change(f, "vision", lambda t: t[:3].contiguous()),
        r"1 of its weights have another shape, such as .*fc1.weight, \(3, \d+\) instead of \(\d+, \d+\)",
    ),
    "8 bits": (
        lambda f: change(f, "vision", lambda t: (100 * t).to(torch.int8)),
        r"00002-of-00002.safetensors holds quantised weights \(1, such as .*fc1.weight of type I8\)",
    ),
    "float8": (lambda f: change(f, "vision", lambda t: t.to(torch.float8_e4m3fn)), r"of type F8_E4M3\)"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_sam3_that_is_spoilt_is_one_line(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spoil, told = SPOILT[name]
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=told) as caught:
        Sam3Image.from_pretrained(folder)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "no table of transformers beside it"


def test_other_types_of_floats_are_taken(folder: Path) -> None:
    for side in SHARDS:
        change(folder, side, lambda tensor: tensor.double())
    whole, text = Sam3Image.from_pretrained(folder), Sam3TextEncoder.from_pretrained(folder)
    assert {p.dtype for p in [*whole.parameters(), *text.parameters()]} == {torch.float32}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda _: None, r"00001-of-00002.safetensors: .*does not contain tensor text_encoder"),
        (lambda t: (100 * t).to(torch.int8), r"1 of integers \(blocks.0.mlp.fc1.weight int8\)"),
    ],
)
def test_a_text_encoder_that_is_spoilt_is_one_line(make: Callable[[Any], Any], told: str, folder: Path) -> None:
    change(folder, "text", make)
    with pytest.raises(ValueError, match=told):
        Sam3TextEncoder.from_pretrained(folder)
