"""Every layout of checkpoints to every other: whether the weights stay what they are, bit for bit, and in what memory.

python -m litetext.bench.layouts
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from litetext.bench.memory import MB, forget_peak, resident_mb
from litetext.bench.rehearsal import layouts as sam3_layouts
from litetext.checkpoints.reading import StateFile, open_state
from litetext.checkpoints.sam3 import DETECTOR, TEXT, is_meta, read_without_text, to_meta
from litetext.checkpoints.text import from_native, read_text_state
from litetext.checkpoints.text_names import LAYOUTS
from litetext.checkpoints.writing import MODEL_PREFIX, to_layout, write_state

Size = Literal["full", "small"]
Encoder = Literal["teacher", "s0", "s1", "l"]
Sums = dict[str, str]
"""By a tensor's name a hash of its type, shape and bytes."""

_ANYBODY, _TRANSFORMERS = ("efficientsam3", "litetext", "apple", "native"), ("meta", "sam3", "open_clip")
_ENCODERS: dict[Encoder, tuple[str, ...]] = {
    "teacher": ("meta", "sam3", "native"),
    "s0": _ANYBODY,
    "s1": (*_ANYBODY, *_TRANSFORMERS),
    "l": (*_ANYBODY, *_TRANSFORMERS),
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


def layouts_table(size: Size = "full", encoders: tuple[Encoder, ...] = get_args(Encoder), whole: bool = True) -> str:
    """Converts random weights from every layout to every other, by file.

    Args:
        size: full is that of SAM3, its text encoder and the published students, small of a few million parameters.
        encoders: Text encoders; teacher is SAM3's own.
        whole: Convert whole models too.

    Returns:
        A Markdown table for text encoders and one for whole models: rows are read, columns written and read again.

    Raises:
        OSError: If the disk is full; full size takes 11 GB of it at once.
    """
    columns = [name for name in LAYOUTS if any(name in some for some in _ENCODERS.values())]
    rows = [["text encoder", "parameters", "from", *(f"to {name}" for name in columns)]]
    for name in encoders:
        fitting = _ENCODERS[name]
        with TemporaryDirectory() as folder:
            files, count = _write_encoder(name, size, fitting, Path(folder))
            for source in fitting:
                before = _sums(read_text_state(files[source]).state)
                found = {to: _convert_text(files[source], to, before, Path(folder)) for to in fitting}
                cells = [str(found[to]) if to in found else "" for to in columns]
                rows.append([name, f"{count:,}", source, *cells])
    if not whole:
        return _table(rows, 3)
    models = [["whole SAM3", *(f"to {_NAMES[layout]}" for layout in _WHOLE)]]
    with TemporaryDirectory() as folder:
        for layout in _WHOLE:
            sam3_layouts.write(layout, size, Path(folder) / layout)
        places: dict[sam3_layouts.Layout, Path] = {
            layout: sam3_layouts.place(layout, Path(folder) / layout) for layout in _WHOLE
        }
        for layout in _WHOLE:
            before = _sums_of_whole(open_state(places[layout]))
            found = [_convert_whole(layout, to, places, before, Path(folder) / "out") for to in _WHOLE]
            models.append([f"from {_NAMES[layout]}", *map(str, found)])
    return f"{_table(rows, 3)}\n\n{_table(models, 1)}"


def _write_encoder(name: Encoder, size: Size, fitting: Sequence[str], folder: Path) -> tuple[dict[str, Path], int]:
    """A text encoder with random weights in each layout, and its parameters."""
    from litetext.models.text.mobileclip import MobileClipText  # slow to import
    from litetext.models.text.teacher import Sam3TextEncoder

    torch.manual_seed(0)
    small: dict[str, Any] = {"vocab_size": 99, "embed_width": 32, "heads": 4, "layers": 2, "width": 16}
    encoder: Any
    if name == "teacher":
        more = {**small, "hidden": 64, "eot_width": 32} if size == "small" else {}
        encoder = Sam3TextEncoder.random(0, **more)
    else:
        encoder = MobileClipText(name, padding="reference", **(small if size == "small" else {}))
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


def _convert_text(source: Path, to: str, before: Sums, folder: Path) -> Conversion:
    """Reads a file, writes another, and reads that."""
    target = folder / f"converted{'.pt' if to == 'meta' else '.safetensors'}"

    def work() -> Sums:
        found = read_text_state(source)
        write_state(to_layout(found.state, to, _prefix(to)), target)
        del found
        again = read_text_state(target)
        if again.layout != to:
            raise ValueError(f"{target} was written as {to} and is taken for {again.layout}")
        return _sums(again.state)

    return _measured(work, before, LAYOUTS[to].fresh)


def _convert_whole(
    layout: sam3_layouts.Layout,
    to: sam3_layouts.Layout,
    files: Mapping[sam3_layouts.Layout, Path],
    before: Sums,
    folder: Path,
) -> Conversion:
    """The same of a whole SAM3; Meta's files take what transformers has no place for from one of the same size."""
    target = folder / "model.safetensors" if to == "transformers" else folder / "model.pt"
    folder.mkdir(exist_ok=True)
    source = files[layout]

    def work() -> Sums:
        rest, text = read_without_text(open_state(source)), read_text_state(source).state
        if to == "transformers":
            save_file({key: t.contiguous() for key, t in (rest | from_native(text, "sam3")).items()}, target)
        else:
            base = open_state(files[to])
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
        return _sums_of_whole(again)

    # SAM 3.1 has no fourth level of the neck, which transformers computes and drops.
    lacking = ("vision_encoder.neck.fpn_layers.3.",) if "sam31" in (to, layout) else ()
    return _measured(work, before, lacking)


def _sums_of_whole(file: StateFile) -> Sums:
    return _sums(read_without_text(file)) | _sums(read_text_state(file.path).state)


def _measured(work: Callable[[], Sums], before: Sums, lacking: tuple[str, ...]) -> Conversion:
    """Whether what work gives is what was before, but for what one of the layouts lacks."""
    forget_peak()
    after = work()
    kept, found = (
        {key: value for key, value in sums.items() if not key.startswith(lacking or ("\0",))}
        for sums in (before, after)
    )
    return Conversion(bool(kept) and kept == found, resident_mb("VmHWM"))


def _sums(state: Mapping[str, Tensor]) -> Sums:
    found = {}
    for key, tensor in state.items():
        content: Any = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        found[key] = (
            hashlib.sha1(memoryview(content), usedforsecurity=False).hexdigest() + f" {tensor.dtype} {tensor.shape}"
        )
    return found


def _table(rows: Sequence[Sequence[str]], left: int) -> str:
    marks = ["---"] * left + ["---:"] * (len(rows[0]) - left)
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], marks, *rows[1:]))


if __name__ == "__main__":
    from jsonargparse import auto_cli

    print(auto_cli(layouts_table))
