"""Whole SAM3 models without their text encoder, in every layout that holds one.

transformers' Sam3Model, Sam3VideoModel, Sam3LiteTextModel (its text encoder is a student), Meta's `sam3.pt`
    and `sam3.1_multiplex.pt`
"""

from pathlib import Path
from typing import Any

import torch
from transformers import Sam3Config, Sam3Model

from litetext.checkpoints.reading import open_state
from litetext.checkpoints.sam3 import read_without_text
from litetext.models.hub import explained, load_pretrained, without_bars

PARTS = ("geometry_encoder_config", "detr_encoder_config", "detr_decoder_config", "mask_decoder_config")
"""What a config of a whole SAM3 says beside vision and text."""


class _Textless(Sam3Model):
    """A SAM3 that never reads its text encoder: three quarters of a tiny one, and 354 million parameters."""

    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012  as transformers declares it
        *(Sam3Model._keys_to_ignore_on_load_unexpected or ()),
        r"text_encoder\.",
        r"text_projection\.",
    ]

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # from_pretrained builds without memory
        del self.text_encoder, self.text_projection


def load_detector(path: Path, dtype: torch.dtype) -> Sam3Model:
    """A SAM3's vision tower and detector.

    Args:
        path: A folder in transformers' layout, or Meta's file.
        dtype: Of the weights.

    Raises:
        ValueError: If it holds something else, or weights are missing or cannot be read.
    """
    if path.is_file():
        return _of_meta(path, dtype)
    if not (path / "config.json").is_file():
        raise ValueError(f"{path} is no SAM3 in transformers' layout: a folder with config.json is wanted")
    from transformers import AutoConfig

    config = explained(AutoConfig.from_pretrained, path, "SAM3")
    options = {}
    if config.model_type == "sam3_lite_text":  # all but the text encoder is a SAM3's, by the same names
        options["config"] = sam3_config(config)
    return load_pretrained(_Textless.from_pretrained, path, "SAM3", dtype=dtype, **options)


def sam3_config(config: Any) -> Sam3Config:
    """The config of a SAM3 with the sizes of a SAM3-LiteText's vision tower and detector.

    Raises:
        ValueError: If a part is missing.
    """
    if missing := [part for part in ("vision_config", *PARTS) if getattr(config, part, None) is None]:
        raise ValueError(f"a {config.model_type} is no whole SAM3: its config has no {missing[0]}")
    parts = {part: getattr(config, part).to_dict() for part in PARTS}
    for part in parts.values():
        part.pop("model_type", None)
    return Sam3Config(vision_config=config.vision_config.to_dict(), **parts)


def config_beside(path: Path) -> Any:
    """The config of Meta's file, which names no sizes: that of the `config.json` beside it, or the published SAM3's.

    Raises:
        ValueError: If the config beside it is of no whole SAM3.
    """
    from transformers import AutoConfig

    if not (path.parent / "config.json").is_file():
        return Sam3Config()
    config = explained(AutoConfig.from_pretrained, path.parent, "SAM3")
    return sam3_config(getattr(config, "detector_config", None) or config)


def _alike(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return found.shape == wanted.shape and found.is_floating_point() is wanted.is_floating_point()


def _of_meta(path: Path, dtype: torch.dtype) -> Sam3Model:
    config, state = config_beside(path), read_without_text(open_state(path))
    with torch.device("meta"):
        wanted = _Textless(config).state_dict()
    missing = [key for key in wanted if key not in state]
    wrong = [key for key in state if key not in wanted or not _alike(state[key], wanted[key])]
    if missing or wrong:
        raise ValueError(
            f"{path} is no whole SAM3 of the size of its config.json (without one: the published size): "
            f"{len(missing)} weights are missing and {len(wrong)} have another name, shape or type, such as "
            f"{(missing + wrong)[0]}"
        )
    with without_bars():
        return _Textless.from_pretrained(None, config=config, state_dict=state, dtype=dtype).eval()
