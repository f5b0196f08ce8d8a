"""Text encoders of transformers, those of other models than SAM3, with the tokenizers that they were trained with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from litetext.models.hub import explained, load_pretrained, quiet
from litetext.models.text.encoder import TextEncoder
from litetext.models.text.hf_towers import (
    FAMILIES,
    TOKENS_PER_BATCH,
    carried,
    loader,
    open_tokenizer,
    phrase_blocks,
    positions,
    same_length,
)


class HubTextEncoder(TextEncoder):
    """A text tower of transformers, frozen and always in eval mode.

    Its features are the last hidden states: what the model's own projection, and its pooling, start from. No feature
    depends on padding: prompts of one length go through the tower together (`litetext.models.text.hf_towers`).

    Args:
        model: The text tower.
        tokenizer: Its tokenizer, of transformers.
        kind: Model type by config.json, one of `FAMILIES`.
        name: What it is called.
        longest: Most tokens that the model around it passes on; None if it sets no limit of its own.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, kind: str, name: str, longest: int | None = None) -> None:
        super().__init__()
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # type: ignore[assignment]  # no token feature comes from it, and many files lack it
        self.model, self.kind, self.name, self.family = model, kind, name, FAMILIES[kind]
        about: Any = model.config
        self.config: dict[str, Any] = {"kind": kind, "width": about.hidden_size, "transformers": about.to_dict()}
        self.width: int = about.hidden_size
        table = positions(model)
        rows = about.max_position_embeddings if table is None else len(table)
        limits = (rows, longest, tokenizer.model_max_length)  # the last is 1e30 where the tokenizer sets none
        self.context_length = int(min(n for n in limits if n is not None))
        self.reads = carried(tokenizer, kind, name)
        self._padding = int(next(i for i in (tokenizer.pad_token_id, about.pad_token_id, 0) if i is not None))
        self._fingerprint: str | None = None
        self.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(cls, folder: Path, kind: str, name: str) -> "HubTextEncoder":
        """Loads the text side of a folder, in float32, and nothing else of it.

        Args:
            folder: A folder of transformers with config.json, weights and tokenizer files.
            kind: Its model type, one of `FAMILIES`.
            name: What the user calls it.

        Raises:
            ValueError: If weights or tokenizer are missing or cannot be read.
        """
        import transformers

        options: dict[str, Any] = {}
        with quiet():
            config = explained(transformers.AutoConfig.from_pretrained, folder, kind, trust_remote_code=False)
            longest = getattr(config, "max_text_len", None)
            if FAMILIES[kind] == "dino":
                options["key_mapping"] = {r"^(model\.)?text_backbone\.": ""}
            text = config.text_config if FAMILIES[kind] == "dino" else config.get_text_config()
            options |= {"config": text, "dtype": torch.float32, "trust_remote_code": False}
            model = load_pretrained(loader(text.model_type), folder, kind, ("pooler.",), **options)
        return cls(model, open_tokenizer(folder), kind, name, longest)

    @property
    def vocab_size(self) -> int:
        """Rows of the token table."""
        return len(self._tokens)

    @property
    def _tokens(self) -> Tensor:
        table: nn.Embedding = self.model.get_input_embeddings()  # type: ignore[operator]
        return table.weight.detach()

    def token_vectors(self) -> Float[Tensor, "v d"]:
        """What stands for each token of its table before positions are added, float32 (V, D)."""
        return self._tokens.float().cpu()

    def position_vectors(self) -> Float[Tensor, "p d"] | None:
        """What is added for each position, float32 (P, D); None where positions are relative or rotary."""
        table = positions(self.model)
        return None if table is None else table.float().cpu()

    def train(self, mode: bool = True) -> "HubTextEncoder":
        """Stays in eval mode: a teacher does not learn."""
        return super().train(False)

    @property
    def fingerprint(self) -> str:
        """Hash of configuration, tokenizer and every weight; computed once."""
        if self._fingerprint is None:
            about = {k: v for k, v in self.config["transformers"].items() if k not in ("_name_or_path", "dtype")}
            about = {k: v for k, v in about.items() if "version" not in k}
            reads = self.reads.cut_to(self.context_length).fingerprint if self.reads is not None else ""
            self._fingerprint = self.digest_of(json.dumps([self.kind, about, reads], sort_keys=True, default=str))
        return self._fingerprint

    @torch.no_grad()
    def forward(self, ids: Int64[Tensor, "b l"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b l w"]:
        """Features of every token.

        Args:
            ids: Token ids, padded at the end.
            lengths: Valid tokens of each prompt.

        Returns:
            Features (B, L, width), zeros at padding.
        """
        features = torch.zeros(*ids.shape, self.width, device=ids.device)
        for length in lengths.unique().tolist():
            members = (lengths == length).nonzero().squeeze(1)
            features[members, :length] = self._run(ids[members, :length])
        return features

    @torch.no_grad()
    def encode_tokens(
        self, rows: Sequence[Sequence[int]], tokens_per_batch: int = TOKENS_PER_BATCH
    ) -> list[Float[Tensor, "n w"]]:
        """Features of tokenized prompts, float32 (n, width) on the CPU, in the order given.

        Args:
            rows: Token ids of each prompt, with what the tokenizer puts before and behind them.
            tokens_per_batch: Most tokens in one batch; bounds the memory.

        Raises:
            ValueError: If a prompt has no tokens or more than `context_length`, or a token has no row.
        """
        known = self.vocab_size
        for n, row in enumerate(rows):
            if not 0 < len(row) <= self.context_length:
                raise ValueError(f"prompt {n} has {len(row)} tokens; 1 to {self.context_length} can be encoded")
            if max(row) >= known:
                raise ValueError(
                    f"prompt {n} has token id {max(row)}, and the teacher's token table {known} rows; give "
                    "the tokenizer files that belong to these weights"
                )
        features: list[Tensor] = [torch.empty(0)] * len(rows)
        for members in same_length(rows, self.context_length if self.family == "siglip" else None, tokens_per_batch):
            ids = torch.tensor([rows[n] for n in members], dtype=torch.int64, device=self._device)
            for n, encoded in zip(members, self._run(ids).cpu(), strict=True):
                features[n] = encoded.clone()
        return features

    def _run(self, ids: Int64[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Last hidden states of token rows of one length, float32, on the model's device.

        Args:
            ids: Token ids without padding, (B, L).
        """
        length = ids.shape[1]
        given: dict[str, Tensor] = {}
        if self.family == "siglip":
            ids = torch.nn.functional.pad(ids, (0, self.context_length - length), value=self._padding)
        elif self.family == "dino":
            mask, places = phrase_blocks(ids)
            given = {"attention_mask": mask[:, None], "position_ids": places}
        return self.model(input_ids=ids, **given).last_hidden_state[:, :length].float()
