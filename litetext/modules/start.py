"""Where a student starts: its token table from the teacher's, its bias from the teacher's mean feature.

`recipe: paper` starts at random, as the paper does. `recipe: litetext` takes what the teacher knows of single tokens:
the leading singular directions of its token table, tokens weighed by the root of how often the corpus has them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from litetext.data.prompts.datamodule import PromptDataModule
from litetext.models.text.static import StaticText
from litetext.models.text.student import Student
from litetext.modules.teacher import Teacher

RecipeName = Literal["paper", "litetext"]
_SCALE = 0.5
"""Root mean square of a started token's values: so large that the first steps of AdamW do not overwrite it."""
_SAMPLED = 20_000
"""Prompts over which the teacher's mean feature is taken."""

Features = Callable[[Sequence[int]], Iterator[Tensor]]
"""The teacher's features of some prompts, by their numbers: (n_i, D) each."""


@dataclass(frozen=True)
class Recipe:
    """What a recipe decides of a distillation.

    Attributes:
        token_start: Where the token table starts.
        bias_start: Where the projector's bias starts.
        mse_weight: Weight of the MSE.
    """

    token_start: Literal["random", "teacher"]
    bias_start: Literal["zero", "teacher"]
    mse_weight: float


def resolve(name: RecipeName, **given: Any) -> Recipe:
    """A recipe, in which the options that are not None stand above it."""
    return replace(RECIPES[name], **{key: value for key, value in given.items() if value is not None})


RECIPES: dict[str, Recipe] = {
    "paper": Recipe("random", "zero", 1.0),
    "litetext": Recipe("teacher", "teacher", 4.0),
}
"""Recipes by name; options that are given themselves stand above them."""


def start(module: Any, teacher: Teacher) -> None:
    """Starts a module's student from its teacher, as far as the recipe says; says what was done.

    Args:
        module: In setup, its features stored or its teacher live.
        teacher: Who teaches.
    """
    student, data, recipe = module.student, module.prompts, module.recipe
    if not isinstance(student, StaticText) and recipe.token_start == "random" and recipe.bias_start == "zero":
        return
    store, most, notes = module.store, module.teacher_batch_tokens, []

    def features(prompts: Sequence[int]) -> Iterator[Tensor]:
        if store is not None:
            yield from (torch.from_numpy(store[i]) for i in prompts)
            return
        yield from encoded([data.rows[i] for i in prompts])

    def encoded(rows: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        for first in range(0, len(rows), 1024):
            yield from teacher.load(module.teacher_fingerprint).encode_tokens(rows[first : first + 1024], most)

    if isinstance(student, StaticText):
        first = len(data.feature_rows())

        def alone() -> Iterator[Tensor]:
            rows = absent_tokens(student, data)[1]
            return features(range(first, first + len(rows))) if store is not None else encoded(rows)

        rank_zero_info(fill_static(student, data, features, alone))
        return
    if recipe.token_start == "teacher":
        counts = np.bincount(
            np.concatenate([data.rows[i] for i in data.train.tolist()]), minlength=student.config["vocab_size"]
        )
        table = teacher.load(module.teacher_fingerprint).token_vectors()[: len(counts)]  # some are padded to more rows
        kept = start_tokens(student, table, counts)
        notes.append(f"token table from the teacher's ({100 * kept:.1f}% of its variance)")
    if recipe.bias_start == "teacher":
        projector: Any = student.projector
        with torch.no_grad():
            projector.bias.copy_(mean_feature(features, data.train.tolist(), student.width))
        notes.append("bias from its mean feature")
    rank_zero_info(f"the student starts from its teacher: {', '.join(notes)}")


def directions(table: Tensor, weight: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The leading singular directions of a table around its weighed mean.

    Args:
        table: Rows (V, D).
        weight: Of each row, (V,); not all 0.
        rank: How many, at most D.

    Returns:
        The directions (D, rank), the mean (D,), and the share of the weighed variance that they hold.
    """
    weight = (weight / weight.sum()).double()
    rows = table.double()
    mean = weight @ rows
    spread = (rows - mean) * weight.sqrt()[:, None]
    values, vectors = torch.linalg.eigh(spread.T @ spread)  # ascending
    chosen = vectors.flip(1)[:, :rank]
    sign = torch.where(chosen.abs().amax(0) == chosen.amax(0), 1.0, -1.0)  # one of two, on any machine
    return (chosen * sign).float(), mean.float(), float(values.flip(0)[:rank].sum() / values.sum().clamp_min(1e-30))


@torch.no_grad()
def start_tokens(student: Student, table: Tensor, counts: np.ndarray) -> float:
    """Gives a student's token table the teacher's, as far as its size goes.

    Args:
        student: Its token table takes the leading directions; the matrix that lifts them, if there is one, stays.
        table: The teacher's token vectors, (V, D).
        counts: Occurrences of each token in the training prompts, (V,).

    Returns:
        The share of the table's variance that was kept, tokens weighed by the root of their counts.

    Raises:
        ValueError: If the tables do not have the same tokens, or the student's was loaded from a file.
    """
    token: nn.Embedding = student.embedding.token
    if len(table) != len(token.weight):
        raise ValueError(
            f"the teacher's token table has {len(table)} rows and the student's {len(token.weight)}; give both the "
            "same vocabulary, or model.token_start random"
        )
    if getattr(student, "load_report", None) is not None:
        raise ValueError(
            "model.student.init_args.pretrained brings a token table, and the recipe takes the teacher's; leave one "
            "of them out (model.token_start random)"
        )
    rank = min(token.weight.shape[1], table.shape[1])
    weight = torch.from_numpy(counts).double().sqrt()
    axes, mean, kept = directions(table, weight, rank)
    rows = (table - mean) @ axes
    size = ((rows.square().mean(1).double() * weight).sum() / weight.sum()).sqrt().clamp_min(1e-12)
    nn.init.normal_(token.weight, std=0.02)
    token.weight[:, :rank] = rows * (_SCALE / float(size))
    lift = student.embedding.lift
    if isinstance(lift, nn.Linear):  # axes of the table stay apart: columns of one length at right angles
        nn.init.orthogonal_(lift.weight, gain=max(1.0, (lift.out_features / lift.in_features) ** 0.5))
    return kept


@torch.no_grad()
def mean_feature(features: Features, prompts: Sequence[int], width: int) -> Tensor:
    """Mean of the teacher's token features over some prompts, at most 20,000 of them, evenly drawn; (D,)."""
    chosen = prompts if len(prompts) <= _SAMPLED else [prompts[k * len(prompts) // _SAMPLED] for k in range(_SAMPLED)]
    total, count = torch.zeros(width, dtype=torch.float64), 0
    for rows in features(chosen):
        total += rows.double().sum(0)
        count += len(rows)
    return (total / max(1, count)).float()


def absent_tokens(student: StaticText, data: PromptDataModule) -> tuple[list[int], list[list[int]]]:
    """Tokens that no training prompt holds, and prompts of each of them alone.

    Returns:
        The ids, and for each a token row: what the tokenizer puts around an empty prompt, with the id behind its start.
    """
    present = set().union(*(data.rows[i] for i in data.train.tolist()))
    frame = data.tokenizer.encode([""])[0]
    place = _place(frame)
    absent = [number for number in range(student.config["vocab_size"]) if number not in present]
    return absent, [[*frame[:place], number, *frame[place:]] for number in absent]


def _place(frame: Sequence[int]) -> int:
    return min(1, max(0, len(frame) - 1))


@torch.no_grad()
def fill_static(
    student: StaticText, data: PromptDataModule, features: Features, alone: Callable[[], Iterator[Tensor]]
) -> str:
    """Fills a static student: for each token the mean of the teacher's features at it.

    A token that the prompts do not hold gets the teacher's feature of a prompt of this token alone.

    Args:
        student: The static student.
        data: Whose training prompts count.
        features: The teacher's features of prompts.
        alone: Those of the rows of `absent_tokens`, one after the other.

    Returns:
        What was done, in words.
    """
    size, width = student.config["vocab_size"], student.width
    total, counts = torch.zeros(size, width, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    train = data.train.tolist()
    for number, encoded in zip(train, features(train), strict=True):
        ids = torch.tensor(data.rows[number])
        total.index_add_(0, ids, encoded.double())
        counts.index_add_(0, ids, torch.ones(len(ids), dtype=torch.float64))
    table = (total / counts.clamp_min(1)[:, None]).float()
    place = _place(data.tokenizer.encode([""])[0])
    absent = absent_tokens(student, data)[0]
    for number, encoded in zip(absent, alone(), strict=True):
        table[number] = encoded[place].float()
    kept, embedding = 1.0, student.embedding
    if student.config["rank"]:
        axes, mean, kept = directions(table, counts.sqrt() + 1e-3, student.config["rank"])
        embedding.token.weight.copy_((table - mean) @ axes)
        embedding.lift.weight.copy_(axes)
        embedding.bias.copy_(mean)
    else:
        embedding.token.weight.copy_(table)
        embedding.bias.zero_()
    return (
        f"static table: means over {int(counts.sum()):,} tokens for {size - len(absent):,} ids, {len(absent):,} ids "
        f"alone; {100 * kept:.1f}% of its variance kept"
    )
