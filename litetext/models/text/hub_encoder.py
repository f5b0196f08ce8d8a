"""Text encoders of transformers as teachers: the towers of `hf_towers` behind the interface of every text encoder."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from litetext.models.text.encoder import TextEncoder
from litetext.models.text.hf_towers import HubTower, same_length

TOKENS_PER_BATCH = 2048


class HubTextEncoder(TextEncoder):
    """A text tower of transformers, frozen and always in eval mode; its features are the last hidden states.

    No feature depends on padding: prompts of one length go through the tower together.

    Args:
        tower: The tower with its tokenizer.
    """

    def __init__(self, tower: HubTower) -> None:
        super().__init__()
        self.model = tower.model
        self.run, self.kind, self.family = tower.run, tower.kind, tower.family
        self.context_length, self.width = tower.context_length, tower.width
        self.vocab_size, self.parameters_of_text = tower.vocab_size, tower.parameters
        self.reads = tower.carried_tokenizer()
        about: Any = tower.model.config
        self.config: dict[str, Any] = {"kind": tower.kind, "width": tower.width, "transformers": about.to_dict()}
        self._fingerprint: str | None = None
        self.requires_grad_(False).eval()

    def token_vectors(self) -> Float[Tensor, "v d"]:
        """What stands for each token of its tokenizer before positions are added, float32 (V, D)."""
        table: Tensor = self.model.get_input_embeddings().weight  # type: ignore[operator,union-attr]
        return table.detach().float().cpu()[: self.reads.vocab_size if self.reads is not None else None]

    def position_vectors(self) -> None:
        """None: its positions are added in another space at times, and no student starts from them."""
        return None

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
            features[members, :length] = self.run(ids[members, :length])
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
        for n, row in enumerate(rows):
            if not 0 < len(row) <= self.context_length:
                raise ValueError(f"prompt {n} has {len(row)} tokens; 1 to {self.context_length} can be encoded")
            if max(row) >= self.vocab_size:
                raise ValueError(
                    f"prompt {n} has token id {max(row)}, and the teacher's token table {self.vocab_size} rows; give "
                    "the tokenizer files that belong to these weights"
                )
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        features: list[Tensor] = [torch.empty(0)] * len(rows)
        for members in same_length(rows, self.context_length if self.family == "siglip" else None, tokens_per_batch):
            ids = torch.tensor([rows[n] for n in members], dtype=torch.int64, device=device)
            for n, encoded in zip(members, self.run(ids).cpu(), strict=True):
                features[n] = encoded.clone()
        return features
