"""The parts of SAM3's forward pass that training and inference share, composed from transformers' submodules.

The one below the other they give what `Sam3Model.forward` gives, with every decoder layer's output at hand and with
the geometry token that Meta's SAM3 always appends (`transformers` leaves it out when no box is given).
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from transformers import Sam3Model


class Queries(NamedTuple):
    """The decoder's outputs for N phrases: K layers, Q queries.

    Attributes:
        logits: Score of each query before the sigmoid, (K, N, Q).
        boxes: cx, cy, w, h in 0..1, (K, N, Q, 4); from the last refinement of each layer, in float32.
        presence: Whether the phrase means anything, before the sigmoid, (K, N).
    """

    logits: Float[Tensor, "k n q"]
    boxes: Float[Tensor, "k n q 4"]
    presence: Float[Tensor, "k n"]


def geometry_token(
    model: Sam3Model, features: Float[Tensor, "b d y x"], positions: Float[Tensor, "_ d y x"]
) -> Float[Tensor, "b 1 d"]:
    """The geometry encoder's token for an image without boxes.

    Args:
        model: The SAM3.
        features: The vision level that the DETR reads, (B, D, y, x).
        positions: Its position encoding, (B or 1, D, y, x).

    Returns:
        One token an image, (B, 1, D); it depends on no phrase.
    """
    encoder = model.geometry_encoder
    prompt = encoder.cls_embed.weight.unsqueeze(0).expand(len(features), -1, -1)
    prompt = encoder.prompt_layer_norm(encoder.final_proj(prompt))
    flat, where = (t.expand_as(features).flatten(2).transpose(1, 2) for t in (features, positions))
    for layer in encoder.layers:
        prompt = layer(prompt_feats=prompt, vision_feats=flat, vision_pos_encoding=where, prompt_mask=None)
    return encoder.output_layer_norm(prompt)


def decode(
    model: Sam3Model,
    tokens: Float[Tensor, "n p d"],
    positions: Float[Tensor, "_ p d"],
    shape: Int64[Tensor, "1 2"],
    prompt: Float[Tensor, "n l d"],
    valid: Bool[Tensor, "n l"],
) -> Any:
    """The DETR decoder.

    Args:
        model: The SAM3.
        tokens: Image tokens that the DETR encoder made of each phrase, (N, P, D).
        positions: Their position encoding, (N or 1, P, D).
        shape: Rows and columns of the tokens, (1, 2).
        prompt: Text features and what follows them, (N, L, D).
        valid: Which of those count, (N, L).

    Returns:
        What `transformers` gives: `intermediate_hidden_states` (K, N, Q, D) and what `box_and_score_heads` reads.
    """
    return model.detr_decoder(
        vision_features=tokens,
        text_features=prompt,
        vision_pos_encoding=positions,
        text_mask=valid,
        spatial_shapes=shape,
    )


def box_and_score_heads(
    model: Sam3Model, decoded: Any, prompt: Float[Tensor, "n l d"], valid: Bool[Tensor, "n l"]
) -> Queries:
    """Scores and boxes of what `decode` gave; the arguments are those that it had."""
    hidden = decoded.intermediate_hidden_states
    start = decoded.reference_boxes.float().clamp(0, 1)  # 8 bits of a box are 4 pixels of 1008
    eps = 1e-3
    inverse = torch.log(start.clamp(min=eps) / (1 - start).clamp(min=eps))
    logits = model.dot_product_scoring(decoder_hidden_states=hidden, text_features=prompt, text_mask=valid)
    return Queries(
        logits=logits.squeeze(-1),
        boxes=(inverse + model.detr_decoder.box_head(hidden).float()).sigmoid(),
        presence=decoded.presence_logits.squeeze(-1),
    )
