"""Class paths of earlier versions."""

import importlib
from pathlib import Path

import pytest
import yaml

from litetext import moved
from litetext.commands import aliases
from litetext.commands.aliases import public_option, public_options, public_paths

SAVED = Path(__file__).parent.parent / "fixtures" / "configs" / "saved_0.1.0.yaml"


def named(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("defined", "public"), aliases._DEFINED.items())
def test_where_a_class_lies_and_what_configs_call_it_are_one_class(defined, public):
    assert named(defined) is named(public)
    assert named(public).__module__ == defined.rpartition(".")[0]


@pytest.mark.parametrize("public", aliases._MOVED.values())
def test_a_class_that_moved_is_offered(public):
    assert isinstance(named(public), type)


def test_only_whole_names_are_replaced():
    text = "x.litetext.modules.distill.DistillModule litetext.modules.distill.DistillModules"
    assert public_paths(text) == text
    assert public_paths('{"class_path": "litetext.data.veval.VideoDataModule"}').endswith(
        '"litetext.data.VideoDataModule"}'
    )


def test_an_option_of_an_earlier_version_has_its_name_of_today():
    assert public_option("--model.least=0.2") == "--model.min_score=0.2"
    assert public_option("--model.init_args.least") == "--model.init_args.min_score"
    assert public_option("--model.leastwise") == "--model.leastwise"
    saved = {"model": {"class_path": "x", "init_args": {"least": 0.2, "chunk": 4}}, "data": {"least": 1}}
    assert public_options(saved) == {
        "model": {"class_path": "x", "init_args": {"min_score": 0.2, "chunk": 4}},
        "data": {"least": 1},
    }
    assert public_options({"model": {"least": 0.2, "min_score": 0.4}}) == {"model": {"min_score": 0.4}}
    assert saved["model"]["init_args"]["least"] == 0.2


def test_a_config_saved_by_the_version_before_still_trains(litetext, folder, teacher_file):
    text = SAVED.read_text()
    assert "litetext.data.prompt_datamodule.PromptDataModule" in text
    options = ("--model.teacher", str(teacher_file), "--data.sources", '{"shapes": "shapes:120"}', "--run", "again")
    answer = litetext("fit", "--config", str(SAVED), *options, "--trainer.max_epochs", "1")
    assert answer.code == 0, answer.err
    assert (folder / "checkpoints" / "again" / "best.ckpt").is_file()
    saved = yaml.safe_load((folder / "lightning_logs" / "again" / "config.yaml").read_text())
    assert named(saved["data"]["class_path"]) is named("litetext.data.PromptDataModule")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("old", sorted(moved._MOVED))
def test_a_module_that_moved_is_found_under_its_name_of_then(old):
    today = importlib.import_module("litetext." + moved._MOVED[old])
    before = today.__spec__.name
    assert importlib.import_module("litetext." + old) is today
    assert today.__spec__.name == today.__name__ == before


def test_a_name_that_never_was_stays_unknown():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("litetext.models.nothing")


def test_a_script_of_the_version_before_encodes_phrases() -> None:
    from litetext.models.mobileclip import MobileClipText
    from litetext.models.phrases import encode_phrases

    from litetext.tokenizer import Tokenizer

    student = MobileClipText("nano", 8, layers=1)
    phrases = ["white dog", "a red circle with stripes"]
    features = encode_phrases(student, Tokenizer(6), phrases)
    assert features.truncated == 1
    assert [rows.tolist() for rows in features.of(phrases)] == [
        rows.tolist() for rows in student.encode(phrases, Tokenizer(6)).of(phrases)
    ]
