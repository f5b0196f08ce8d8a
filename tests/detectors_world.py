"""Tiny zero-shot detectors with random weights, saved as transformers saves them, and their answers by hand."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def save_dino(folder: Path, mm: bool = False, seed: int = 0) -> Path:
    """Grounding DINO, or MM Grounding DINO as LLMDet uses it."""
    import transformers as tf

    torch.manual_seed(seed)
    # The model knows [CLS], [SEP], "." and "?" by their ids in BERT's vocabulary.
    known = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
    pieces = ["red", "blue", "big", "circle", "square", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    known |= {piece: 200 + i for i, piece in enumerate(pieces)}
    named = {number: piece for piece, number in known.items()}
    tokenizer = tf.BertTokenizerFast(vocab={named.get(i, f"[unused{i}]"): i for i in range(1030)}, do_lower_case=True)
    text = {"vocab_size": 1030, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    shared: dict[str, Any] = {
        "backbone_config": tf.SwinConfig(
            image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=2,
            out_features=["stage2", "stage3", "stage4"],
        ),
        "text_config": tf.BertConfig(**text, intermediate_size=32, max_position_embeddings=64),
        "num_queries": 12, "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_text_len": 32,
    }  # fmt: skip
    config = (tf.MMGroundingDinoConfig if mm else tf.GroundingDinoConfig)(**shared)
    model = (tf.MMGroundingDinoForObjectDetection if mm else tf.GroundingDinoForObjectDetection)(config)
    _shake(model)
    model.save_pretrained(folder)
    images = tf.GroundingDinoImageProcessor(size={"shortest_edge": 80, "longest_edge": 112})
    tf.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def save_owl(folder: Path, seed: int = 0) -> Path:
    """OWLv2."""
    import transformers as tf

    torch.manual_seed(seed)
    pieces = ["!", *LETTERS, *(f"{x}</w>" for x in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = tf.CLIPTokenizerFast(vocab=vocab, merges=[], pad_token="!")
    config = tf.Owlv2Config(
        text_config={
            "vocab_size": len(vocab), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 16, "bos_token_id": len(vocab) - 2,
            "eos_token_id": len(vocab) - 1,
        },
        vision_config={
            "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 48, "patch_size": 8,
        },
        projection_dim=16,
    )  # fmt: skip
    model = tf.Owlv2ForObjectDetection(config)
    _shake(model, 0.5)
    model.save_pretrained(folder)
    images = tf.Owlv2ImageProcessor(size={"height": 48, "width": 48})
    tf.Owlv2Processor(images, tokenizer).save_pretrained(folder)
    return folder


def _shake(model: torch.nn.Module, factor: float = 3.0) -> None:
    """Weights large enough that scores and boxes differ between queries and phrases."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(factor).add_(factor / 30 * torch.randn_like(parameter))


@cache
def _stock(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    return AutoProcessor.from_pretrained(folder), AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()


def by_hand(folder: Path, image: Tensor, text: str, threshold: float) -> tuple[Tensor, Tensor]:
    """Scores (k,) and boxes x, y, w, h in 0..1 (k, 4) of one phrase, as transformers' documentation does it."""
    processor, model = _stock(folder)
    height, width = image.shape[1:]
    owl = model.config.model_type == "owlv2"
    inputs = processor(images=image, text=[[text]], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    more = {} if owl else {"input_ids": inputs["input_ids"], "text_threshold": max(threshold, 0.0)}
    (result,) = processor.post_process_grounded_object_detection(
        outputs, threshold=threshold, target_sizes=[(height, width)], **more
    )
    corners = result["boxes"] / torch.tensor([width, height, width, height])
    return result["scores"], torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
