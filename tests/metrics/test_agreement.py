"""Agreement is what a double loop finds, however the prompts were split, repeated or spread over ranks."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from litetext.metrics.agreement import Agreement, nearest_neighbours, neighbour_agreement

NAMES = {"cosine", "pooled_cosine", "agreement", "drift", "teacher_drift"}
Prompts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def prompts(count: int, seed: int = 0) -> Prompts:
    """Arguments of `update` for prompts 0 to count - 1; every third has no permutation."""
    draw = torch.Generator().manual_seed(seed)
    features = [torch.randn(count, 6, generator=draw) for _ in range(4)]
    cosine = torch.rand(count, generator=draw)
    return (torch.arange(count), cosine, *features, torch.arange(count) % 3 > 0)  # type: ignore[return-value]


def part(values: Prompts, rows: Sequence[int]) -> Prompts:
    return tuple(value[torch.tensor(rows, dtype=torch.int64)] for value in values)  # type: ignore[return-value]


def measured(values: Prompts, *batches: Sequence[int]) -> dict[str, Tensor]:
    metric = Agreement()
    for rows in batches:
        metric.update(*part(values, rows))
    return metric.compute()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-6, atol=1e-6, msg=name)


# Against a double loop


def angle(a: Tensor, b: Tensor) -> float:
    return float((a.double() @ b.double()) / (a.double().norm() * b.double().norm()))


def brute(values: Prompts) -> dict[str, float]:
    _, cosine, student, teacher, student_permuted, teacher_permuted, permuted = values
    count = len(cosine)

    def nearest(features: Tensor, i: int) -> int:
        return max((j for j in range(count) if j != i), key=lambda j: angle(features[i], features[j]))

    moved = [i for i in range(count) if permuted[i]]
    return {
        "cosine": sum(cosine.tolist()) / count,
        "pooled_cosine": sum(angle(student[i], teacher[i]) for i in range(count)) / count,
        "agreement": sum(nearest(student, i) == nearest(teacher, i) for i in range(count)) / count,
        "drift": sum(1 - angle(student[i], student_permuted[i]) for i in moved) / len(moved),
        "teacher_drift": sum(1 - angle(teacher[i], teacher_permuted[i]) for i in moved) / len(moved),
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_values_are_those_of_a_double_loop(seed: int) -> None:
    values = list(prompts(23, seed))
    values[3] = values[2] + 0.4 * values[3]  # a student that follows, so that neighbours agree at times
    found, expected = measured(tuple(values), range(23)), brute(tuple(values))  # type: ignore[arg-type]
    assert 0 < expected["agreement"] < 1
    assert found.keys() == expected.keys() == NAMES
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, abs=1e-5), name


def test_neighbours_do_not_depend_on_the_chunk_nor_on_lengths_of_vectors() -> None:
    features = torch.randn(17, 5, generator=torch.Generator().manual_seed(1))
    expected = [
        max((j for j in range(17) if j != i), key=lambda j, i=i: angle(features[i], features[j])) for i in range(17)
    ]
    for chunk in (1, 4, 17, 100):
        assert nearest_neighbours(features, chunk).tolist() == expected
    scales = torch.rand(17, 1, generator=torch.Generator().manual_seed(2)) * 9 + 0.1
    assert nearest_neighbours(features * scales).tolist() == expected


def test_a_student_that_is_the_teacher_turned_agrees_fully() -> None:
    teacher = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3)))
    assert neighbour_agreement(teacher @ turn, teacher) == 1
    assert neighbour_agreement(teacher, teacher[:, :1].sign() * torch.ones(12, 6)) < 1


def test_ties_fall_alike_on_both_sides() -> None:
    # Equal prompts are each other's neighbours; a third copy is a tie, which student and teacher break the same way.
    base = torch.eye(4)[[0, 0, 1, 1, 1, 2]]
    assert nearest_neighbours(base)[:2].tolist() == [1, 0]
    assert neighbour_agreement(base * 3, base) == 1
    assert neighbour_agreement(torch.ones(5, 3), torch.ones(5, 3)) == 1


# Batches, repeats, ranks


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(14)), st.sets(st.integers(1, 13), max_size=5), st.lists(st.integers(0, 13), max_size=6))
def test_order_batches_and_repeats_change_nothing(order: list[int], cuts: set[int], again: list[int]) -> None:
    values = prompts(14)
    edges = [0, *sorted(cuts), 14]
    batches = [order[a:b] for a, b in pairwise(edges)]
    same(measured(values, *batches, *([again] if again else [])), measured(values, range(14)))


@pytest.mark.parametrize("shared", [0, 3])
def test_two_ranks_are_one(shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = prompts(15)
    ranks = [Agreement(), Agreement()]
    ranks[0].update(*part(values, range(0, 15, 2)))
    for rows in (range(1, 7, 2), range(7, 15, 2), range(shared)):  # another number of batches; a padded sampler
        if len(rows):
            ranks[1].update(*part(values, rows))
    states = [{name: torch.cat(getattr(rank, name)) for name in rank._defaults} for rank in ranks]
    for me, rank in enumerate(ranks):
        # What torchmetrics asks of the group is each rank's tensor of one state, in the states' order.
        names = iter(rank._defaults)

        def gather(mine: Tensor, group: object = None, names=names, me=me) -> list[Tensor]:
            name = next(names)
            torch.testing.assert_close(mine, states[me][name], equal_nan=True)
            return [state[name] for state in states]

        rank.sync(dist_sync_fn=gather, distributed_available=lambda: True)
        rank._to_sync = False  # synchronised by hand
        same(rank.compute(), measured(values, range(15)))


def test_reset_forgets_and_gathered_is_in_the_order_of_numbers() -> None:
    values = prompts(9)
    metric = Agreement()
    metric.update(*prompts(5, seed=9))
    metric.reset()
    metric.update(*part(values, [4, 8, 1, 4]))
    seen = metric.gathered()
    assert seen["index"].tolist() == [1, 4, 8]
    torch.testing.assert_close(seen["student"], values[2][[1, 4, 8]])


# Little to look at


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_seen_is_nothing_measured() -> None:
    metric = Agreement()
    assert metric.gathered() == {}
    found = metric.compute()
    assert found.keys() == NAMES
    assert all(value.isnan() for value in found.values())


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_prompts_have_no_choice_of_neighbour(count: int) -> None:
    found = measured(prompts(count), range(count))
    assert found["agreement"].isnan()
    assert found["cosine"].item() == pytest.approx(prompts(count)[1].mean().item())
    assert found["pooled_cosine"].isfinite()


def test_without_permutations_drift_is_not_measured() -> None:
    values = prompts(6)
    found = measured((*values[:6], torch.zeros(6, dtype=torch.bool)), range(6))
    assert found["drift"].isnan()
    assert found["teacher_drift"].isnan()
    assert measured(values, range(6))["drift"] > 0


def test_half_precision_is_measured_in_single() -> None:
    values = prompts(8)
    rough = tuple(value.half() if value.is_floating_point() else value for value in values)
    exact = tuple(value.float() if value.is_floating_point() else value for value in rough)
    same(measured(rough, range(8)), measured(exact, range(8)))  # type: ignore[arg-type]


def test_neighbours_are_looked_for_among_the_compared_prompts_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 40, 6, generator=draw)
    number, chosen = torch.arange(40), [3, 5, 8, 13, 21, 34]
    sampled, alone = Agreement(chosen), Agreement()
    none = torch.zeros(40, dtype=torch.bool)
    sampled.update(number, torch.zeros(40), student, teacher, student, teacher, none)
    alone.update(
        number[chosen], torch.zeros(6), student[chosen], teacher[chosen], student[chosen], teacher[chosen], none[:6]
    )
    assert sampled.compute()["agreement"] == alone.compute()["agreement"]
    assert sampled.compute()["pooled_cosine"] != alone.compute()["pooled_cosine"]
