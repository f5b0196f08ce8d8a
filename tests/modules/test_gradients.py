"""Which optimizers leave a step out by themselves when its gradients are not finite."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from litetext.modules.gradients import _event, _leaves_out


@pytest.mark.parametrize(
    ("device", "fused", "leaves"), [("cuda", True, True), ("cuda", False, False), ("mps", True, False)]
)
def test_apples_gpu_is_not_trusted_to_leave_a_step_out(device: str, fused: bool, leaves: bool) -> None:
    weight: Any = SimpleNamespace(device=torch.device(device))
    optimizer = SimpleNamespace(param_groups=[{"fused": fused, "params": [weight]}], _step_supports_amp_scaling=True)
    assert _leaves_out(optimizer) is leaves


def test_a_device_without_events_is_judged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        def __init__(self, device: str) -> None: ...

        def record(self) -> None:
            raise RuntimeError("Backend doesn't support events.")

    monkeypatch.setattr(torch, "Event", Event)
    assert _event(torch.device("mps")) is None
    assert _event(torch.device("cpu")) is None
