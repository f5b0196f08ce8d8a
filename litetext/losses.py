"""The distillation losses of SAM3-LiteText, over the valid tokens of each prompt.

MSE is the paper's equation 4, cosine equation 5, consistency equation 6; their weighted sum is the total, equation 3.
The reductions are those of the reference trainer: every prompt weighs the same, whatever its length. The paper writes
equation 4 as a sum of squares; the reference takes their mean over features and tokens, and so do we.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mse(
    student: Float[Tensor, "b l d"], teacher: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"]
) -> Float[Tensor, " b"]:
    """Mean squared error over a prompt's valid tokens and all features (equation 4 as a mean).

    Args:
        student: Student features, (B, L, D).
        teacher: Teacher features, (B, L, D).
        mask: Valid tokens, (B, L).

    Returns:
        One value a prompt, (B,); 0 for a prompt without valid tokens.

    Examples:
        >>> student, teacher = torch.zeros(1, 3, 2), torch.full((1, 3, 2), 2.0)
        >>> masked_mse(student, teacher, torch.tensor([[True, True, False]]))
        tensor([4.])
    """
    return _per_prompt((student - teacher).square().mean(-1), mask)


def masked_cosine(
    student: Float[Tensor, "b l d"], teacher: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"]
) -> Float[Tensor, " b"]:
    """One minus the cosine between student and teacher, mean over a prompt's valid tokens (equation 5).

    Args:
        student: Student features, (B, L, D).
        teacher: Teacher features, (B, L, D).
        mask: Valid tokens, (B, L).

    Returns:
        One value a prompt, (B,); 0 for a prompt without valid tokens.

    Examples:
        >>> student, teacher = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[[3.0, 0.0], [5.0, 0.0]]])
        >>> masked_cosine(student, teacher, torch.tensor([[True, True]]))  # the same direction, and a right angle
        tensor([0.5000])
    """
    return _per_prompt(1 - torch.cosine_similarity(student, teacher, dim=-1), mask)


def pool(features: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"] | None = None) -> Float[Tensor, "b d"]:
    """Mean of a prompt's token features.

    Args:
        features: Token features, (B, L, D).
        mask: Valid tokens, (B, L); without it padding is averaged too, as the reference trainer does.

    Returns:
        Pooled features, (B, D).

    Examples:
        >>> features = torch.tensor([[[1.0], [3.0], [50.0]]])
        >>> pool(features, torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """
    if mask is None:
        return features.mean(1)
    weight = mask.to(features.dtype).unsqueeze(-1)
    return (features * weight).sum(1) / weight.sum(1).clamp_min(1)


def consistency(pooled: Float[Tensor, "b d"], permuted: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """Mean squared difference of the pooled features of a prompt and of its permutation (equation 6).

    Gradients flow through both sides.

    Args:
        pooled: Pooled features of the prompts, (B, D).
        permuted: Pooled features of their permutations, (B, D).

    Returns:
        One value a prompt, (B,).

    Examples:
        >>> consistency(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
        tensor([2.])
    """
    return (pooled - permuted).square().mean(-1)


def _per_prompt(values: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(values.dtype)
    # where, not a product: padding may hold anything, and 0 * inf is not 0
    return torch.where(mask, values, 0).sum(1) / weight.sum(1).clamp_min(1)
