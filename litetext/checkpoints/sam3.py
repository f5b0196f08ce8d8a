"""Whole SAM3 models from Meta's layout to transformers' and back; text encoders: `litetext.checkpoints.text`."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from litetext.checkpoints.reading import StateFile
from litetext.checkpoints.sam3_names import HOMELESS, LEVELS, MULTIPLEX, POSITIONS, WHOLE
from litetext.checkpoints.text import joined, split

DETECTOR = "detector."
TEXT = "backbone.language_backbone."
"""Beginning of the text encoder's names in Meta's detector."""

_HOMELESS = re.compile("|".join(f"(?:{pattern})" for pattern in HOMELESS))
_TRANSFORMERS_TEXT = ("text_encoder.", "text_projection.")


def is_meta(keys: tuple[str, ...]) -> bool:
    """Whether these are the names of a whole model of Meta's, with or without `detector.` before them."""
    return any(key.removeprefix(DETECTOR) == POSITIONS[0] for key in keys)


def read_without_text(file: StateFile) -> dict[str, Tensor]:
    """All of a SAM3's detector but its text encoder, by transformers' names, floats in float32.

    Args:
        file: Meta's `sam3.pt` or `sam3.1_multiplex.pt`, an efficientsam3 checkpoint of the whole model, or a
            transformers folder or file.

    Raises:
        ValueError: A name has no home in the layout.
    """
    if is_meta(file.keys):
        whole = any(key.startswith(DETECTOR) for key in file.keys)
        names = {k: k.removeprefix(DETECTOR) for k in file.keys if k.startswith(DETECTOR) or not whole}
        wanted = [k for k, name in names.items() if not name.startswith(TEXT)]
        return _float(from_meta({names[k]: t for k, t in file.fetch(wanted).items()}, str(file.path)))
    names = {
        k: k.removeprefix("detector_model.") for k in file.keys if not k.startswith(("tracker_model.", "tracker_neck."))
    }
    wanted = [k for k, name in names.items() if not name.startswith(_TRANSFORMERS_TEXT)]
    return _float({names[k]: t for k, t in file.fetch(wanted).items()})


def _float(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: t.float() if t.is_floating_point() else t for key, t in state.items()}


def from_meta(state: Mapping[str, Tensor], source: str = "state dict") -> dict[str, Tensor]:
    """Meta's detector without its text encoder to transformers' names.

    What transformers has no place for is left out: `HOMELESS`, and the first row of the vision tower's positions. What
    SAM 3.1 leaves out of the neck, the level that transformers computes and drops, is filled with zeros.

    Args:
        state: Tensors by Meta's names, without `detector.`.
        source: The file, for messages.

    Raises:
        ValueError: A name that is not in the layout.
    """
    known = {key: tensor for key, tensor in state.items() if not _HOMELESS.fullmatch(key)}
    found = split(known, WHOLE, f"{source}: transformers' layout of a SAM3")
    if POSITIONS[1] in found:
        found[POSITIONS[1]] = found[POSITIONS[1]][:, 1:]
    if is_multiplex(state):
        last = _levels(found, LEVELS[1]) - 1
        own = {key: tensor for key, tensor in found.items() if key.startswith(f"{LEVELS[1]}{last}.")}
        found |= {
            key.replace(f"{LEVELS[1]}{last}.", f"{LEVELS[1]}{last + 1}."): torch.zeros_like(tensor)
            for key, tensor in own.items()
        }
    return found


def is_multiplex(state: Iterable[str]) -> bool:
    """Whether these are names of SAM 3.1's detector, without `detector.`."""
    return any(key.startswith(MULTIPLEX) for key in state)


def _levels(state: Iterable[str], prefix: str) -> int:
    """Levels of a neck, counted from their names."""
    return 1 + max((int(key.removeprefix(prefix).split(".")[0]) for key in state if key.startswith(prefix)), default=-1)


def to_meta(state: Mapping[str, Tensor], base: Mapping[str, Tensor], source: str = "state dict") -> dict[str, Tensor]:
    """Transformers' names, without the text encoder's, to Meta's.

    Args:
        state: Tensors by transformers' names.
        base: A `sam3.pt` or `sam3.1_multiplex.pt` of the same size, without `detector.`: gives what transformers has no
            place for.
        source: The file, for messages.

    Returns:
        All of `base`'s names but the text encoder's.

    Raises:
        ValueError: Missing, unexpected or misshapen names.
    """
    found = joined(state.items(), WHOLE, "transformers' layout of a SAM3", source)
    own = {key: tensor for key, tensor in base.items() if not key.startswith(TEXT)}
    if is_multiplex(own):  # without the level that transformers drops
        beyond = f"{LEVELS[0]}{_levels(own, LEVELS[0])}."
        found = {key: tensor for key, tensor in found.items() if not key.startswith(beyond)}
    if POSITIONS[0] in found and POSITIONS[0] in own:
        found[POSITIONS[0]] = torch.cat([own[POSITIONS[0]][:, :1].to(found[POSITIONS[0]]), found[POSITIONS[0]]], 1)
    faults = {
        "missing": [key for key in own if key not in found and not _HOMELESS.fullmatch(key)],
        "unexpected": [key for key in found if key not in own],
        "misshapen": [key for key in found if key in own and found[key].shape != own[key].shape],
    }
    lines = [f"{len(keys)} {kind} ({', '.join(keys[:3])})" for kind, keys in faults.items() if keys]
    if lines:
        raise ValueError(f"{source}: is of another SAM3 than its base: {'; '.join(lines)}.")
    return {**own, **found}
