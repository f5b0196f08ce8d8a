"""The order of training: every prompt once, the same for the same seed and epoch, shared fairly, resumable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from litetext.data.buckets import BucketSampler, ResumableLoader, StepSampler

SIZES = st.integers(1, 9)


def lengths_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 17, count)


def epoch(sampler: BucketSampler, number: int) -> list[list[int]]:
    sampler.set_epoch(number)
    return list(sampler)


@settings(deadline=None)
@given(st.integers(1, 300), SIZES, st.integers(0, 2**31), st.integers(0, 50))
def test_an_epoch_has_each_prompt_once_in_whole_batches(count: int, size: int, seed: int, number: int) -> None:
    sampler = BucketSampler(lengths_of(count), size, seed)
    batches = epoch(sampler, number)
    assert len(batches) == len(sampler)
    drawn = [i for batch in batches for i in batch]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) <= set(range(count))
    assert len(drawn) == (count - count % size if count >= size else count)
    assert all(len(batch) == min(size, count) for batch in batches)


@settings(deadline=None)
@given(st.integers(4, 200), SIZES, st.integers(1, 4), st.integers(0, 9))
def test_ranks_partition_what_one_process_would_do(count: int, size: int, world: int, number: int) -> None:
    whole = epoch(BucketSampler(lengths_of(count), size * world, 5), number)
    ranks = [epoch(BucketSampler(lengths_of(count), size, 5, rank, world), number) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {len(whole)}
    for together, *shares in zip(whole, *ranks, strict=True):
        assert sorted(i for share in shares for i in share) == sorted(together)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert min(map(len, shares)) > 0


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    used = BucketSampler(lengths_of(100), 8, 3)
    first = epoch(used, 0)
    for number in (1, 2, 7):
        epoch(used, number)
    np.random.seed(1)
    assert epoch(used, 0) == first == epoch(BucketSampler(lengths_of(100), 8, 3), 0)
    assert epoch(used, 1) != first
    assert epoch(BucketSampler(lengths_of(100), 8, 4), 0) != first
    # Where prompts do not fill the batches, another remainder is left out every epoch.
    left = {frozenset(range(100)) - {i for batch in epoch(used, n) for i in batch} for n in range(5)}
    assert len(left) == 5


def test_batches_hold_like_lengths_in_no_order() -> None:
    lengths = lengths_of(32 * 16)
    batches = epoch(BucketSampler(lengths, 16, 0), 0)
    spread = [int(np.ptp(lengths[batch])) for batch in batches]
    assert np.mean(spread) < 1  # 14 lengths over 32 batches; by chance it would be 12
    means = [float(lengths[batch].mean()) for batch in batches]
    assert means not in (sorted(means), sorted(means, reverse=True))


def test_prompts_of_a_length_change_company() -> None:
    sampler = BucketSampler(np.full(64, 5), 4, 0)
    assert {frozenset(b) for b in epoch(sampler, 0)}.isdisjoint({frozenset(b) for b in epoch(sampler, 1)})


@settings(deadline=None)
@given(st.integers(1, 120), SIZES, st.integers(0, 30))
def test_a_resumed_epoch_is_the_rest_and_the_next_is_whole(count: int, size: int, done: int) -> None:
    sampler = BucketSampler(lengths_of(count), size, 1)
    whole = epoch(sampler, 2)
    sampler.start = done
    assert len(sampler) == len(whole)
    assert list(sampler) == whole[done:]
    assert list(sampler) == whole


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.batch_size is 0; it must be at least 1"):
        BucketSampler(lengths_of(9), 0, 0)
    with pytest.raises(ValueError, match=r"2 training prompts cannot feed 3 processes"):
        BucketSampler(lengths_of(2), 4, 0, 2, 3)


# The loader


class Numbers(Dataset):
    """Gives what it is asked for."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> int:
        return i


def gather(items: list[int]) -> list[int]:
    return items


def loader(kind: str, workers: int = 0) -> ResumableLoader:
    if kind == "steps":
        return ResumableLoader(Numbers(), batch_size=None, sampler=StepSampler(10), num_workers=workers)
    sampler = BucketSampler(lengths_of(40), 4, 0)
    return ResumableLoader(Numbers(), batch_sampler=sampler, collate_fn=gather, num_workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["steps", "buckets"])
def test_the_loader_counts_and_skips(kind: str, workers: int) -> None:
    whole = list(loader(kind))
    assert len(whole) == 10
    data = loader(kind, workers)
    data.skip = 6
    counts, rest = [], []
    for item in data:
        rest.append(item)
        counts.append(data.done)
    assert rest == whole[6:]
    assert counts == [7, 8, 9, 10]  # handed out, not fetched ahead
    assert len(data) == 10
    assert list(data) == whole
    assert data.done == 10


def test_steps_count_up() -> None:
    steps = StepSampler(5)
    steps.start = 3
    assert (len(steps), list(steps), list(steps)) == (5, [3, 4], [0, 1, 2, 3, 4])
