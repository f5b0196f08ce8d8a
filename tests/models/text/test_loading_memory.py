"""Every layout is read once, and never lies in memory twice."""

import json
import os
import subprocess
import sys
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


GROWTH = """
import json, re, sys
from pathlib import Path
from litetext.checkpoints import reading
from litetext.models.text.loading import load_text_encoder
reading._AT_ONCE = 2**22  # what is copied from one mapping counts as well: 5% of SAM3's text encoder, here too
def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
told = {}
for layout, (small, large) in json.loads(sys.argv[1]).items():
    load_text_encoder(small)  # what imports take is not counted
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    encoder = load_text_encoder(large)
    size = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    told[layout] = (memory("VmHWM") - before) / size, size
    del encoder
print(json.dumps(told))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_weights_lie_in_memory_once(tmp_path: Path) -> None:
    pairs = {
        layout: [str(written(layout, tmp_path / f"{layout}{width}", width)) for width in (64, 512)]
        for layout in LAYOUTS
    }
    # Freed memory goes back at once, so that what one layout took does not hide what the next one takes.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", GROWTH, json.dumps(pairs)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    for layout, (ratio, size) in json.loads(ran.stdout).items():
        assert size > 60e6
        assert 0.9 < ratio < 1.15, (layout, ratio)
