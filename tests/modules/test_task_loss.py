"""The task loss: 0 where student and teacher agree, its equations, and what weighs nothing."""

import math

import pytest
import torch
from torch import Tensor

from litetext.models.sam3.detector_outputs import DetectorOutputs
from litetext.modules.task_loss import DETECTOR_PARTS, detector_losses

DRAWN = torch.tensor([0])


def answers(seed: int, presence: float) -> DetectorOutputs:
    """Two phrases, two layers, three queries; the first phrase is there with a logit, the second with its opposite."""
    there = torch.tensor([presence, -presence]).expand(2, 2)
    made = torch.Generator().manual_seed(seed)

    def noise(*size: int) -> Tensor:
        return torch.randn(*size, generator=made)

    text_attention = (noise(2, 4, 5), noise(2, 4, 5))
    return DetectorOutputs(text_attention, noise(2, 2, 3), there, noise(2, 2, 3, 4).sigmoid(), noise(1, 3, 6, 6))


def test_the_loss_is_zero_where_both_agree_and_above_elsewhere() -> None:
    teacher, student = answers(0, 5.0), answers(1, 4.0)
    same = detector_losses(teacher, teacher, DRAWN)
    assert set(same) == set(DETECTOR_PARTS)
    assert all(part.shape == (2,) and not part.any() for part in same.values())
    apart = detector_losses(student, teacher, DRAWN)
    assert all(part[0] > 0 for part in apart.values())
    assert apart["masks"][1] == 0, "no masks of the second phrase were drawn"


def test_presence_is_a_divergence_and_the_text_a_share() -> None:
    teacher, student = answers(0, 5.0), answers(1, 4.0)
    t, s = (1 / (1 + math.exp(-x)) for x in (5.0, 4.0))
    expected = t * math.log(t / s) + (1 - t) * math.log((1 - t) / (1 - s))
    parts = detector_losses(student, teacher, DRAWN)
    assert float(parts["presence"][0]) == pytest.approx(expected, abs=1e-6)
    silent = student._replace(text_attention=tuple(torch.zeros_like(part) for part in student.text_attention))
    assert detector_losses(silent, teacher, DRAWN)["text"].tolist() == pytest.approx([1.0, 1.0])


def test_what_the_teacher_does_not_find_weighs_nothing_but_in_presence_and_text() -> None:
    teacher, student = answers(0, 60.0), answers(1, 60.0)
    parts = detector_losses(student, teacher, DRAWN)
    assert float(parts["text"][1]) > 0
    for name in ("scores", "boxes"):
        assert float(parts[name][1]) == pytest.approx(0, abs=1e-6)
        assert float(parts[name][0]) > 1e-3
