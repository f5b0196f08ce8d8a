"""The fastest precision: never slower than float32, never further from it than asked."""

import pytest

from litetext.models.text import fastest
from litetext.models.text.fast import FastStudent, Precision
from litetext.models.text.fastest import PRECISIONS, choose_precision
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.quantized import quantize_weights
from tests.fixtures.students import nano


@pytest.fixture
def student() -> MobileClipText:
    return nano()


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[Precision, float]:
    """Milliseconds that are found instead of measured ones."""
    found: dict[Precision, float] = {"float32": 2.0, "bfloat16": 3.0, "int8": 1.0}
    monkeypatch.setattr(fastest, "_MEASURED", {})
    monkeypatch.setattr(fastest, "_milliseconds", lambda ways, ids, lengths: found)
    return found


def test_the_fastest_is_chosen(student: MobileClipText, times: dict[Precision, float]) -> None:
    choice = choose_precision(student, FastStudent, cosine=0.9)
    assert choice.precision == "int8"
    assert choice.milliseconds == times
    assert choice.cosines["float32"] == pytest.approx(1)
    assert FastStudent(student, "auto").precision == "int8"


def test_nothing_slower_than_float32_is_chosen(student: MobileClipText, times: dict[Precision, float]) -> None:
    times["int8"] = 2.5
    assert choose_precision(student, FastStudent, cosine=0.0).precision == "float32"


def test_nothing_further_away_than_asked_is_chosen(student: MobileClipText, times: dict[Precision, float]) -> None:
    choice = choose_precision(student, FastStudent, cosine=1.0)
    assert choice.cosines["int8"] < 1
    assert choice.precision == "float32"


def test_it_measures_once_for_a_shape(student: MobileClipText, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "_MEASURED", {})
    choice = choose_precision(student, FastStudent, batch_size=4)
    assert set(choice.milliseconds) == set(PRECISIONS)
    assert all(value > 0 for value in choice.milliseconds.values())
    monkeypatch.setattr(fastest, "_milliseconds", lambda *_: pytest.fail("measured twice"))
    assert choose_precision(student, FastStudent, batch_size=4).milliseconds == choice.milliseconds
    with pytest.raises(pytest.fail.Exception, match="measured twice"):
        choose_precision(student, FastStudent, batch_size=5)
    with pytest.raises(pytest.fail.Exception, match="measured twice"):  # its numbers are widened for each call
        choose_precision(quantize_weights(student), FastStudent, batch_size=4)  # type: ignore[arg-type]


def test_what_cannot_be_asked(student: MobileClipText) -> None:
    with pytest.raises(ValueError, match=r"cosine=2\.0"):
        choose_precision(student, FastStudent, cosine=2.0)
    with pytest.raises(ValueError, match="batch_size=0"):
        choose_precision(student, FastStudent, batch_size=0)
