"""The teacher: SAM3's text encoder alone, a causal CLIP text transformer with a projection per token.

Being causal, a token's features depend on no later token, so prompts are encoded without padding. Its weights
are read without the vision encoder's. SAM 3: Carion et al. 2025; names: `litetext.checkpoints.text`.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from litetext.checkpoints.text import TextState, read_text_state, require_match
from litetext.models.hub import find_model
from litetext.models.text.encoder import TextEncoder
from litetext.models.text.transformer import Embedding, Packing, PrefixPacking, TransformerBlock

TOKENS_PER_BATCH = 2048
"""Enough for full speed on a CPU; the MLP's hidden layer then takes 32 MB at SAM3's size."""


class Sam3TextEncoder(TextEncoder):
    """SAM3's text encoder with its projection to the detector; frozen and always in eval mode.

    353,724,672 parameters by default, counting the pooled projection (`eot_projection`) that SAM3 never uses.
    Weights are random: use `from_pretrained` for those of a checkpoint, `random` for a seeded start.

    Args:
        vocab_size: rows of the token table.
        embed_width: size of a token vector inside the transformer.
        heads: attention heads.
        layers: transformer blocks.
        hidden: width of the MLPs.
        context_length: rows of the position table.
        eot_width: output size of the unused pooled projection.
        width: size of an output feature, the detector's width.
        activation: of the MLPs: exact GELU in SAM3, CLIP's `quick_gelu` in some small models.
        eps: of the LayerNorms.
    """

    def __init__(
        self,
        vocab_size: int = 49408,
        embed_width: int = 1024,
        heads: int = 16,
        layers: int = 24,
        hidden: int = 4096,
        context_length: int = 32,
        eot_width: int = 512,
        width: int = 256,
        activation: Literal["gelu", "quick_gelu"] = "gelu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if activation not in ("gelu", "quick_gelu"):
            raise ValueError(f"activation={activation!r} is unknown; choose gelu or quick_gelu.")
        self.config: dict[str, Any] = {
            "vocab_size": vocab_size,
            "embed_width": embed_width,
            "heads": heads,
            "layers": layers,
            "hidden": hidden,
            "context_length": context_length,
            "eot_width": eot_width,
            "width": width,
            "activation": activation,
            "eps": eps,
        }
        self.context_length, self.width = context_length, width
        self.embedding = Embedding(vocab_size, embed_width, context_length)
        self.blocks = nn.ModuleList(
            TransformerBlock(embed_width, heads, hidden, causal=True, activation=activation) for _ in range(layers)
        )
        self.final_norm = nn.LayerNorm(embed_width)
        self.eot_projection = nn.Parameter(torch.empty(embed_width, eot_width))
        self.projector = nn.Linear(embed_width, width)
        self.embedding.reset()
        for block in self.blocks:
            if isinstance(block, TransformerBlock):
                block.reset(layers)
        nn.init.normal_(self.eot_projection, std=embed_width**-0.5)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = eps
        self._fingerprint: str | None = None
        self.register_load_state_dict_post_hook(_forget_fingerprint)
        self.requires_grad_(False).eval()

    @classmethod
    def random(cls, seed: int, **overrides: Any) -> "Sam3TextEncoder":
        """An encoder with random weights that depend on the seed alone; `overrides`: the constructor's."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(**overrides)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], heads: int | None = None) -> "Sam3TextEncoder":
        """Loads the text encoder of a SAM3 checkpoint and nothing else of it.

        Args:
            name: a transformers folder of Sam3Model or Sam3VideoModel, a file in Meta's layout (`sam3.pt`) or
                in ours, or a hub id such as `facebook/sam3`. A path that exists never touches the hub.
            heads: attention heads, for a file that does not say: None means 64 channels a head, as in SAM3.

        Raises:
            FileNotFoundError: neither a path nor a model the hub gives out.
            ValueError: unreadable weights, or those of another kind of text encoder.
        """
        path = find_model(name)
        return cls.from_state(read_text_state(path), path, heads)

    @classmethod
    def from_state(cls, found: TextState, path: Path, heads: int | None = None) -> "Sam3TextEncoder":
        """Builds the encoder around weights that have been read; they are not copied.

        Args:
            found: What `read_text_state` read.
            path: Where it was read; the config.json of a folder says what the weights do not.
            heads: see `from_pretrained`.

        Raises:
            ValueError: weights of another kind of text encoder.
        """
        config = _config_from_weights(found.state, found.source)
        config["heads"] = heads or max(1, config["embed_width"] // 64)
        if path.is_dir():
            config |= _config_from_folder(path)
        with torch.device("meta"):
            encoder = cls(**config)
        require_match(encoder.state_dict(), found.state, found)
        encoder.load_state_dict(found.state, assign=True)
        return encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> "Sam3TextEncoder":
        """Stays in eval mode: a teacher does not learn."""
        return super().train(False)

    packs = True
    kind = "sam3"

    @torch.no_grad()
    def forward(
        self, ids: Int64[Tensor, "b l"], lengths: Int64[Tensor, " b"], valid: Int64[Tensor, " n"] | None = None
    ) -> Float[Tensor, "b l w"]:
        """Features of every token.

        Args:
            ids: token ids, padded at the end; L at most `context_length`.
            lengths: valid tokens of each prompt, start and end token included.
            valid: positions of the valid tokens in ids laid flat: knowing them saves a read from the device.

        Returns:
            Features (B, L, width), zeros at padding.

        Raises:
            ValueError: L exceeds the position table, or a length lies outside 1..L.
        """
        batch, length = self.embedding.shape(ids)
        return self._features(ids, Packing(lengths, batch, length, valid))

    def _features(self, ids: Tensor, packing: Packing) -> Tensor:
        rows = self.embedding(ids, packing)
        for block in self.blocks:
            rows = block(rows, packing)
        return packing.unpack(self.projector(self.final_norm(rows)))

    @torch.no_grad()  # not inference_mode: its tensors could not be targets of a loss
    def encode_tokens(
        self, rows: Sequence[Sequence[int]], tokens_per_batch: int = TOKENS_PER_BATCH
    ) -> list[Float[Tensor, "n w"]]:
        """Features of prompts without padding: one row for every distinct beginning of a batch's prompts.

        Args:
            rows: token ids of each prompt, start and end token included.
            tokens_per_batch: most tokens in one batch; bounds the memory.

        Returns:
            For each prompt, in the order given, float32 features (n, width) on the CPU.

        Raises:
            ValueError: a prompt has no tokens or more than `context_length`.
        """
        for index, row in enumerate(rows):
            if not 0 < len(row) <= self.context_length:
                raise ValueError(f"prompt {index} has {len(row)} tokens; 1 to {self.context_length} can be encoded.")
        features: list[Tensor] = [torch.empty(0)] * len(rows)
        device = self.projector.weight.device
        for members in _batches(rows, tokens_per_batch):
            lengths = [len(rows[index]) for index in members]
            ids = torch.zeros(len(members), max(lengths), dtype=torch.int64)
            for line, index in enumerate(members):
                ids[line, : lengths[line]] = torch.tensor(rows[index])
            packing = PrefixPacking(ids, torch.tensor(lengths), device)
            encoded = self._features(ids.to(device), packing).float().cpu()
            for line, index in enumerate(members):
                features[index] = encoded[line, : lengths[line]].clone()
        return features

    @property
    def fingerprint(self) -> str:
        """Hash of the configuration and of every weight; computed once (about a second at SAM3's size)."""
        if self._fingerprint is None:
            digest = hashlib.blake2b(json.dumps(self.config, sort_keys=True).encode(), digest_size=16)
            for key, tensor in sorted(self.state_dict().items()):
                digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def _batches(rows: Sequence[Sequence[int]], tokens: int) -> Iterator[list[int]]:
    """Prompt numbers, in batches of at most `tokens` tokens (or one prompt), alike ones together."""
    batch: list[int] = []
    held = 0
    for index in sorted(range(len(rows)), key=lambda index: (len(rows[index]), *rows[index])):
        if batch and held + len(rows[index]) > tokens:
            yield batch
            batch, held = [], 0
        batch.append(index)
        held += len(rows[index])
    if batch:
        yield batch


def _forget_fingerprint(encoder: Sam3TextEncoder, _: object) -> None:
    encoder._fingerprint = None


def _config_from_weights(state: dict[str, Tensor], source: str) -> dict[str, Any]:
    try:
        vocab_size, embed_width = state["embedding.token.weight"].shape
        return {
            "vocab_size": vocab_size,
            "embed_width": embed_width,
            "layers": 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks.")),
            "hidden": state["blocks.0.mlp.fc1.weight"].shape[0],
            "context_length": state["embedding.position"].shape[0],
            "eot_width": state["eot_projection"].shape[1],
            "width": state["projector.weight"].shape[0],
        }
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"{source}: is no text encoder of SAM3: cannot tell its size ({error}).") from error


def _config_from_folder(folder: Path) -> dict[str, Any]:
    """What the weights do not tell; read by transformers, which knows the defaults it left out on saving."""
    from transformers import AutoConfig  # slow to import, and needed here alone

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}/config.json: {str(error).splitlines()[0]}") from error
    text = getattr(getattr(config, "detector_config", config), "text_config", None)
    if text is None:
        raise ValueError(f"{folder}/config.json: describes a {config.model_type}, which has no SAM3 text encoder.")
    return {"heads": text.num_attention_heads, "activation": text.hidden_act, "eps": text.layer_norm_eps}
