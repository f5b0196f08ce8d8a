"""Text encoders in checkpoints of any public layout: found, read, renamed, checked.

A text encoder is found in a whole-model file by a name only its layout has (`litetext.checkpoints.text_names`);
nothing else of the file is read into memory.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from litetext.checkpoints.reading import open_state
from litetext.checkpoints.text_names import LAYOUTS, Rule

_CONSTANTS = ("position_ids", "attn_mask", "causal_mask")
"""Last names of buffers that some versions store and none needs."""


def _pattern(template: str) -> re.Pattern[str]:
    groups = {"n": r"\d+", "p": "weight|bias|running_mean|running_var|num_batches_tracked", "qkv": "[qkv]"}
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(f"(?P<{s}>{groups[s]})" if i % 2 else re.escape(s) for i, s in enumerate(parts)))


class _RuleTable:
    """A layout's rules, to look up a key in one direction."""

    def __init__(self, rules: tuple[Rule, ...], native: bool) -> None:
        self.rows = [(rule, _pattern(rule.native if native else rule.foreign)) for rule in rules]

    def match(self, key: str) -> tuple[Rule, dict[str, str]] | None:
        for rule, pattern in self.rows:
            if found := pattern.fullmatch(key):
                return rule, found.groupdict()
        return None


def to_native(state: Mapping[str, Tensor], layout: str, source: str = "state dict") -> dict[str, Tensor]:
    """Renames a text encoder's tensors from a layout (without prefix) to this package's names.

    Raises:
        ValueError: a key has no home in the layout, or a tensor the wrong number of axes.
    """
    rules = LAYOUTS[layout].rules
    if rules is None:
        return dict(state)
    return joined(state.items(), rules, f"the {layout} layout of a text encoder", source)


def joined(items: Iterable[tuple[str, Tensor]], rules: tuple[Rule, ...], layout: str, source: str) -> dict[str, Tensor]:
    """Renames tensors from the foreign side of a table to the native one; q, k and v become one tensor.

    Args:
        items: Foreign names and tensors; taken one by one, so that their source may let go of each.
        rules: The table.
        layout: What the foreign side is, for messages.
        source: The file, for messages.

    Raises:
        ValueError: a key has no home in the table, or a tensor the wrong number of axes.
    """
    table, native, parts, strange = _RuleTable(rules, native=False), {}, {}, []
    for key, tensor in items:
        if key.rsplit(".", 1)[-1] in _CONSTANTS:
            continue
        if (found := table.match(key)) is None:
            strange.append(key)
            continue
        rule, names = found
        name = rule.native.format(**names)
        if "qkv" in names:
            three = parts.setdefault(name, {})
            three[names["qkv"]] = tensor
            if len(three) == 3:
                native[name] = torch.cat([three["q"], three["k"], three["v"]])
                del parts[name]
        else:
            native[name] = _reshaped(tensor, rule, key, source, native=True)
    for name, three in parts.items():
        strange.append(f"{name} without {' and '.join(sorted(set('qkv') - set(three)))}")
    if strange:
        raise ValueError(f"{source}: {_listed('unexpected', strange)} in {layout}.")
    return native


def from_native(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """Renames a text encoder's tensors from this package's names to a layout (without prefix).

    Raises:
        ValueError: the layout has no place for a tensor (say, a factorised embedding), or it is misshapen.
    """
    target = LAYOUTS[layout]
    if target.rules is None:
        return dict(state)
    kept = {key: tensor for key, tensor in state.items() if not key.startswith(target.fresh or ("\0",))}
    return split(kept, target.rules, f"the {layout} layout")


def split(state: Mapping[str, Tensor], rules: tuple[Rule, ...], layout: str) -> dict[str, Tensor]:
    """Renames tensors from the native side of a table to the foreign one, the inverse of `joined`.

    Raises:
        ValueError: the table has no place for a tensor, or it is misshapen.
    """
    table, foreign, homeless = _RuleTable(rules, native=True), {}, []
    for key, tensor in state.items():
        if (found := table.match(key)) is None:
            homeless.append(key)
            continue
        rule, names = found
        if "{qkv}" in rule.foreign:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                foreign[rule.foreign.format(qkv=letter, **names)] = part
        else:
            foreign[rule.foreign.format(**names)] = _reshaped(tensor, rule, key, "state dict", native=False)
    if homeless:
        raise ValueError(f"{layout} has no place for {_listed('keys', homeless)}.")
    return foreign


def convert(state: Mapping[str, Tensor], source: str, target: str) -> dict[str, Tensor]:
    """Renames a text encoder's tensors from one layout to another, both without prefix."""
    return from_native(to_native(state, source), target)


def _reshaped(tensor: Tensor, rule: Rule, key: str, source: str, native: bool) -> Tensor:
    if rule.reshape is None:
        return tensor
    axes = rule.reshape.theirs if native else rule.reshape.ours
    if tensor.ndim != axes:
        raise ValueError(f"{source}: {key} has shape {tuple(tensor.shape)}, but {axes} axes are wanted.")
    return (rule.reshape.to_native if native else rule.reshape.from_native)(tensor)


@dataclass(frozen=True)
class TextState:
    """A text encoder's weights as found in a file.

    Attributes:
        state: tensors by this package's names; floats in float32.
        layout: name of the layout they had.
        prefix: what stood before their names.
        source: the file.
    """

    state: dict[str, Tensor]
    layout: str
    prefix: str
    source: str


def read_text_state(path: str | os.PathLike[str], prefix: str | None = None) -> TextState:
    """Finds and reads the text encoder of a checkpoint in any layout; nothing else is read into memory.

    Args:
        path: a file or transformers folder, see `litetext.checkpoints.reading.open_state`.
        prefix: of the keys, where a file holds several text encoders (say `student.`); None if there is one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unreadable; or no text encoder, several, or unknown keys in it.
    """
    file = open_state(path)
    found = {
        (layout.name, key.removesuffix(layout.signature))
        for layout in LAYOUTS.values()
        for key in file.keys
        if key == layout.signature or key.endswith("." + layout.signature)
    }
    if prefix is not None:
        found = {pair for pair in found if pair[1] == prefix}
    if not found:
        where = "" if prefix is None else f" under {prefix!r}"
        raise ValueError(
            f"{path}: holds no text encoder{where} in a known layout ({', '.join(LAYOUTS)}); "
            f"it has {_listed('keys', file.keys)}."
        )
    if len(found) > 1:
        names = ", ".join(repr(start) for _, start in sorted(found))
        raise ValueError(f"{path}: holds {len(found)} text encoders, with the prefixes {names}; choose one.")
    name, start = found.pop()
    tensors = file.under(start + root for root in LAYOUTS[name].roots)
    rules, what = LAYOUTS[name].rules, f"the {name} layout of a text encoder"
    bare = _emptied(tensors, start)
    state = dict(bare) if rules is None else joined(bare, rules, what, str(path))
    return TextState(state, name, start, str(path))


def _emptied(tensors: dict[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Names without their prefix and tensors in float32, each let go of when it is handed on: one copy in memory."""
    for key in list(tensors):
        tensor = tensors.pop(key)
        yield key.removeprefix(prefix), tensor.float() if tensor.is_floating_point() else tensor


def resize_positions(
    state: Mapping[str, Tensor],
    context_length: int,
    how: Literal["slice", "interpolate"],
    source: str = "state dict",
) -> tuple[dict[str, Tensor], str]:
    """Fits the position table (native names) to a context: its first rows, or bilinear resampling.

    Returns:
        The state dict, and what was done in words; empty if the table fitted.

    Raises:
        ValueError: a table to slice is too short.
    """
    table = state.get("embedding.position")
    if table is None or table.ndim != 2 or len(table) == context_length:
        return dict(state), ""
    if how == "interpolate":
        # Along tokens only, with half-pixel centres: what efficientsam3 and transformers do.
        resized = F.interpolate(table[None, None], size=(context_length, table.shape[1]), mode="bilinear")[0, 0]
        return {
            **state,
            "embedding.position": resized,
        }, f"{len(table)} positions resampled to {context_length}"
    if len(table) < context_length:
        raise ValueError(
            f"{source}: has {len(table)} positions, fewer than context_length={context_length}; "
            f"use context_length={len(table)} or less, or interpolate the positions."
        )
    cut = table[:context_length].clone()
    return {**state, "embedding.position": cut}, f"first {context_length} of {len(table)} positions"


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint gave to a text encoder.

    Attributes:
        source: the file.
        layout: its layout.
        loaded: number of tensors taken.
        fresh: names of tensors that kept their initial values.
        note: what was done to the position table; empty if nothing.
    """

    source: str
    layout: str
    loaded: int
    fresh: tuple[str, ...]
    note: str

    @property
    def line(self) -> str:
        """The report in one line."""
        fresh = f"; not in the file, left at initial values: {', '.join(self.fresh)}" if self.fresh else ""
        note = f" ({self.note})" if self.note else ""
        return f"{self.source}: loaded {self.loaded} tensors of its {self.layout} text encoder{note}{fresh}."


def require_match(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], found: TextState, note: str = ""
) -> LoadReport:
    """Checks that a state dict is what an encoder needs, apart from what its layout cannot hold.

    Raises:
        ValueError: one line with the missing, unexpected and misshapen keys, and those with integers for weights.
    """
    absent = [key for key in wanted if key not in state]
    fresh = tuple(key for key in absent if key.startswith(LAYOUTS[found.layout].fresh or ("\0",)))
    missing = [key for key in absent if key not in fresh]
    strange = [key for key in state if key not in wanted]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    quantised = [
        f"{key} {str(state[key].dtype).removeprefix('torch.')}"
        for key in wanted
        if key in state and wanted[key].is_floating_point() and not state[key].is_floating_point()
    ]
    kinds = {"missing": missing, "unexpected": strange, "misshapen": misshapen, "of integers": quantised}
    faults = [_listed(kind, keys) for kind, keys in kinds.items() if keys]
    if faults:
        raise ValueError(f"{found.source}: is of another text encoder than this one: {'; '.join(faults)}.")
    return LoadReport(found.source, found.layout, len(state), fresh, note)


def _listed(kind: str, keys: Iterable[str], most: int = 3) -> str:
    names = list(keys)
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"{len(names)} {kind} ({shown})"
