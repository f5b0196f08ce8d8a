"""The names that text encoders' weights have in public checkpoints, and those they have here: the tables.

Each layout is a table of rules between its names and ours; any layout converts into any other by way of ours
(`litetext.checkpoints.text`). The tables hold no prefix, since that differs from file to file.

    meta            Meta's sam3.pt           detector.backbone.language_backbone.{encoder, resizer}
    sam3            transformers Sam3Model   [detector_model.]{text_encoder, text_projection}
    efficientsam3   its LiteText checkpoints [detector.backbone.language_backbone.]{encoder, projector}
    litetext        transformers Sam3LiteTextModel, named like sam3
    apple           ml-mobileclip            text_encoder
    open_clip       MobileCLIP text towers   text
    native          this package             [student.], [teacher.]
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Reshape(NamedTuple):
    """How a tensor's axes differ: axes there, to ours, axes here, and back."""

    theirs: int
    to_native: Callable[[Tensor], Tensor]
    ours: int
    from_native: Callable[[Tensor], Tensor]


TRANSPOSE = Reshape(2, lambda t: t.T, 2, lambda t: t.T)
POSITIONS = Reshape(4, lambda t: t[0, 0], 2, lambda t: t[None, None])  # [1, 1, L, d]
POINTWISE = Reshape(4, lambda t: t[:, :, 0, 0], 2, lambda t: t[:, :, None, None])  # 1x1 convolution
SCALE = Reshape(3, lambda t: t.permute(1, 2, 0), 3, lambda t: t.permute(2, 0, 1))  # [d, 1, 1] to [1, 1, d]


class Rule(NamedTuple):
    """One row of a table. In a name {n} is a block's number, {p} a parameter (weight, running_mean, ...).

    {qkv} in a foreign name stands for three tensors, q, k and v, that are one here.
    """

    native: str
    foreign: str
    reshape: Reshape | None = None


def rename(pairs: Mapping[str, str], ours: str, theirs: str) -> tuple[Rule, ...]:
    """Rules for all parameters of modules, by their names after a common beginning on each side."""
    return tuple(Rule(f"{ours}{a}.{{p}}", f"{theirs}{b}.{{p}}") for a, b in pairs.items())


def _clip(root: str) -> tuple[Rule, ...]:
    """OpenAI CLIP's own names: Meta's SAM3 and open_clip."""
    block = {"norm1": "ln_1", "norm2": "ln_2", "attention.out": "attn.out_proj"}
    return (
        Rule("embedding.token.weight", f"{root}token_embedding.weight"),
        Rule("embedding.position", f"{root}positional_embedding"),
        *rename(block, "blocks.{n}.", f"{root}transformer.resblocks.{{n}}."),
        *rename({"fc1": "c_fc", "fc2": "c_proj"}, "blocks.{n}.mlp.", f"{root}transformer.resblocks.{{n}}.mlp."),
        Rule("blocks.{n}.attention.qkv.{p}", f"{root}transformer.resblocks.{{n}}.attn.in_proj_{{p}}"),
        *rename({"final_norm": "ln_final"}, "", root),
        Rule("eot_projection", f"{root}text_projection"),
    )


def _mobileclip(root: str) -> tuple[Rule, ...]:
    """Apple's names of the MobileCLIP text tower, which efficientsam3 kept."""
    transformer = {
        "norm1": "pre_norm_mha.0",
        "attention.qkv": "pre_norm_mha.1.qkv_proj",
        "attention.out": "pre_norm_mha.1.out_proj",
        "norm2": "pre_norm_ffn.0",
        "mlp.fc1": "pre_norm_ffn.1",
        "mlp.fc2": "pre_norm_ffn.4",
    }
    repmixer = {
        "mixer.norm": "token_mixer.norm.rbr_skip",
        "mixer.skip": "token_mixer.mixer.rbr_skip",
        "mixer.conv": "token_mixer.mixer.rbr_conv.0.conv",
        "mixer.conv_norm": "token_mixer.mixer.rbr_conv.0.bn",
        "conv_mlp.conv": "convffn.conv.conv",
        "conv_mlp.norm": "convffn.conv.bn",
    }
    block = f"{root}transformer.{{n}}."
    return (
        Rule("embedding.token.weight", f"{root}embedding_layer.weight"),
        Rule("embedding.position", f"{root}positional_embedding.pos_embed.pos_embed", POSITIONS),
        *rename(transformer, "blocks.{n}.", block),
        *_repmixer(block, repmixer, f"{block}convffn."),
        *rename({"final_norm": "final_layer_norm"}, "", root),
        Rule("eot_projection", f"{root}projection_layer"),
    )


def _repmixer(block: str, names: Mapping[str, str], mlp: str) -> tuple[Rule, ...]:
    """A RepMixer block: modules by their names there, and what has other axes there."""
    return (
        *rename(names, "blocks.{n}.", block),
        *(
            Rule(f"blocks.{{n}}.conv_mlp.{fc}.{p}", f"{mlp}{fc}.{p}", POINTWISE if p == "weight" else None)
            for fc in ("fc1", "fc2")
            for p in ("weight", "bias")
        ),
        Rule("blocks.{n}.scale", f"{block}layer_scale", SCALE),
        Rule("blocks.{n}.mixer.scale", f"{block}token_mixer.layer_scale", SCALE),
    )


def _transformers_block(layers: str) -> tuple[Rule, ...]:
    block = {"norm1": "layer_norm1", "norm2": "layer_norm2", "attention.out": "self_attn.out_proj"}
    return (
        *rename(block | {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}, "blocks.{n}.", f"{layers}{{n}}."),
        Rule("blocks.{n}.attention.qkv.{p}", f"{layers}{{n}}.self_attn.{{qkv}}_proj.{{p}}"),
    )


def _sam3() -> tuple[Rule, ...]:
    root = "text_encoder.text_model."
    return (
        Rule("embedding.token.weight", f"{root}embeddings.token_embedding.weight"),
        Rule("embedding.position", f"{root}embeddings.position_embedding.weight"),
        *_transformers_block(f"{root}encoder.layers."),
        *rename({"final_norm": "final_layer_norm"}, "", root),
        Rule("eot_projection", "text_encoder.text_projection.weight", TRANSPOSE),
        *rename({"projector": "text_projection"}, "", ""),
    )


def _litetext() -> tuple[Rule, ...]:
    root, block = "text_encoder.", "text_encoder.layers.{n}."
    repmixer = {
        "mixer.norm": "token_mixer.reference_batchnorm",
        "mixer.skip": "token_mixer.mixer.batchnorm_skip",
        "mixer.conv": "token_mixer.mixer.conv",
        "mixer.conv_norm": "token_mixer.mixer.batchnorm_conv",
        "conv_mlp.conv": "conv_feed_forward.depthwise_conv",
        "conv_mlp.norm": "conv_feed_forward.depthwise_batchnorm",
    }
    return (
        Rule("embedding.token.weight", f"{root}embeddings.token_embedding.weight"),
        Rule("embedding.position", f"{root}embeddings.position_embedding.position_embedding", POSITIONS),
        *_transformers_block(f"{root}layers."),
        *_repmixer(block, repmixer, f"{block}conv_feed_forward.mlp."),
        *rename({"final_norm": "final_layer_norm"}, "", root),
        # Apple multiplies by this matrix from the right, a Linear by its transpose.
        Rule("eot_projection", f"{root}projection.weight", TRANSPOSE),
        *rename({"projector": "text_projection"}, "", ""),
    )


@dataclass(frozen=True)
class Layout:
    """One public layout.

    Attributes:
        name: as in `LAYOUTS`.
        signature: a key that only this layout has; what stands before it in a file is the file's prefix.
        roots: beginnings of the text encoder's keys after the prefix.
        rules: the table; None for our own names.
        fresh: beginnings of native keys that the layout does not hold.
    """

    name: str
    signature: str
    roots: tuple[str, ...]
    rules: tuple[Rule, ...] | None
    fresh: tuple[str, ...] = ()


_RESIZER = rename({"projector": "resizer"}, "", "")
_PROJECTOR = rename({"projector": "projector"}, "", "")
_OURS = ("embedding.", "blocks.", "final_norm.", "eot_projection", "projector.")
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("meta", "encoder.token_embedding.weight", ("encoder.", "resizer."), _clip("encoder.") + _RESIZER),
        Layout(
            "sam3",
            "text_encoder.text_model.embeddings.token_embedding.weight",
            ("text_encoder.", "text_projection."),
            _sam3(),
        ),
        Layout(
            "efficientsam3",
            "encoder.embedding_layer.weight",
            ("encoder.", "projector."),
            _mobileclip("encoder.") + _PROJECTOR,
        ),
        Layout(
            "litetext",
            "text_encoder.embeddings.token_embedding.weight",
            ("text_encoder.", "text_projection."),
            _litetext(),
        ),
        Layout(
            "apple",
            "text_encoder.embedding_layer.weight",
            ("text_encoder.",),
            _mobileclip("text_encoder."),
            fresh=("projector.",),
        ),
        Layout("open_clip", "text.token_embedding.weight", ("text.",), _clip("text."), fresh=("projector.",)),
        Layout("native", "embedding.token.weight", _OURS, None),
    )
}
