"""Every layout of checkpoints to every other: whether the weights stay what they are, bit for bit, and in what memory.

python -m litetext.bench.layouts
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from litetext.bench.memory import MB, forget_peak, resident_mb
from litetext.bench.rehearsal import layouts as sam3_layouts
from litetext.checkpoints.reading import open_state
from litetext.checkpoints.sam3 import DETECTOR, TEXT, is_meta, read_without_text, to_meta
from litetext.checkpoints.text import from_native, read_text_state
from litetext.checkpoints.text_names import LAYOUTS
from litetext.checkpoints.writing import MODEL_PREFIX, to_layout, write_state

Size = Literal["full", "small"]
Sums = dict[str, str]
"""By a tensor's name a hash of its type, shape and bytes."""

_ANYBODY, _TRANSFORMERS = ("efficientsam3", "litetext", "apple", "native"), ("meta", "sam3", "open_clip")
_ENCODERS: dict[str, tuple[str, ...]] = {
    "SAM3's own": ("meta", "sam3", "native"),
    "S0": _ANYBODY,
    "S1": (*_ANYBODY, *_TRANSFORMERS),
    "MobileCLIP2-L": (*_ANYBODY, *_TRANSFORMERS),
}
"""Text encoders, and the layouts that have a place for their weights."""
_WHOLE: tuple[sam3_layouts.Layout, ...] = ("meta", "transformers", "sam31")
_NAMES = {"meta": "`sam3.pt`", "transformers": "transformers' folder", "sam31": "`sam3.1_multiplex.pt`"}


class Conversion(NamedTuple):
    """What became of a checkpoint in another layout.

    Attributes:
        same: All that both layouts hold is what it was, bit for bit.
        peak_mb: The most memory that the process held meanwhile, in MiB; None where the system does not tell.
    """

    same: bool
    peak_mb: float | None

    def __str__(self) -> str:
        held = "" if self.peak_mb is None else f", {self.peak_mb * MB / 1e9:.1f} GB"
        return f"{'the same' if self.same else '**differs**'}{held}"


def layouts_table(size: Size = "full") -> str:
    """Converts random weights from every layout to every other, by file.

    Args:
        size: full is that of SAM3, its text encoder and the published students, small of a few million parameters.

    Returns:
        A Markdown table for text encoders and one for whole models: rows are read, columns written and read again.

    Raises:
        OSError: If the disk is full; full size takes 11 GB of it at once.
    """
    columns = [name for name in LAYOUTS if any(name in some for some in _ENCODERS.values())]
    rows = [["text encoder", "parameters", "from", *(f"to {name}" for name in columns)]]
    for name, fitting in _ENCODERS.items():
        with TemporaryDirectory() as folder:
            files, count = _write_encoder(name, size, fitting, Path(folder))
            for source in fitting:
                found = {to: _convert_text(files[source], to, Path(folder)) for to in fitting}
                cells = [str(found[to]) if to in found else "" for to in columns]
                rows.append([name, f"{count:,}", source, *cells])
    whole = [["whole SAM3", *(f"to {_NAMES[layout]}" for layout in _WHOLE)]]
    with TemporaryDirectory() as folder:
        for layout in _WHOLE:
            sam3_layouts.write(layout, size, Path(folder) / layout)
        places: dict[sam3_layouts.Layout, Path] = {
            layout: sam3_layouts.place(layout, Path(folder) / layout) for layout in _WHOLE
        }
        for layout in _WHOLE:
            found = [_convert_whole(places[layout], to, places, Path(folder) / "out") for to in _WHOLE]
            whole.append([f"from {_NAMES[layout]}", *map(str, found)])
    return f"{_table(rows, 3)}\n\n{_table(whole, 1)}"


def _write_encoder(name: str, size: Size, fitting: Sequence[str], folder: Path) -> tuple[dict[str, Path], int]:
    """A text encoder with random weights in each layout, and its parameters."""
    from litetext.models.text.mobileclip import MobileClipText  # slow to import
    from litetext.models.text.teacher import Sam3TextEncoder

    torch.manual_seed(0)
    small: dict[str, Any] = {"vocab_size": 99, "embed_width": 32, "heads": 4, "layers": 2, "width": 16}
    encoder: Any
    if name == "SAM3's own":
        more = {**small, "hidden": 64, "eot_width": 32} if size == "small" else {}
        encoder = Sam3TextEncoder.random(0, **more)
    else:
        preset: Any = {"S0": "s0", "S1": "s1", "MobileCLIP2-L": "l"}[name]
        encoder = MobileClipText(preset, padding="reference", **(small if size == "small" else {}))
    with torch.no_grad():
        for value in encoder.state_dict().values():  # none is 0 or 1, as new norms and biases are
            if value.is_floating_point():
                value.add_(torch.rand_like(value), alpha=1e-2)
    files = {layout: folder / f"{layout}{'.pt' if layout == 'meta' else '.safetensors'}" for layout in fitting}
    for layout, file in files.items():
        write_state(to_layout(encoder.state_dict(), layout, _prefix(layout)), file)
    return files, sum(parameter.numel() for parameter in encoder.parameters())


def _prefix(layout: str) -> str:
    return MODEL_PREFIX if layout == "meta" else ""


def _convert_text(source: Path, to: str, folder: Path) -> Conversion:
    """Reads a file, writes another, and reads that."""
    target = folder / f"converted{'.pt' if to == 'meta' else '.safetensors'}"

    def work() -> tuple[Sums, Sums]:
        found = read_text_state(source)
        before = _sums(found.state)
        write_state(to_layout(found.state, to, _prefix(to)), target)
        del found
        again = read_text_state(target)
        if again.layout != to:
            raise ValueError(f"{target} was written as {to} and is taken for {again.layout}")
        return before, _sums(again.state)

    return _measured(work, LAYOUTS[to].fresh)


def _convert_whole(
    source: Path, to: sam3_layouts.Layout, bases: Mapping[sam3_layouts.Layout, Path], folder: Path
) -> Conversion:
    """The same of a whole SAM3; Meta's files take what transformers has no place for from one of the same size."""
    target = folder / "model.safetensors" if to == "transformers" else folder / "model.pt"
    folder.mkdir(exist_ok=True)

    def work() -> tuple[Sums, Sums]:
        rest, text = read_without_text(open_state(source)), read_text_state(source).state
        before = _sums(rest) | _sums(text)
        if to == "transformers":
            save_file({key: t.contiguous() for key, t in (rest | from_native(text, "sam3")).items()}, target)
        else:
            base = open_state(bases[to])
            kept = base.fetch([k for k in base.keys if k.startswith(DETECTOR) and TEXT not in k])
            own = {key.removeprefix(DETECTOR): tensor for key, tensor in kept.items()}
            del kept
            whole = to_meta(rest, own, str(source))
            del own
            named = {DETECTOR + key: tensor for key, tensor in whole.items()}
            write_state(named | {MODEL_PREFIX + key: t for key, t in from_native(text, "meta").items()}, target)
            del whole, named
        del rest, text
        again = open_state(target)
        if is_meta(again.keys) is (to == "transformers"):
            raise ValueError(f"{target} was written as {to} and is taken for another layout")
        return before, _sums(read_without_text(again)) | _sums(read_text_state(target).state)

    # SAM 3.1 has no fourth level of the neck, which transformers computes and drops.
    lacking = ("vision_encoder.neck.fpn_layers.3.",) if "sam31" in (to, _layout_of(source, bases)) else ()
    return _measured(work, lacking)


def _layout_of(file: Path, places: Mapping[sam3_layouts.Layout, Path]) -> sam3_layouts.Layout:
    return next(layout for layout, place in places.items() if place == file)


def _measured(work: Callable[[], tuple[Sums, Sums]], lacking: tuple[str, ...]) -> Conversion:
    """What was before and after, but for what one of the layouts lacks."""
    forget_peak()
    before, after = (
        {key: value for key, value in sums.items() if not key.startswith(lacking or ("\0",))} for sums in work()
    )
    return Conversion(bool(before) and before == after, resident_mb("VmHWM"))


def _sums(state: Mapping[str, Tensor]) -> Sums:
    found = {}
    for key, tensor in state.items():
        content: Any = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        found[key] = (
            hashlib.blake2b(memoryview(content), digest_size=16).hexdigest() + f" {tensor.dtype} {tensor.shape}"
        )
    return found


def _table(rows: Sequence[Sequence[str]], left: int) -> str:
    marks = ["---"] * left + ["---:"] * (len(rows[0]) - left)
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], marks, *rows[1:]))


if __name__ == "__main__":
    from jsonargparse import auto_cli

    print(auto_cli(layouts_table))
