"""How much of an error in the text features reaches the image: SAM3's text cross-attention, layer by layer.

The DETR encoder of a SAM3 runs once with the teacher's text features and once with others in their place (Gaussian
noise added, or a student's), on the same images. Each quantity is compared with the teacher's run as
||other - teacher|| / ||teacher||, Frobenius norms over all images, phrases and valid entries together. Both runs are
whole runs: from the second layer on, the image tokens that ask differ as well, as they do in use.

SAM3-LiteText, section 5.7, reports for "noise 0.1" an error of 0.97 at the input, 0.96 in the logits and 0.0034 at the
output, a factor of 282, without saying how it counts. An input error of 0.97 at 0.1 fits noise in the features' own
units. The output error does not fit noisy values: averaging at most 33 tokens with independent errors leaves about
0.97 / sqrt(33) = 0.17 of them. What fits is that only the weights are noisy and nearly uniform (`routing` here).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from litetext.data import nouns
from litetext.data.shapes import world as shapes
from litetext.models.sam3.image import Sam3Image, Vision
from litetext.models.text.encoder import PhraseFeatures, TextBatch, TextEncoder, require_sam3_tokens
from litetext.tokenizer import UNLIMITED, Tokenizer

_CHUNK = 4
"""Phrases at once: the logits of one layer take 5 MB a phrase in a real SAM3."""
_MEASURES = ("logits", "weights", "output", "routing")


class _AttentionTrace(NamedTuple):
    """One text cross-attention: H heads, P image tokens, M tokens of text and geometry.

    Attributes:
        logits: Before the softmax, (N, H, P, M).
        weights: After it, (N, H, P, M).
        values: What is mixed, (N, H, M, D / H).
        output: After the output projection, before the residual, (N, P, D).
        module: The attention.
    """

    logits: Tensor
    weights: Tensor
    values: Tensor
    output: Tensor
    module: Any

    def mix(self, weights: Tensor) -> Tensor:
        """What it would give out for other weights and its own values, (N, P, D)."""
        mixed = (weights @ self.values).transpose(1, 2).flatten(2)
        return self.module.o_proj(mixed.to(self.output.dtype)).float()


class _Sums:
    """Squared differences and squared references, by name."""

    def __init__(self) -> None:
        self.squares: dict[Any, list[float]] = {}

    def add(self, name: Any, other: Tensor, reference: Tensor) -> None:
        """Counts one more pair of tensors of the same shape."""
        sums = self.squares.setdefault(name, [0.0, 0.0])
        for i, rows in enumerate((other - reference, reference)):
            sums[i] += float(torch.linalg.vector_norm(rows.cpu(), dtype=torch.float64)) ** 2

    def relative(self, name: Any) -> float | None:
        """The relative error of all that was counted; None where it is undefined."""
        difference, reference = self.squares[name]
        return _ratio(math.sqrt(difference), math.sqrt(reference))


def softmax_robustness(
    sam3: Sam3Image,
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    phrases: Sequence[str],
    teacher: TextEncoder,
    students: Mapping[str, TextEncoder],
    noise: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 0.97),
    seed: int = 0,
) -> dict[str, Any]:
    """Relative errors on the way from the text features through the text cross-attention, for noise and students.

    A noise level is the standard deviation of independent Gaussian noise in units of the teacher's root mean square
    value over all phrases, so that it is, but for chance, the relative error at the input. The paper's "noise 0.1"
    has an input error of 0.97: it counts in the features' own units, and 0.97 is its level here. All levels scale the
    same draw. Phrases longer than the shortest of the contexts are left out: cut features have no counterpart.

    Args:
        sam3: The segmenter.
        images: RGB images of any sizes, uint8 (3, H, W).
        phrases: Noun phrases; every image is prompted with all of them.
        teacher: The text encoder whose features are the reference: the SAM3's own.
        students: Encoders to put in its place, by name.
        noise: Levels, 0 or more.
        seed: Seed of the noise.

    Returns:
        `noise` and `students`, each a mapping from level or name to `input`, `cosine` (mean over valid tokens),
        `layers` and, as means over the layers, `logits` (of text tokens, before the softmax), `weights` (after it),
        `output` (of the attention, before the residual), `routing` (the output's error if only the weights changed and
        the teacher's values were mixed), `attenuation` (`input` / `output`) and `routing_attenuation`
        (`logits` / `routing`); further `encoded` (image tokens that leave the encoder). Each layer has the same but
        for `input`, `cosine` and `encoded`. Then `rms` (of the teacher's features), `images`, `phrases` (compared),
        `left_out`. What is undefined or not finite is None.

    Raises:
        ValueError: If there are no images, no phrases that fit every context, a level below 0, or features of a width
            that the SAM3 does not read.
    """
    encoders = [("teacher", teacher), *((f"student {name}", student) for name, student in students.items())]
    for name, encoder in encoders:
        require_sam3_tokens(encoder.reads, name)
        sam3.check_width(encoder.width, name)
    if wrong := [level for level in noise if not (math.isfinite(level) and level >= 0)]:
        raise ValueError(f"noise={wrong[0]} is no standard deviation; give levels of 0 or more")
    if not len(images):
        raise ValueError("robustness needs at least one image; give images")
    distinct = list(dict.fromkeys(phrases))
    context = min(encoder.context_length for _, encoder in encoders)
    lengths = Tokenizer(UNLIMITED).rows(distinct).lengths.tolist()
    kept = [phrase for phrase, length in zip(distinct, lengths, strict=True) if length <= context]
    if not kept:
        raise ValueError(f"none of {len(distinct)} phrases fits {context} tokens; give shorter phrases")
    reference = teacher.encode(kept)
    rms = float(torch.cat(list(reference.rows)).double().square().mean().sqrt())
    others = {("noise", str(level)): _noisy(reference, level * rms, seed) for level in noise}
    for name, encoder in students.items():
        others["students", name] = encoder.encode(kept)
    sums = {key: _Sums() for key in others}
    for image in images:
        vision = sam3.encode_images(sam3.preprocess([image]))
        for start in range(0, len(kept), _CHUNK):
            some = kept[start : start + _CHUNK]
            truth = _listen(sam3, vision, reference.take(some))
            for key, features in others.items():
                _compare(sums[key], truth, _listen(sam3, vision, features.take(some)))
    layers = len(sam3.model.detr_encoder.layers)
    found: dict[str, Any] = {"noise": {}, "students": {}}
    for (kind, name), features in others.items():
        found[kind][name] = _inputs(reference, features) | _outcome(sums[kind, name], layers)
        found[kind][name]["attenuation"] = _ratio(found[kind][name]["input"], found[kind][name]["output"])
        for layer in found[kind][name]["layers"]:
            layer["attenuation"] = _ratio(found[kind][name]["input"], layer["output"])
    return {
        **found,
        "rms": rms if math.isfinite(rms) else None,
        "images": len(images),
        "phrases": len(kept),
        "left_out": len(distinct) - len(kept),
    }


def drawn_images(count: int, seed: int = 0, world: str = "shapes") -> list[UInt8[Tensor, "3 s s"]]:
    """Held-out images of a drawn world, for a SAM3 without images of its own.

    Args:
        count: How many.
        seed: Which.
        world: shapes or nouns.

    Returns:
        RGB images, uint8 (3, SIZE, SIZE); `Sam3Image.preprocess` brings them to a SAM3's size.
    """
    if world == "nouns":
        first = nouns.FIRST_HELD_OUT + seed * count
        pixels = [nouns.render(nouns.draw_scene(first + i))[0] for i in range(count)]
    else:
        first = shapes.FIRST_HELD_OUT + seed * count
        pixels = [shapes.render(shapes.draw_scene(first + i, held_out=True)) for i in range(count)]
    return [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in pixels]


def _noisy(features: PhraseFeatures, std: float, seed: int) -> PhraseFeatures:
    generator = torch.Generator().manual_seed(seed)
    rows = [row + std * torch.randn(row.shape, generator=generator) for row in features.rows]
    return PhraseFeatures(rows, features.number, features.width)


def _inputs(reference: PhraseFeatures, other: PhraseFeatures) -> dict[str, Any]:
    """The error of the text features themselves, each distinct phrase once."""
    theirs, ours = torch.cat(list(reference.rows)), torch.cat(list(other.rows))
    sums = _Sums()
    sums.add("input", ours, theirs)
    return {
        "input": sums.relative("input"),
        "cosine": _finite(float(F.cosine_similarity(ours.double(), theirs.double(), dim=1).mean())),
    }


class _Run(NamedTuple):
    """A run of the DETR encoder: its cross-attentions, what left it, and which of the tokens M are text."""

    attended: list[_AttentionTrace]
    encoded: Float[Tensor, "n p d"]
    text: Bool[Tensor, "n m"]


@torch.no_grad()
def _listen(sam3: Sam3Image, vision: Vision, batch: TextBatch) -> _Run:
    calls: list[tuple[Any, dict[str, Tensor], Tensor]] = []
    layers: Any = sam3.model.detr_encoder.layers
    hooks = [
        layer.cross_attn.register_forward_hook(
            lambda module, _, given, output: calls.append((module, given, output[0])), with_kwargs=True
        )
        for layer in layers
    ]
    try:
        encoded, prompt, valid = sam3.fuse(vision, batch.features, batch.lengths)
    finally:
        for hook in hooks:
            hook.remove()
    attended = [_attention(*call, valid) for call in calls]
    text = torch.arange(prompt.shape[1], device=valid.device) < batch.lengths.to(valid.device)[:, None]
    return _Run(attended, encoded.float(), text)


def _attention(module: Any, given: dict[str, Tensor], output: Tensor, valid: Tensor) -> _AttentionTrace:
    def heads(rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (module.num_attention_heads, -1)).transpose(1, 2).float()

    queries, keys = heads(module.q_proj(given["query"])), heads(module.k_proj(given["key"]))
    logits = queries @ keys.mT * module.scaling
    weights = logits.masked_fill(~valid[:, None, None], -torch.inf).softmax(-1)
    return _AttentionTrace(logits, weights, heads(module.v_proj(given["value"])), output, module)


@torch.no_grad()
def _compare(sums: _Sums, truth: _Run, other: _Run) -> None:
    silent = ~truth.text[:, None, None]
    for layer, (theirs, ours) in enumerate(zip(truth.attended, other.attended, strict=True)):
        sums.add((layer, "logits"), ours.logits.masked_fill(silent, 0), theirs.logits.masked_fill(silent, 0))
        sums.add((layer, "weights"), ours.weights, theirs.weights)
        sums.add((layer, "output"), ours.output.float(), theirs.output.float())
        sums.add((layer, "routing"), theirs.mix(ours.weights), theirs.mix(theirs.weights))
    sums.add("encoded", other.encoded, truth.encoded)


def _outcome(sums: _Sums, layers: int) -> dict[str, Any]:
    rows = [{name: sums.relative((layer, name)) for name in _MEASURES} for layer in range(layers)]
    mean = {name: _mean([row[name] for row in rows]) for name in _MEASURES}
    for row in (*rows, mean):
        row["routing_attenuation"] = _ratio(row["logits"], row["routing"])
    return {**mean, "layers": rows, "encoded": sums.relative("encoded")}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _ratio(value: float | None, reference: float | None) -> float | None:
    return None if value is None or not reference else _finite(value / reference)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
