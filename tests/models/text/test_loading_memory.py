"""Every layout is read once, and never lies in memory twice."""

import ctypes
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from litetext.checkpoints import reading
from litetext.checkpoints.text import from_native
from litetext.checkpoints.writing import to_layout
from litetext.models.text.folder import write_text_folder
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.teacher import Sam3TextEncoder
from tests.fixtures.copies import begun, finished

LAYOUTS = ("meta", "sam3", "sharded", "published", "efficientsam3", "exported", "text", "ckpt")


@cache
def teacher(width: int) -> Sam3TextEncoder:
    return Sam3TextEncoder.random(
        0,
        vocab_size=16 * width,
        embed_width=width,
        heads=width // 64,
        layers=4,
        hidden=4 * width,
        eot_width=64,
        width=64,
    )


@cache
def student(width: int) -> MobileClipText:
    sizes = {"width": 64, "embed_width": width, "heads": width // 64, "layers": 4, "embedding_rank": 0}
    torch.manual_seed(0)
    return MobileClipText("s0", vocab_size=16 * width, **sizes)


def written(layout: str, folder: Path, width: int) -> Path:
    """A text encoder in a layout, with something else beside it where the layout has that."""
    folder.mkdir()
    other = {"vision.weight": torch.zeros(64, 1024, dtype=torch.float32)}
    if layout in ("meta", "sam3", "sharded"):
        encoder = teacher(width)
        state = from_native(encoder.state_dict(), "meta" if layout == "meta" else "sam3")
        if layout == "meta":
            prefix = "detector.backbone.language_backbone."
            torch.save({"model": other | {prefix + k: v for k, v in state.items()}}, folder / "sam3.pt")
            return folder / "sam3.pt"
        text = {"model_type": "clip_text_model", "num_attention_heads": width // 64, "hidden_act": "gelu"}
        (folder / "config.json").write_text(json.dumps({"model_type": "sam3", "text_config": text}))
        tensors = other | {k: v.contiguous() for k, v in state.items()}
        if layout == "sam3":
            save_file(tensors, folder / "model.safetensors")
            return folder
        homes = {key: f"model-{n % 3}.safetensors" for n, key in enumerate(tensors)}
        for shard in set(homes.values()):
            save_file({k: t for k, t in tensors.items() if homes[k] == shard}, folder / shard)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
        return folder
    made = student(width)
    if layout == "text":
        write_text_folder(made, folder)
    elif layout == "ckpt":
        weights = {f"student.{k}": v for k, v in made.state_dict().items()}
        torch.save({"state_dict": weights, "litetext": {"student": made.config}}, folder / "best.ckpt")
        return folder / "best.ckpt"
    elif layout == "efficientsam3":
        state = to_layout(made.state_dict(), "efficientsam3")
        torch.save({"model": {k: v.clone() for k, v in state.items()}}, folder / "student.pt")
        return folder / "student.pt"
    else:
        state = to_layout(made.state_dict(), "litetext")
        save_file({k: v.clone().contiguous() for k, v in state.items()}, folder / "model.safetensors")
        config = {"model_type": "sam3_lite_text", "text_config": {"num_attention_heads": width // 64}}
        extra = {"litetext": {"student": made.config}} if layout == "exported" else {}
        (folder / "config.json").write_text(json.dumps(config | extra))
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_tensor_is_read_once(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(layout, tmp_path / "weights", 64)
    times: Counter[str] = Counter()
    copy = reading._copy

    def watched(left: list[str], read: Any, into: dict[str, torch.Tensor], done: dict[str, int]) -> None:
        before = list(left)
        copy(left, read, into, done)
        times.update(key for key in before if key not in left)

    monkeypatch.setattr(reading, "_copy", watched)
    encoder = load_text_encoder(path)
    assert set(times.values()) == {1}
    assert not any("vision" in key for key in times)
    expected = teacher(64) if isinstance(encoder, Sam3TextEncoder) else student(64)
    for key, value in expected.state_dict().items():
        assert torch.equal(encoder.state_dict()[key], value), key


def growth(pairs: dict[str, tuple[str, str]], told: str) -> None:
    """Writes, of each layout, how much memory opening takes as a share of the encoder's, and the encoder's bytes."""
    libc = ctypes.CDLL(None)
    for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
        assert libc.mallopt(
            option, 65536
        )  # freed memory goes back at once, and does not hide what the next layout takes
    reading._AT_ONCE = 2**22  # what is copied from one mapping counts as well: 5% of SAM3's text encoder, here too
    shares = {}
    for layout, (small, large) in pairs.items():
        load_text_encoder(small)  # what imports take is not counted
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        encoder = load_text_encoder(large)
        size = sum(tensor.nbytes for tensor in encoder.state_dict().values())
        shares[layout] = (memory("VmHWM") - before) / size, size
        del encoder
    Path(told).write_text(json.dumps(shares))


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h."""


def memory(name: str) -> int:
    """Bytes of this process."""
    found = re.search(name + r":\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.usefixtures("copied")
def test_weights_lie_in_memory_once(tmp_path: Path) -> None:
    pairs = {
        layout: [str(written(layout, tmp_path / f"{layout}{width}", width)) for width in (64, 512)]
        for layout in LAYOUTS
    }
    told, said = tmp_path / "told", tmp_path / "said"
    assert finished(begun(growth, pairs, str(told), said=said)), said.read_text()
    shares = json.loads(told.read_text())
    assert shares.keys() == set(LAYOUTS)
    for layout, (ratio, size) in shares.items():
        assert size > 60e6
        assert 0.9 < ratio < 1.15, (layout, ratio)
