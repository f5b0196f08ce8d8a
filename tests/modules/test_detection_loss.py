"""Matching of queries and targets, against SciPy and by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torchvision.ops import generalized_box_iou

from litetext.modules.assignment import assign
from litetext.modules.detection_loss import corners, giou, match


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(0, 6), st.booleans(), st.integers(0, 2**31))
def test_the_assignment_costs_what_scipys_costs(most: int, spare: int, ties: bool, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    shape = (8, most, most + spare)
    cost = torch.randint(0, 3, shape, generator=draw).float() if ties else torch.randn(shape, generator=draw)
    rows = torch.randint(0, most + 1, (8,), generator=draw)
    for problem, count, columns in zip(cost, rows.tolist(), assign(cost, rows), strict=True):
        assert (columns[count:] == -1).all()
        assert len(set(columns[:count].tolist())) == count
        best = problem[linear_sum_assignment(problem[:count].numpy())].sum()
        assert float(problem[torch.arange(count), columns[:count]].sum()) == pytest.approx(float(best), abs=1e-4)


def test_more_rows_than_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows cannot have a column each of 2"):
        assign(torch.zeros(1, 3, 2), torch.tensor([3]))


def test_matching_is_the_cheapest_one_to_one() -> None:
    owner = place = torch.tensor([0, 0, 1])
    target = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.2, 0.2], [0.5, 0.5, 0.3, 0.3]])
    boxes = torch.full((2, 2, 4, 4), 0.05)
    boxes[:, 0, 3], boxes[:, 0, 1], boxes[:, 1, 2] = target[0], target[1], target[2]
    empty = torch.zeros(3, 16)
    alike = torch.zeros(2, 4, 16)
    found = match(torch.zeros(2, 2, 4), boxes, target, owner, alike, empty, place)
    assert found.tolist() == [[3, 1, 2], [3, 1, 2]]
    # Two queries with the same box: in the last layer the mask decides.
    boxes[:, 1, 0] = boxes[:, 1, 2] + torch.tensor([0.01, 0.0, 0.0, 0.0])
    masks, truth = torch.full((2, 4, 16), -9.0), empty.clone()
    truth[2, :8], masks[1, 0, :8] = 1, 9.0
    found = match(torch.zeros(2, 2, 4), boxes, target, owner, masks, truth, place)
    assert found.tolist() == [[3, 1, 2], [3, 1, 0]]


def test_giou_is_torchvisions() -> None:
    draw = torch.Generator().manual_seed(0)
    ours, theirs = (corners(torch.rand(20, 4, generator=draw)) for _ in range(2))
    torch.testing.assert_close(giou(ours, theirs), generalized_box_iou(ours, theirs).diagonal())
    torch.testing.assert_close(giou(ours[:, None], theirs[None]), generalized_box_iou(ours, theirs))
