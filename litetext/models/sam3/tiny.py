"""SAM3s of 4 to 10 million parameters for images of 112 pixels: transformers' own classes at a hundredth of the size.

`forward_phrases` composes the published forward pass from its submodules, so that the vision tower runs once per
image and every decoder layer's output can be supervised. Text-only detection keeps the geometry token that Meta's
SAM3 always appends (`transformers` leaves it out when no box is given).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from transformers import Sam3Config, Sam3Model

from litetext.models.sam3.forward import box_and_score_heads, decode, geometry_token

IMAGE_SIZE = 112
QUERIES = 16


def tiny_config(
    image_size: int = IMAGE_SIZE,
    width: int = 64,
    vision_layers: int = 4,
    layers: int = 2,
    *,
    decoder_layers: int | None = None,
    vision_width: int = 96,
    text_width: int | None = None,
    text_layers: int = 3,
    queries: int = QUERIES,
) -> Sam3Config:
    """The configuration of a tiny SAM3.

    Args:
        image_size: Side of the square images in pixels, a multiple of 8.
        width: Feature size of everything but the two towers, a multiple of 8.
        vision_layers: Blocks of the vision tower.
        layers: Layers of the DETR encoder.
        decoder_layers: Layers of the DETR decoder; as many as the encoder has by default.
        vision_width: Feature size of the vision tower, a multiple of 16.
        text_width: Feature size of the text tower, a multiple of 4; `width` by default.
        text_layers: Layers of the text tower.
        queries: Object queries.
    """
    text_width = width if text_width is None else text_width
    head = {"num_attention_heads": 4, "hidden_size": width}
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": vision_width,
                "intermediate_size": 3 * vision_width,
                "num_hidden_layers": vision_layers,
                "num_attention_heads": 4,
                "image_size": image_size,
                "pretrain_image_size": image_size,
                "patch_size": 8,
                "window_size": image_size // 8,
                "global_attn_indexes": list(range(vision_layers)),
            },
            "fpn_hidden_size": width,
            "scale_factors": [4.0, 2.0, 1.0, 0.5],  # the first gives masks of a half, the third feeds the DETR
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": 49408,
            "hidden_size": text_width,
            "intermediate_size": 4 * text_width,
            "projection_dim": text_width,
            "num_hidden_layers": text_layers,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "hidden_act": "gelu",
        },
        geometry_encoder_config={
            **head,
            "num_layers": 1,
            "intermediate_size": 3 * width,
            "dropout": 0.0,
            "roi_size": 2,
        },
        detr_encoder_config={**head, "num_layers": layers, "intermediate_size": 3 * width, "dropout": 0.0},
        detr_decoder_config={
            **head,
            "num_layers": layers if decoder_layers is None else decoder_layers,
            "intermediate_size": 3 * width,
            "dropout": 0.0,
            "num_queries": queries,
        },
        mask_decoder_config={**head, "num_upsampling_stages": 2},
    )


def tiny_sam3(config: Sam3Config | None = None) -> Sam3Model:
    """A tiny SAM3 whose initial weights train: Xavier, and queries that start on a grid looking into their boxes."""
    model = Sam3Model(config or tiny_config())
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding) and "token_embedding" in name:
            nn.init.normal_(module.weight, std=0.3)
        elif isinstance(module, nn.Embedding) and "position_embedding" in name:
            nn.init.normal_(module.weight, std=0.1)
    decoder: Any = model.detr_decoder
    with torch.no_grad():
        side = math.ceil(decoder.query_embed.num_embeddings**0.5)
        rows = math.ceil(decoder.query_embed.num_embeddings / side)
        centres = ((torch.arange(side) + 0.5) / side, (torch.arange(rows) + 0.5) / rows)
        grid = torch.stack(torch.meshgrid(*centres, indexing="xy"), -1).flatten(0, 1)
        boxes = torch.cat([grid, torch.full_like(grid, 0.3)], 1)[: decoder.query_embed.num_embeddings]
        decoder.reference_points.weight[: len(boxes)] = torch.logit(boxes)
        decoder.query_embed.weight.copy_(torch.randn(1, decoder.query_embed.embedding_dim) * 0.1)
        for mlp in (decoder.box_rpb_embed_x, decoder.box_rpb_embed_y):
            _look_inside(mlp)
        nn.init.zeros_(decoder.box_head.layer3.weight)
    return model


def _look_inside(mlp: nn.Module) -> None:
    # The bias sees signed log distances (to the low and to the high edge). relu(-low) + relu(high) is positive
    # outside the box only, so a negative last layer turns attention away from there.
    first, last = [m for m in mlp.modules() if isinstance(m, nn.Linear)]
    first.weight.mul_(0.1)
    first.weight[0], first.weight[1] = torch.tensor([-1.0, 0.0]), torch.tensor([0.0, 1.0])
    first.bias.zero_()
    last.weight.mul_(0.1)
    steepness = torch.tensor([4.0, 8.0, 8.0, 12.0])  # a head each looks more or less closely
    last.weight[:, :2] = -steepness[torch.arange(len(last.weight)) % 4, None]


@dataclass(frozen=True)
class PhraseOutputs:
    """Detections for N phrases, Q queries, K decoder layers, masks of h x w.

    Attributes:
        logits: Score of each query before the sigmoid, (K, N, Q).
        boxes: cx, cy, w, h in 0..1, (K, N, Q, 4); from the last refinement of each layer.
        presence: Whether the phrase means anything, before the sigmoid, (K, N).
        masks: Mask logits of the last layer, (M, Q, h, w), M = N unless fewer were asked for.
        semantic: Logits of the union of all meant pixels, (M, h, w).
        text: Text features, (N, L, D).
        cells: Vision features of the level that the DETR reads, (B, D, h/4, w/4).
        encoded: Image tokens after each layer of the DETR encoder, (N, h/4 * w/4, D) each.
    """

    logits: Float[Tensor, "k n q"]
    boxes: Float[Tensor, "k n q 4"]
    presence: Float[Tensor, "k n"]
    masks: Float[Tensor, "m q h w"]
    semantic: Float[Tensor, "m h w"]
    text: Float[Tensor, "n l d"]
    cells: Float[Tensor, "b d y x"]
    encoded: Sequence[Float[Tensor, "n p d"]]


def forward_phrases(
    model: Sam3Model,
    pixels: Float[Tensor, "b 3 s s"],
    image: Int64[Tensor, " n"],
    ids: Int64[Tensor, "n l"],
    mask: Bool[Tensor, "n l"],
    masks_for: Int64[Tensor, " m"] | None = None,
) -> PhraseOutputs:
    """Detects what phrases mean in their images; equal to `Sam3Model.forward` with one ignored box.

    Args:
        model: The SAM3.
        pixels: Normalised images, (B, 3, S, S).
        image: Which image each phrase is about, (N,).
        ids: Token ids of the phrases, (N, L).
        mask: Valid tokens, (N, L).
        masks_for: The phrases whose masks are wanted, (M,); all by default. Masks are most of the cost.

    Returns:
        The detections.
    """
    text, levels, places = encode_both(model, pixels, ids, mask)
    token = geometry_token(model, levels[-1], places[-1])[image]
    prompt = torch.cat([text, token], 1)
    valid = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
    encoded = model.detr_encoder(
        vision_features=[levels[-1][image]],
        text_features=prompt,
        vision_pos_embeds=[places[-1].expand_as(levels[-1])[image]],
        text_mask=valid,
        output_hidden_states=True,
    )
    tokens = encoded.last_hidden_state
    decoded = decode(model, tokens, encoded.pos_embeds_flattened, encoded.spatial_shapes, prompt, valid)
    chosen = slice(None) if masks_for is None else masks_for
    masks = model.mask_decoder(
        decoder_queries=decoded.intermediate_hidden_states[-1][chosen],
        backbone_features=[level[image[chosen]] for level in levels],
        encoder_hidden_states=tokens[chosen],
        prompt_features=prompt[chosen],
        prompt_mask=valid[chosen],
    )
    queries = box_and_score_heads(model, decoded, prompt, valid)  # after the masks: gradients are summed in this order
    return PhraseOutputs(
        logits=queries.logits,
        boxes=queries.boxes,
        presence=queries.presence,
        masks=masks.pred_masks,
        semantic=masks.semantic_seg.squeeze(1),
        text=text,
        cells=levels[-1],
        encoded=encoded.hidden_states[-len(model.detr_encoder.layers) :],
    )


def encode_both(
    model: Sam3Model, pixels: Float[Tensor, "b 3 s s"], ids: Int64[Tensor, "n l"], mask: Bool[Tensor, "n l"]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Text features (N, L, D), and of the vision levels the features and the position encodings."""
    vision: Any = model.vision_encoder(pixels)
    encoded: Any = model.get_text_features(input_ids=cast(Any, ids), attention_mask=mask.long())
    return encoded.pooler_output, list(vision.fpn_hidden_states[:-1]), list(vision.fpn_position_encoding[:-1])
