"""What travels with the package: configs, a tiny SAM3 that segments, and which code it is."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from transformers import Sam3Model

from litetext import shipped as rooms
from litetext.data.nouns.phrases import list_phrases
from litetext.data.shapes.datamodule import ShapesDataModule
from litetext.data.shapes.phrases import phrases
from litetext.metrics.cgf1 import PhraseCounts, phrase_metrics
from litetext.metrics.counts import per_threshold
from litetext.models.sam3.tiny import forward_phrases
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.modules.shapes_fit import detections
from litetext.saco.instances import Truth
from litetext.shipped import SHORT, STUDENTS, code_version, config_names, config_path, shipped, source_version, world_of


@pytest.mark.parametrize("name", config_names())
def test_configs_are_found_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for asked in (name, f"configs/{name}"):
        content = yaml.safe_load(config_path(asked).read_text())
        assert {"fit", "prompts"} & content.keys() or content["model"]["class_path"].startswith("litetext.")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine: 1")  # a file of the user's comes first
    assert config_path(name).read_text() == "mine: 1"


def test_short_names_mean_the_shipped_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(shipped("nouns")) == Path(shipped("checkpoints/sam3-nouns"))
    assert (world_of("nouns"), world_of("facebook/sam3")) == ("nouns", "nouns")
    assert (world_of("shapes"), world_of("checkpoints/sam3-tiny")) == ("shapes", "shapes")
    Path("nouns").mkdir()  # drawings of the world, say
    assert Path(shipped("nouns")).name == "sam3-nouns"
    Path("nouns/config.json").touch()  # a model of the user's comes first
    assert shipped("nouns") == "nouns"


def test_a_wheel_finds_its_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In a wheel configs/ and checkpoints/ lie in litetext/shipped_files, and there is no checkout around it.
    installed = tmp_path / "site-packages" / "litetext"
    shutil.copytree(config_path("s0.yaml").parent, installed / "shipped_files" / "configs")
    monkeypatch.setattr(rooms, "_PACKAGE", installed)
    monkeypatch.chdir(tmp_path)
    assert config_path("paper/table3_s0.yaml") == installed / "shipped_files" / "configs" / "paper" / "table3_s0.yaml"
    assert "paper/table3_s0.yaml" in config_names()


def test_a_path_of_the_users_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(shipped("checkpoints/sam3-tiny"), "config.json").is_file()
    Path("checkpoints/sam3-tiny").mkdir(parents=True)
    assert shipped("checkpoints/sam3-tiny") == "checkpoints/sam3-tiny"
    assert shipped("checkpoints/nothing") == "checkpoints/nothing"


def test_the_tiny_sam3_is_small_and_transformers_reads_it() -> None:
    folder = Path(shipped("checkpoints/sam3-tiny"))
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 12_000_000
    model, report = Sam3Model.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    teacher = Sam3TextEncoder.from_pretrained(str(folder))
    ids, lengths = torch.tensor([[49406, 736, 7048, 49407]]), torch.tensor([4])
    with torch.no_grad():
        found = model.eval().get_text_features(input_ids=ids, attention_mask=torch.ones_like(ids)).pooler_output
    torch.testing.assert_close(teacher(ids, lengths), found, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_tiny_sam3_segments_held_out_shapes() -> None:
    model = Sam3Model.from_pretrained(shipped("checkpoints/sam3-tiny"), dtype=torch.float32).eval()
    metrics, counts = phrase_metrics("segm"), PhraseCounts("segm")
    for batch in ShapesDataModule(val_images=48).val_dataloader():
        out = forward_phrases(model, batch.pixels, batch.image, batch.tokens.ids, batch.tokens.mask)
        found = detections(out, batch.pixels.shape[-1])
        truths = [Truth(batch.masks[batch.owner == n]) for n in range(len(batch.image))]
        metrics.update(batch.number.tolist(), found, truths)
        counts.update(batch.number.tolist(), found, truths)
    scores = {name: float(value) for name, value in metrics.compute().items()}
    # A few points below what the card says of 300 images; a model that learned nothing has 0.
    assert scores["CG_F1"] > 72, scores
    assert scores["IL_MCC"] > 0.94, scores
    assert float(per_threshold(counts.counts())["F1"][0]) > 0.89


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rooms, "_PACKAGE", tmp_path)
    (tmp_path / "a.py").write_text('"""About."""\n\n\ndef f(x):\n    """Doubles."""\n    return 2 * x  # twice\n')
    (tmp_path / "b.py").write_text("B = 1\n")
    return tmp_path


def version(*modules: str) -> str:
    code_version.cache_clear()
    return code_version(modules, ("numpy",))


def test_what_computes_counts_and_what_explains_does_not(package: Path) -> None:
    first, alone = version(), version("a.py")
    (package / "a.py").write_text('def f(x):\n\n    """Says more."""\n    return (2 * x)\n')
    assert (version(), version("a.py")) == (first, alone)
    (package / "b.py").write_text("B = 2\n")
    assert version() != first
    assert version("a.py") == alone
    (package / "a.py").write_text("def f(x):\n    return 3 * x\n")
    assert version("a.py") != alone


def test_versions_of_libraries_count(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = version()
    monkeypatch.setattr(rooms.metadata, "version", lambda name: "0.0.1")
    assert version() != first


def test_the_version_of_the_source_counts_every_letter(package: Path) -> None:
    def now() -> str:
        source_version.cache_clear()
        return source_version()

    first = now()
    assert now() == first
    (package / "b.py").write_text("B = 1  # one\n")
    second = now()
    (package / "b.py").rename(package / "c.py")
    assert len({first, second, now()}) == 3


def teardown_module() -> None:
    code_version.cache_clear()
    source_version.cache_clear()


@pytest.mark.parametrize("world", ["nouns", "shapes"])
def test_the_shipped_students_speak_for_the_shipped_encoders(world: str) -> None:
    draw = {"nouns": list_phrases, "shapes": phrases}[world]
    asked = draw(60, 5)
    student, teacher = load_text_encoder(STUDENTS[world]), load_text_encoder(SHORT[world])
    assert student.parameter_count < teacher.parameter_count / 8
    ours, theirs = student.encode(asked), teacher.encode(asked)
    cosines = []
    for phrase in asked:  # those of shapes may be cut at 24 tokens
        length = min(len(ours[phrase]), len(theirs[phrase]))
        cosines.append(torch.cosine_similarity(ours[phrase][:length], theirs[phrase][:length], dim=-1).mean())
    assert torch.stack(cosines).mean() > 0.95
