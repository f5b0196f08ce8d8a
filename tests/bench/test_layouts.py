"""`python -m litetext.bench.layouts`: every layout to every other, in small."""

import pytest
import torch

from litetext.bench import layouts


def test_every_layout_gives_every_other_bit_for_bit() -> None:
    encoders, whole = layouts.layouts_table("small", ("teacher", "s0", "s1")).split("\n\n")  # l is s1 in small
    assert "differs" not in encoders + whole
    assert encoders.count("the same") == 9 + 16 + 49
    assert whole.count("the same") == 9
    assert len({line.count("|") for line in encoders.splitlines()}) == 1


def test_a_bit_that_changes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    write = layouts.write_state

    def careless(state: dict[str, torch.Tensor], path: object) -> None:
        last = max(state)
        bits = state[last].contiguous().view(torch.int32)
        bits.view(-1)[-1] ^= 1
        write({**state, last: bits.view(torch.float32)}, path)  # type: ignore[arg-type]

    monkeypatch.setattr(layouts, "_ENCODERS", {"s1": ("native",)})
    monkeypatch.setattr(layouts, "write_state", lambda state, path: write(state, path))
    assert "**differs**" not in layouts.layouts_table("small", ("s1",), whole=False)
    monkeypatch.setattr(layouts, "write_state", careless)
    assert "**differs**" in layouts.layouts_table("small", ("s1",), whole=False)
