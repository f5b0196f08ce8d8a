"""ONNX folders as their users open them: onnxruntime and tokenizers alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litetext.export.targets import export
from litetext.export.tokenizer_file import standalone
from litetext.models.text.loading import load_text_encoder
from litetext.tokenizer import END, Tokenizer
from tests.export.students import SAM3, STUDENT, checkpoint, snippet

pytest.importorskip("onnxscript")
pytestmark = pytest.mark.usefixtures("unchecked")  # sizes are symbols while a graph is traced, and no int

onnxruntime = pytest.importorskip("onnxruntime")
PROMPTS = ["white dog", "red circle", "large blue square", "red &amp; blue circle"]
LONG = "the very big red circle with stripes that is left of the small blue square and above the green star!"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All three types of the shipped student."""
    import jaxtyping

    from litetext.export import masks

    folder = tmp_path_factory.mktemp("onnx") / "three"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        patch.setattr(masks, "PAIRS", 8)
        return folder, export(STUDENT, "onnx", str(folder), PROMPTS, dtype="all")


def test_each_type_has_its_file_its_features_and_its_masks(three: Any) -> None:
    folder, made = three
    assert sorted(p.name for p in folder.glob("*.onnx")) == ["model.onnx", "model_fp16.onnx", "model_int8.onnx"]
    assert [agreement.dtype for agreement in made.agreements] == ["fp32", "fp16", "int8"]
    assert all(agreement.pairs == 8 and agreement.found for agreement in made.agreements)
    assert made.agreements[0].score <= 1e-4
    assert made.agreements[2].score > made.agreements[0].score
    card = (folder / "README.md").read_text()
    for agreement in made.agreements:
        assert agreement.line() in card
    assert f"{SAM3}, int8: on 8 pairs" in card
    assert "in attention, neither" in card or "inside attention, neither" in card
    for name, dtype in (("model.onnx", "fp32"), ("model_int8.onnx", "int8")):
        session = onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        assert [i.name for i in session.get_inputs()] == ["input_ids", "attention_mask"]
        assert [o.name for o in session.get_outputs()] == ["text_features", "text_mask"]
        told = session.get_modelmeta().custom_metadata_map
        assert (told["dtype"], told["padding"], told["threshold"]) == (dtype, "masked", "0.5")
        assert told["context_length"] == str(load_text_encoder(STUDENT).context_length)
        assert told["litetext_version"]


def test_the_card_needs_neither_torch_nor_litetext(three: Any, tmp_path: Path) -> None:
    folder, _ = three
    code = snippet(folder).replace('"three/', f'"{folder}/')
    end = "\nimport sys\nassert not {'torch', 'transformers', 'litetext'} & set(sys.modules), sorted(sys.modules)\n"
    np_file = tmp_path / "found.npz"
    end += f"np.savez({str(np_file)!r}, features=text_features, mask=text_mask)\n"
    done = subprocess.run([sys.executable, "-c", code + end], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(np_file)
    student = load_text_encoder(STUDENT)
    with torch.no_grad():
        ids, lengths = Tokenizer(student.context_length)(["red circle", "white dog"])
        expected = student(ids, lengths)
    assert found["mask"].sum(1).tolist() == lengths.tolist()
    np.testing.assert_allclose(found["features"], expected.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"repmixer": True, "padding": "transformers"}, {"repmixer": True}])
def test_ids_that_are_padded_to_a_fixed_length(tmp_path: Path, options: dict[str, Any]) -> None:
    path = checkpoint(tmp_path / "s.ckpt", **options)
    folder = tmp_path / "out"
    export(path, "onnx", str(folder), [*PROMPTS, LONG], length=32, batch=2, pairs=4)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [i.shape for i in session.get_inputs()] == [[2, 32], [2, 32]]
    rows = standalone(16, 32).encode_batch(["a white dog", LONG])
    ids, mask = (np.array([getattr(row, kind) for row in rows]) for kind in ("ids", "attention_mask"))
    assert ids.shape == (2, 32)
    assert mask.sum(1).tolist() == [5, 16]
    student = load_text_encoder(path)
    own, lengths = Tokenizer(16)(["a white dog", LONG])
    expected = student(own, lengths).detach().numpy()
    for pad in (END, 0):  # what stands at padding does not matter
        given = {"input_ids": np.where(mask > 0, ids, pad), "attention_mask": mask}
        features, valid = session.run(None, given)
        assert np.array_equal(valid, mask > 0)
        assert not features[~valid].any()
        for line, n in enumerate(lengths):
            np.testing.assert_allclose(features[line, :n], expected[line, :n], rtol=0, atol=1e-4)


@pytest.mark.parametrize("target", ["onnx", "torch"])
def test_a_length_below_the_context_cuts_prompts_and_says_so(tmp_path: Path, target: str) -> None:
    path, folder = checkpoint(tmp_path / "s.ckpt"), tmp_path / "out"
    made = export(path, target, str(folder), ["a white dog", LONG], length=6, pairs=4)
    assert next(iter(made.parities.values())).largest < 1e-4
    card = (folder / "README.md").read_text()
    assert "cut to 6 tokens, and the student reads 16: 1 of 2 prompts of the gate are longer" in card
    assert "Of the student before this export" in card  # its scores are of whole prompts
    assert made.agreements[0].pairs == 4
    assert made.encode is not None
    student = load_text_encoder(path)
    (found,), (row,) = made.encode([LONG]), Tokenizer(6).encode([LONG])
    (expected,) = student.encode_tokens([row])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    if target == "onnx":
        about = json.loads((folder / "tokenizer.json").read_text())
        assert (about["truncation"]["max_length"], about["padding"]["strategy"]) == (6, {"Fixed": 6})
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        assert session.get_modelmeta().custom_metadata_map["context_length"] == "6"
    else:
        assert "tokenizer = Tokenizer(6)" in card


def test_lengths_that_do_not_fit(tmp_path: Path, refused: Any) -> None:
    path = checkpoint(tmp_path / "s.ckpt", padding="reference")
    order = ("export", path, "--prompts", "shapes:5", "--output", str(tmp_path / "out"), "--to")
    assert "it takes 16 tokens and no other" in refused(*order, "onnx", "--length", "8")
    assert "leaves no room for start and end" in refused(*order, "onnx", "--length", "1")
    assert "--length for onnx and torch" in refused(*order, "text", "--length", "8")
    assert not (tmp_path / "out").exists()


def test_the_tokenizer_file_is_sam3s(tmp_path: Path) -> None:
    standalone(16, None).save(str(tmp_path / "tokenizer.json"))
    about = json.loads((tmp_path / "tokenizer.json").read_text())
    assert about["truncation"]["max_length"] == 16
    from tokenizers import Tokenizer as Stock

    rows = Stock.from_file(str(tmp_path / "tokenizer.json")).encode_batch([*PROMPTS, LONG, "ｒｅｄ"])
    own = Tokenizer(16).encode([*PROMPTS, LONG, "ｒｅｄ"])
    assert [row.ids[: sum(row.attention_mask)] for row in rows] == own
