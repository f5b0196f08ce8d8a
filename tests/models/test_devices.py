"""Where a model computes, and in what."""

import pytest
import torch

from litetext.models.devices import _reason, choose_dtype, find_device


@pytest.mark.parametrize("there", [(), ("mps",), ("cuda",), ("cuda", "mps")])
def test_without_a_name_a_gpu_is_taken(there: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)
    assert find_device(None).type == [*there, "cpu"][0]
    if there == ("mps",):
        with pytest.raises(ValueError, match=r"choose cpu.* or mps$"):
            find_device("cuda:0")


def test_auto_goes_by_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_dtype("auto", "cpu") == "float32"
    for asked in ("float32", "bfloat16", "float16"):
        assert choose_dtype(asked, "cpu") == asked
    there = torch.device("cuda", 1)
    for has in (True, False):  # Ampere and later; before, it would be imitated
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
        assert choose_dtype("auto", there) == ("bfloat16" if has else "float32")
    assert choose_dtype("float32", there) == "float32"
    assert choose_dtype("auto", "meta") == "float32"  # it computes nothing


def test_a_type_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dtype is 'fp16'; choose from auto, float32, bfloat16, float16"):
        choose_dtype("fp16", "cpu")


def test_a_reason_is_not_cut_in_a_word() -> None:
    words = "Found no driver on your system. Please check that you have one"
    assert _reason(RuntimeError(words)) == "Found no driver on your system"
    assert _reason(RuntimeError("word " * 50)).endswith("word ...")


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:7"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"device {name} "):
        find_device(name)
