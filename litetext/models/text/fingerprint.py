"""Which model this is: a hash of what is said about it and of every weight."""

import hashlib
import json
from typing import Any

import torch
from torch import nn

from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.teacher import Sam3TextEncoder

_ORIGIN = ("preset",)
"""Options of a student that only stand for others."""


def digest(identity: Any, module: nn.Module, about: str) -> None:
    """Takes a model into a hash: what is said about it, and every weight."""
    identity.update(about.encode())
    for key, tensor in sorted(module.state_dict().items()):
        identity.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        identity.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())


def fingerprint(encoder: Sam3TextEncoder | MobileClipText) -> str:
    """Hash of all that decides what a text encoder makes of tokens: its configuration and its weights.

    Args:
        encoder: The teacher's, or a student.

    Returns:
        32 hexadecimal digits.
    """
    if isinstance(encoder, Sam3TextEncoder):
        return encoder.fingerprint
    config = {key: value for key, value in encoder.config.items() if key not in _ORIGIN}
    identity = hashlib.blake2b(digest_size=16)
    digest(identity, encoder, json.dumps(config, sort_keys=True, default=str))
    return identity.hexdigest()
