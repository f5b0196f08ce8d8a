"""The distillation losses of SAM3-LiteText (paper equations 3 to 6), over the valid tokens of each prompt.

The reductions are those of the reference trainer: every prompt weighs the same, whatever its length.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mse(
    student: Float[Tensor, "b l d"], teacher: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"]
) -> Float[Tensor, " b"]:
    """Mean squared error over a prompt's valid tokens and all features (equation 3).

    Args:
        student: Student features, (B, L, D).
        teacher: Teacher features, (B, L, D).
        mask: Valid tokens, (B, L).

    Returns:
        One value a prompt, (B,); 0 for a prompt without valid tokens.
    """
    return _per_prompt((student - teacher).square().mean(-1), mask)


def masked_cosine(
    student: Float[Tensor, "b l d"], teacher: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"]
) -> Float[Tensor, " b"]:
    """One minus the cosine between student and teacher, mean over a prompt's valid tokens (equation 4).

    Args:
        student: Student features, (B, L, D).
        teacher: Teacher features, (B, L, D).
        mask: Valid tokens, (B, L).

    Returns:
        One value a prompt, (B,); 0 for a prompt without valid tokens.
    """
    return _per_prompt(1 - torch.cosine_similarity(student, teacher, dim=-1), mask)


def pool(features: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"] | None = None) -> Float[Tensor, "b d"]:
    """Mean of a prompt's token features.

    Args:
        features: Token features, (B, L, D).
        mask: Valid tokens, (B, L); without it padding is averaged too, as the reference trainer does.

    Returns:
        Pooled features, (B, D).
    """
    if mask is None:
        return features.mean(1)
    weight = mask.to(features.dtype).unsqueeze(-1)
    return (features * weight).sum(1) / weight.sum(1).clamp_min(1)


def consistency(pooled: Float[Tensor, "b d"], permuted: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """Mean squared difference of the pooled features of a prompt and of its permutation (equation 5).

    Gradients flow through both sides.

    Args:
        pooled: Pooled features of the prompts, (B, D).
        permuted: Pooled features of their permutations, (B, D).

    Returns:
        One value a prompt, (B,).
    """
    return (pooled - permuted).square().mean(-1)


def _per_prompt(values: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(values.dtype)
    # where, not a product: padding may hold anything, and 0 * inf is not 0
    return torch.where(mask, values, 0).sum(1) / weight.sum(1).clamp_min(1)
