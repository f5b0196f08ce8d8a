"""The student for inference: equal to the student, whatever else is in the batch."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from litetext.models.text.fast import Buckets, FastStudent, Precision, fold, fold_norm
from litetext.models.text.mobileclip import ConvMlp, MobileClipText
from litetext.models.text.quantized import quantize_weights
from litetext.models.text.transformer import Packing
from litetext.tokenizer import Tokenizer, pad


def trained(padding: Any = "masked", repmixer: bool = True) -> MobileClipText:
    """A nano student whose scales and BatchNorm statistics are not those of the start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = MobileClipText("nano", 16, padding=padding, layers=1, repmixer=repmixer, vocab_size=200)
        for name, value in student.state_dict().items():
            if name.endswith((".scale", "running_var")):
                value.uniform_(0.3, 1.5)
            elif name.endswith(("running_mean", ".bias")) or ".conv.weight" in name:
                value.normal_(std=0.3)
    return student.eval().requires_grad_(False)


MASKED = trained()
FAST = FastStudent(MASKED)
FILLED = trained("transformers")

prompts = st.lists(st.lists(st.integers(0, 199), min_size=1, max_size=16), min_size=1, max_size=9)


@settings(max_examples=30, deadline=None)
@given(prompts)
def test_equals_the_student(rows: list[list[int]]) -> None:
    torch.testing.assert_close(FAST(*pad(rows)), MASKED(*pad(rows)), rtol=0, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(prompts, st.integers(0, 5))
def test_a_prompt_alone_or_among_others_is_the_same(rows: list[list[int]], more: int) -> None:
    together = FAST(*pad(rows, min(16, max(map(len, rows)) + more)))
    for line, row in enumerate(rows):
        torch.testing.assert_close(together[line, : len(row)], FAST(*pad([row]))[0], rtol=0, atol=1e-5)
        assert not together[line, len(row) :].any()


@pytest.mark.parametrize("length", [None, 12, 16])
def test_reference_padding_counts_as_words(length: int | None) -> None:
    student = trained("reference")
    ids, lengths = pad([[5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8], [9]], length, pad_id=77)
    torch.testing.assert_close(FastStudent(student)(ids, lengths), student(ids, lengths), rtol=0, atol=1e-5)
    assert not torch.allclose(FastStudent(student)(ids, lengths)[0, :3], FAST(ids, lengths)[0, :3], atol=1e-2)


@settings(max_examples=20, deadline=None)
@given(prompts)
def test_end_tokens_that_only_convolutions_see(rows: list[list[int]]) -> None:
    ids, lengths = pad(rows, pad_id=77)
    ours, fast = FILLED(ids, lengths), FastStudent(FILLED)(ids, lengths)
    torch.testing.assert_close(fast, ours, rtol=0, atol=1e-5)


def test_a_folded_student_and_one_without_repmixer() -> None:
    batch = pad([[1, 2, 3], [4, 5]])
    torch.testing.assert_close(FastStudent(MASKED.reparameterize())(*batch), MASKED(*batch), rtol=0, atol=1e-5)
    plain = trained(repmixer=False)
    torch.testing.assert_close(FastStudent(plain)(*batch), plain(*batch), rtol=0, atol=1e-5)


def test_folding_leaves_no_batchnorm_and_folds_once() -> None:
    batch = pad([[1, 2, 3], [4, 5, 6, 7, 8]])
    folded = fold(MASKED)
    assert not any(isinstance(part, nn.BatchNorm1d) for part in folded.modules())
    torch.testing.assert_close(folded(*batch), MASKED(*batch), rtol=0, atol=1e-5)
    assert torch.equal(fold(folded)(*batch), folded(*batch))


def test_batchnorm_folds_into_the_convolution_before_it() -> None:
    mlp = ConvMlp(8, 5).eval()
    for value in mlp.norm.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 2)
    rows, packing = torch.randn(12, 8), Packing(torch.tensor([4, 3, 5]), 3, 5)
    torch.testing.assert_close(fold_norm(mlp)(rows, packing), mlp.norm(mlp.conv(rows, packing)), rtol=0, atol=1e-5)


def test_the_student_stays_as_it_is() -> None:
    student = trained()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    FastStudent(student, "int8")
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.99), ("bfloat16", 0.999), ("float16", 0.99999)])
def test_lower_precision_stays_close(precision: Precision, least: float) -> None:
    ids, lengths = pad([[1, 2, 3], [4, 5, 6, 7, 8], [9]])
    fast, exact = FastStudent(MASKED, precision)(ids, lengths).float(), MASKED(ids, lengths)
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    assert F.cosine_similarity(fast[mask], exact[mask], dim=-1).min() > least
    assert not torch.equal(fast, exact)


def test_8_bit_weights_are_taken_over() -> None:
    small = quantize_weights(MASKED)
    batch = pad([[1, 2, 3], [4, 5, 6, 7, 8]])
    torch.testing.assert_close(FastStudent(small)(*batch), small(*batch), rtol=0, atol=1e-5)


def test_each_precision_has_a_fingerprint_of_its_own() -> None:
    student = MobileClipText("nano", 16, width=32).eval()
    found = [FastStudent(student, one).fingerprint for one in ("float32", "bfloat16", "int8")]
    assert len({*found, student.fingerprint}) == 4
    assert found[2] == FastStudent(student, "int8").fingerprint
    with torch.no_grad():
        student.projector.weight[0, 0] += 1
    assert found[2] != FastStudent(student, "int8").fingerprint


def test_phrases_are_encoded_with_it() -> None:
    student = MobileClipText("nano", layers=1).eval()
    said = ["white dog", "cup", "the red circle with stripes"]
    fast = FastStudent(student).encode(said, Tokenizer(16)).take(said)
    plain = student.encode(said, Tokenizer(16)).take(said)
    torch.testing.assert_close(fast.features, plain.features, rtol=0, atol=1e-5)


def test_rows_and_images_are_inverse() -> None:
    buckets = Buckets(torch.tensor([3, 1, 3, 2]), 5)
    assert [tuple(bucket) for bucket in buckets] == [(0, 1, 1, 1), (1, 1, 2, 2), (3, 2, 3, 3)]
    rows = torch.randn(9, 4)
    image = buckets.image(rows)
    assert image.shape == (4, 4, 1, 3)
    assert torch.equal(buckets.rows(image), rows)
    assert image.count_nonzero() == rows.numel()


def test_refusals(unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"lengths must lie in 1\.\.2"):
        FAST(torch.ones(1, 2, dtype=torch.int64), torch.tensor([3]))
    with pytest.raises(ValueError, match="16 positions"):
        FAST(torch.ones(1, 17, dtype=torch.int64), torch.tensor([17]))
    with pytest.raises(ValueError, match="precision='int4' is unknown"):
        FastStudent(MASKED, "int4")  # type: ignore[arg-type]
