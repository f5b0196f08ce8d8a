"""How many phrases go through a model together in a given memory."""

from typing import Any

from litetext.models.sam3.image import Sam3Image


def sam3_phrase_bytes(sam3: Sam3Image) -> int:
    """Memory that one more phrase in a chunk takes at its peak, beside weights, vision features and masks found.

    With P image tokens of width D, Q queries, A attention heads, an inner width F and a finest level of S pixels: eight
    rows of every token, and the largest of what does not live at the same time, in numbers of the model's type

        8 P D + max(S (2 D + max(D, Q)), 3 Q P A, 2 P F)

    that is the pixel decoder with the masks, the decoder's position bias, and the encoder's feed-forward layer. That is
    5 to 16% above what torch's profiler counts on the CPU for four sizes; attention is taken to be fused.

    Args:
        sam3: The segmenter.
    """
    config: Any = sam3.model.config
    tower = config.vision_config.backbone_config
    tokens = (sam3.size // tower.patch_size) ** 2
    pixels = tokens * max(config.vision_config.scale_factors) ** 2
    queries, heads = config.detr_decoder_config.num_queries, config.detr_decoder_config.num_attention_heads
    inner = max(config.detr_encoder_config.intermediate_size, config.detr_decoder_config.intermediate_size)
    parts = (
        pixels * (2 * sam3.width + max(sam3.width, queries)),
        3 * queries * tokens * heads,
        2 * tokens * inner,
    )
    return int((8 * tokens * sam3.width + max(parts)) * sam3.dtype.itemsize)


def phrases_at_once(memory_gb: float, phrase_bytes: int) -> int:
    """Phrases whose estimated memory fits, at least one.

    Args:
        memory_gb: Memory for them, in 10^9 bytes.
        phrase_bytes: Estimate of one.
    """
    return max(1, int(memory_gb * 1e9 / phrase_bytes))
