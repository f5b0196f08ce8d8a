"""How closely a student follows its teacher on held-out prompts: cosine, neighbours, drift under permutation."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


def nearest_neighbours(features: Float[Tensor, "n d"], chunk: int = 1024) -> Int[Tensor, " n"]:
    """For each row, the other row with the highest cosine.

    Args:
        features: Pooled features, (N, D), N at least 2.
        chunk: Rows compared with all others at a time; bounds the memory to chunk x N.

    Returns:
        Row indices, (N,).
    """
    unit = normalize(features.float(), dim=-1)
    found = []
    for start in range(0, len(unit), chunk):
        similarity = unit[start : start + chunk] @ unit.T
        rows = torch.arange(len(similarity), device=unit.device)
        similarity[rows, rows + start] = -torch.inf
        found.append(similarity.argmax(1))
    return torch.cat(found)


def neighbour_agreement(student: Float[Tensor, "n d"], teacher: Float[Tensor, "n e"]) -> Tensor:
    """Share of prompts whose nearest other prompt is the same for the student as for the teacher.

    Args:
        student: Pooled student features, (N, D).
        teacher: Pooled teacher features, (N, E).

    Returns:
        A scalar in [0, 1]; NaN with fewer than 3 prompts, where there is nothing to choose.

    Examples:
        >>> teacher = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> neighbour_agreement(teacher * 2, teacher)  # lengths do not count
        tensor(1.)
    """
    if len(student) < 3:
        return torch.tensor(torch.nan)
    return (nearest_neighbours(student) == nearest_neighbours(teacher)).float().mean().cpu()


class Agreement(Metric):
    """Student against teacher on held-out prompts.

    States are gathered by concatenation, and a prompt that several ranks or a padded sampler saw counts once,
    so the values do not depend on batches or on the world size. `compute` returns

    - `cosine`: mean over prompts of the mean cosine over their valid tokens;
    - `pooled_cosine`: mean cosine of the features pooled over valid tokens;
    - `agreement`: share of prompts with the teacher's nearest neighbour (`neighbour_agreement`);
    - `drift`, `teacher_drift`: mean 1 - cosine between the pooled features of a prompt and of its attribute-noun
      permutation, over the prompts that have one.

    What is not defined is NaN: agreement of fewer than 3 prompts, drift without permutations, all of no prompts.

    Args:
        compared: Numbers of the prompts that `agreement` is about, each against the others of them; all by default.
            Its cost grows with the square of their number.
    """

    full_state_update = False
    index: list[Tensor]
    cosine: list[Tensor]
    student: list[Tensor]
    teacher: list[Tensor]
    drift: list[Tensor]
    teacher_drift: list[Tensor]

    def __init__(self, compared: Sequence[int] | None = None) -> None:
        super().__init__()
        self.compared = compared
        for name in ("index", "cosine", "student", "teacher", "drift", "teacher_drift"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self,
        index: Int[Tensor, " b"],
        cosine: Float[Tensor, " b"],
        student: Float[Tensor, "b d"],
        teacher: Float[Tensor, "b d"],
        student_permuted: Float[Tensor, "b d"],
        teacher_permuted: Float[Tensor, "b d"],
        permuted: Tensor,
    ) -> None:
        """Adds prompts.

        Args:
            index: Each prompt's number, by which repeated prompts are recognised, (B,).
            cosine: Mean cosine over the prompt's valid tokens, (B,).
            student: Pooled student features of the prompts, (B, D).
            teacher: Pooled teacher features of the prompts, (B, D).
            student_permuted: Pooled student features of the permutations, (B, D).
            teacher_permuted: Pooled teacher features of the permutations, (B, D).
            permuted: Whether the permutation differs from the prompt, (B,) bool.
        """
        self.index.append(index)
        self.cosine.append(cosine.float())
        self.student.append(student.float())
        self.teacher.append(teacher.float())
        nothing = torch.full_like(cosine, torch.nan, dtype=torch.float32)
        for state, plain, other in (
            (self.drift, student, student_permuted),
            (self.teacher_drift, teacher, teacher_permuted),
        ):
            distance = 1 - cosine_similarity(plain.float(), other.float(), dim=-1)
            state.append(torch.where(permuted, distance, nothing))

    def gathered(self) -> dict[str, Tensor]:
        """All states by name, each prompt once, in the order of their numbers; empty when nothing was seen."""
        if not len(self.index):
            return {}
        index = dim_zero_cat(self.index)
        order = torch.argsort(index, stable=True)
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = index[order][1:] != index[order][:-1]
        keep = order[first]
        names = ("index", "cosine", "student", "teacher", "drift", "teacher_drift")
        return {name: dim_zero_cat(getattr(self, name))[keep] for name in names}

    def compute(self) -> dict[str, Tensor]:
        """The values listed in the class docstring, as scalars."""
        seen = self.gathered()
        if not seen:
            names = ("cosine", "pooled_cosine", "agreement", "drift", "teacher_drift")
            return {name: torch.tensor(torch.nan) for name in names}
        pooled = cosine_similarity(seen["student"], seen["teacher"], dim=-1)
        student, teacher = seen["student"], seen["teacher"]
        if self.compared is not None:
            mine = torch.isin(seen["index"], torch.tensor(self.compared, device=seen["index"].device))
            student, teacher = student[mine], teacher[mine]
        return {
            "cosine": seen["cosine"].cpu().double().mean().float(),  # a device may have no float64
            "pooled_cosine": pooled.cpu().double().mean().float(),
            "agreement": neighbour_agreement(student, teacher),
            "drift": seen["drift"].nanmean(),
            "teacher_drift": seen["teacher_drift"].nanmean(),
        }
