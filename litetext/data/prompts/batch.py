"""PromptBatch: the prompts of one step, with what is known of them before they reach a device."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_ids

from litetext.data.features.store import FeatureStore
from litetext.tokenizer import TokenBatch


class PromptBatch(NamedTuple):
    """Prompts of about equal length; B prompts, C of which have a permutation that differs, L tokens, D features.

    Attributes:
        index: Each prompt's number in `PromptDataModule.prompts`, (B,).
        tokens: The prompts, (B, L).
        changed: Positions in this batch of the prompts whose permutation differs from them, (C,).
        permuted: Those permutations, (C, L). One-word prompts have none, and would add nothing to the loss.
        features: Teacher features, (B, L, D) half precision, zeros at padding; None until `with_features` adds them,
            and when the teacher runs live.
        permuted_features: Teacher features of the permutations, (C, L, D); for held-out prompts only.
        permuted_index: Number of each permutation in `PromptDataModule.feature_rows`, (C,); for held-out prompts only.
        valid: Positions of the valid tokens in the prompts, (B, L) laid flat, which need not be read back from a
            device then.
        permuted_valid: The same of the permutations, (C, L) laid flat.
    """

    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    tokens: TokenBatch
    changed: Tensor
    permuted: TokenBatch
    features: Tensor | None = None
    permuted_features: Tensor | None = None
    permuted_index: Tensor | None = None
    valid: Tensor | None = None
    permuted_valid: Tensor | None = None

    @property
    def all_valid(self) -> Tensor | None:
        """Positions of the valid tokens in the prompts and then the permutations, (B + C, L) laid flat."""
        if self.valid is None or self.permuted_valid is None:
            return None
        return torch.cat([self.valid, self.permuted_valid + self.tokens.ids.numel()])

    def widened(self, length: int) -> "PromptBatch":
        """The batch with padding up to `length` tokens, for students that count padding as words."""
        more = length - self.tokens.ids.shape[1]
        if more <= 0:
            return self
        tokens, permuted = (TokenBatch(pad_ids(t.ids, (0, more)), t.lengths) for t in (self.tokens, self.permuted))
        valid, moved = (part.mask.flatten().nonzero().squeeze(1) for part in (tokens, permuted))
        return self._replace(tokens=tokens, permuted=permuted, valid=valid, permuted_valid=moved)

    def with_features(self, store: FeatureStore) -> "PromptBatch":
        """The batch with the teacher's features from a store of `PromptDataModule.feature_rows`."""
        length, moved = self.tokens.ids.shape[1], self.permuted_index
        return self._replace(
            features=store.padded(self.index, length),
            permuted_features=None if moved is None else store.padded(moved, length),
        )
