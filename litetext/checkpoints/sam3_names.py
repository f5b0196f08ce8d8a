"""The names of all but the text encoder of a SAM3: Meta's, and those of transformers' Sam3Model and Sam3LiteTextModel.

Meta's detector stands on the native side of the rules, since it holds q, k and v as one tensor and transformers as
three; the names here come after `detector.` there, and at the start here. Both transformers models share theirs.
"""

from litetext.checkpoints.text_names import Rule, rename

_TRUNK, _BACKBONE = "backbone.vision_backbone.trunk.", "vision_encoder.backbone."
_NECK, _FPN = "backbone.vision_backbone.convs.", "vision_encoder.neck.fpn_layers."

POSITIONS = (_TRUNK + "pos_embed", _BACKBONE + "embeddings.position_embeddings")
"""Positions of the vision tower: Meta's begin with that of a class token, which transformers leaves out."""

MULTIPLEX = ("backbone.vision_backbone.interactive_convs.", "backbone.vision_backbone.propagation_convs.")
"""Beginnings of names that SAM 3.1 alone has, whose neck has three heads of three levels: the others' are four."""

LEVELS = (_NECK, _FPN)
"""Beginnings of the names of the neck's levels, which their number follows."""

HOMELESS = (
    _TRUNK + r"blocks\.\d+\.attn\.freqs_cis",  # computed by transformers
    r"backbone\.vision_backbone\.sam2_convs\..+",  # of the tracker
    *(prefix.replace(".", r"\.") + ".+" for prefix in MULTIPLEX),  # of 3.1's tracker
    r"geometry_encoder\.points_(direct|pool|pos_enc)_project\..+",
)
"""Patterns of Meta's names that transformers has no place for."""


def _attention(meta: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{meta}in_proj_{{p}}", f"{ours}{{qkv}}_proj.{{p}}"),
        Rule(f"{meta}out_proj.{{p}}", f"{ours}o_proj.{{p}}"),
    )


def _mlp(meta: str, ours: str, layers: int) -> tuple[Rule, ...]:
    return rename({f"layers.{i}": f"layer{i + 1}" for i in range(layers)}, meta, ours)


def _block(meta: str, ours: str, cross: str) -> tuple[Rule, ...]:
    """A layer of the DETR encoder or of the geometry encoder."""
    names = {"linear1": "mlp.fc1", "linear2": "mlp.fc2"} | {f"norm{i}": f"layer_norm{i}" for i in (1, 2, 3)}
    return (
        *_attention(f"{meta}self_attn.", f"{ours}self_attn."),
        *_attention(f"{meta}{cross}.", f"{ours}cross_attn."),
        *rename(names, meta, ours),
    )


def _vision() -> tuple[Rule, ...]:
    block, ours = _TRUNK + "blocks.{n}.", _BACKBONE + "layers.{n}."
    names = {"norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "attention.o_proj"}
    return (
        Rule(*POSITIONS),
        *rename(
            {"patch_embed.proj": "embeddings.patch_embeddings.projection", "ln_pre": "layer_norm"}, _TRUNK, _BACKBONE
        ),
        *rename(names | {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}, block, ours),
        Rule(f"{block}attn.qkv.{{p}}", f"{ours}attention.{{qkv}}_proj.{{p}}"),
        # Upsampled four times in two steps, twice in one, and not at all.
        *rename({"dconv_2x2_0": "scale_layers.0", "dconv_2x2_1": "scale_layers.2"}, f"{_NECK}0.", f"{_FPN}0."),
        *rename({"dconv_2x2": "scale_layers.0"}, f"{_NECK}1.", f"{_FPN}1."),
        *rename({"conv_1x1": "proj1", "conv_3x3": "proj2"}, f"{_NECK}{{n}}.", f"{_FPN}{{n}}."),
    )


def _geometry() -> tuple[Rule, ...]:
    root = "geometry_encoder."
    same = ("label_embed", "cls_embed", "final_proj", "boxes_direct_project", "boxes_pool_project")
    norms = {"img_pre_norm": "vision_layer_norm", "norm": "prompt_layer_norm", "encode_norm": "output_layer_norm"}
    return (
        *rename({name: name for name in (*same, "boxes_pos_enc_project")} | norms, root, root),
        *_block(root + "encode.{n}.", root + "layers.{n}.", "cross_attn_image"),
    )


def _decoder() -> tuple[Rule, ...]:
    meta, ours = "transformer.decoder.", "detr_decoder."
    layer, own = meta + "layers.{n}.", ours + "layers.{n}."
    names = {"query_embed": "query_embed", "reference_points": "reference_points", "presence_token": "presence_token"}
    norms = {"presence_token_out_norm": "presence_layer_norm", "norm": "output_layer_norm"}
    heads = {
        "bbox_embed": ("box_head", 3),
        "presence_token_head": ("presence_head", 3),
        "ref_point_head": ("ref_point_head", 2),
        "boxRPB_embed_x": ("box_rpb_embed_x", 2),
        "boxRPB_embed_y": ("box_rpb_embed_y", 2),
    }
    inside = {
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
        "norm1": "vision_cross_attn_layer_norm",
        "catext_norm": "text_cross_attn_layer_norm",
        "norm2": "self_attn_layer_norm",
        "norm3": "mlp_layer_norm",
    }
    return (
        *rename(names | norms, meta, ours),
        *(rule for theirs, (name, n) in heads.items() for rule in _mlp(f"{meta}{theirs}.", f"{ours}{name}.", n)),
        *_attention(f"{layer}self_attn.", f"{own}self_attn."),
        *_attention(f"{layer}ca_text.", f"{own}text_cross_attn."),
        *_attention(f"{layer}cross_attn.", f"{own}vision_cross_attn."),
        *rename(inside, layer, own),
    )


def _heads() -> tuple[Rule, ...]:
    meta, ours = "dot_prod_scoring.", "dot_product_scoring."
    scoring = {"prompt_mlp.out_norm": "text_mlp_out_norm", "prompt_proj": "text_proj", "hs_proj": "query_proj"}
    head, mask = "segmentation_head.", "mask_decoder."
    names = {
        "pixel_decoder.conv_layers.{n}": "pixel_decoder.conv_layers.{n}",
        "pixel_decoder.norms.{n}": "pixel_decoder.norms.{n}",
        "mask_predictor.mask_embed.layers.{n}": "mask_embedder.layers.{n}",
        "instance_seg_head": "instance_projection",
        "semantic_seg_head": "semantic_projection",
        "cross_attn_norm": "prompt_cross_attn_norm",
    }
    return (
        *_mlp(f"{meta}prompt_mlp.", f"{ours}text_mlp.", 2),
        *rename(scoring, meta, ours),
        *rename(names, head, mask),
        *_attention(f"{head}cross_attend_prompt.", f"{mask}prompt_cross_attn."),
    )


WHOLE = (
    *_vision(),
    *_geometry(),
    *_block("transformer.encoder.layers.{n}.", "detr_encoder.layers.{n}.", "cross_attn_image"),
    *_decoder(),
    *_heads(),
)
