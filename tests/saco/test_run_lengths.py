import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from litetext.saco.run_lengths import FAULTS, decode, sound


def _text(runs: list[int]) -> bytes:
    return mask.frPyObjects({"size": [sum(runs), 1], "counts": runs}, sum(runs), 1)["counts"]


_RUNS = st.lists(st.integers(0, 5000), max_size=12).filter(lambda runs: sum(runs) > 0)


@given(st.lists(_RUNS, min_size=1, max_size=8))
def test_the_runs_of_many_masks_are_those_that_pycocotools_wrote(many):
    runs = decode([_text(one) for one in many])
    assert runs.faults.tolist() == [0] * len(many)
    assert runs.counts.tolist() == [len(one) for one in many]
    assert runs.lengths.tolist() == [run for one in many for run in one]


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=6))
def test_a_mask_among_others_is_decoded_as_alone(texts):
    together = decode(texts)
    ends = np.cumsum(together.counts)
    for place, text in enumerate(texts):
        alone = decode([text])
        assert together.faults[place] == alone.faults[0]
        if not alone.faults[0]:
            part = together.lengths[ends[place] - together.counts[place] : ends[place]]
            assert part.tolist() == alone.lengths.tolist()


@pytest.mark.parametrize(
    ("text", "fault"),
    [(b"", ""), (b"5\xff", FAULTS[1]), (b"5/", FAULTS[1]), (b"5P", FAULTS[2]), (b"PPPPPPP1", FAULTS[3])],
)
def test_what_is_wrong_with_a_text_is_named_and_with_no_other(text, fault):
    faults = decode([_text([3, 4]), text, _text([1, 2, 3])]).faults
    assert [FAULTS[one] for one in faults] == ["", fault, ""]


@given(st.lists(_RUNS, min_size=1, max_size=600))
def test_masks_are_sound_whose_runs_fill_their_image_without_an_empty_one(many):
    pixels = np.array([sum(one) for one in many])
    expected = [all(one[1:]) for one in many]
    assert sound([_text(one) for one in many], pixels).tolist() == expected
    assert not sound([_text(one) for one in many], pixels + 1).any()


def test_runs_below_zero_and_texts_without_a_run_are_not_sound():
    below = _text([5, 3, 4, 2]).replace(_text([5, 3, 4, 2])[-1:], b"H")  # the last difference becomes -8: a run of -5
    assert decode([below]).lengths.tolist() == [5, 3, 4, -5]
    assert not sound([below, b""], np.array([7, 0])).any()
