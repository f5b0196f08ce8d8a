"""Where a student starts: the teacher's leading directions, its mean feature, and the static table of its means."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from litetext.models.text.loading import load_text_encoder, load_tower
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.static import StaticText
from litetext.models.text.students import load_student
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.modules.start import directions, mean_feature, resolve, start_tokens
from tests.fixtures.bert import WIDTH, save_bert
from tests.fixtures.runs import Answer, same_weights, stopped_at, weights
from tests.modules.test_teachers import write_config

FIT = ("fit", "--config", "tiny.yaml")
NO_STEP = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1")


def test_directions_are_those_of_the_weighed_table() -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(50, 3, generator=generator) @ torch.randn(3, 8, generator=generator) + 5
    weight = torch.rand(50, generator=generator).double()
    axes, mean, kept = directions(table, weight, 3)
    assert kept == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(axes.T @ axes, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close((table - mean) @ axes @ axes.T + mean, table, atol=1e-3, rtol=0)
    assert directions(table, weight, 1)[2] < kept
    weight[7:] = 0  # only seven rows count
    torch.testing.assert_close(directions(table, weight, 2)[1], (weight[:7] / weight[:7].sum()).float() @ table[:7])


def test_a_started_table_keeps_the_geometry_of_the_teachers() -> None:
    teacher = Sam3TextEncoder.random(0, vocab_size=40, embed_width=6, heads=1, layers=1, hidden=8, eot_width=4, width=8)
    counts = np.arange(1, 41)
    for rank in (6, 0):  # lifted, or as wide as the tower
        student = MobileClipText("nano", embed_width=16, heads=2, layers=1, embedding_rank=rank, vocab_size=40, width=8)
        assert start_tokens(student, teacher.token_vectors(), counts) == pytest.approx(1, abs=1e-5)
        ours, theirs = (torch.cdist(e.token_vectors(), e.token_vectors()) for e in (student, teacher))
        ratio = (ours / theirs)[~torch.eye(40, dtype=torch.bool)]
        assert ratio.std() / ratio.mean() < (0.01 if rank else 0.2)  # columns beyond the teacher's are small noise
    other = MobileClipText("nano", layers=1, vocab_size=41, width=8)
    with pytest.raises(ValueError, match="40 rows and the student's 41"):
        start_tokens(other, teacher.token_vectors(), counts)
    other.load_report = "loaded"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="pretrained brings a token table"):
        start_tokens(other, torch.zeros(41, 6), np.ones(41))


def test_the_mean_feature_is_over_tokens() -> None:
    features = [torch.full((n, 2), float(n)) for n in (1, 2, 3)]
    assert mean_feature(lambda some: iter([features[i] for i in some]), [0, 1, 2], 2).tolist() == pytest.approx(
        [14 / 6] * 2
    )


def test_options_stand_above_the_recipe() -> None:
    assert resolve("paper") == resolve("litetext", token_start="random", bias_start="zero", mse_weight=1.0)
    assert resolve("litetext", mse_weight=0.0).mse_weight == 0


def test_our_recipe_starts_from_the_teacher_and_the_papers_does_not(
    folder: Path, litetext: Callable[..., Answer], caplog: pytest.LogCaptureFixture
) -> None:
    still = (*NO_STEP, "--model.lr", "1e-9", "--model.warmup_lr", "0", "--model.min_lr", "0")
    for recipe in ("paper", "litetext"):
        caplog.clear()
        assert litetext(*FIT, *still, "--run", recipe, "--model.recipe", recipe).code == 0
        assert ("starts from its teacher: token table" in caplog.text) == (recipe == "litetext")
    paper, ours = (weights(f"checkpoints/{recipe}/last.ckpt") for recipe in ("paper", "litetext"))
    assert paper["student.projector.bias"].abs().max() < 0.2 < ours["student.projector.bias"].abs().max()
    assert not torch.equal(paper["student.embedding.token.weight"], ours["student.embedding.token.weight"])
    frozen = ("--run", "frozen", "--model.recipe", "litetext", "--model.freeze_tokens", "true")
    assert litetext(*FIT, "--trainer.max_epochs", "1", *frozen).code == 0
    token = weights("checkpoints/frozen/last.ckpt")["student.embedding.token.weight"]
    torch.testing.assert_close(token, ours["student.embedding.token.weight"], atol=1e-6, rtol=0)


def test_a_resumed_run_does_not_start_again(
    folder: Path, litetext: Callable[..., Answer], caplog: pytest.LogCaptureFixture
) -> None:
    ours = (*FIT, "--model.recipe", "litetext", "--last.every_n_steps", "1")
    assert litetext(*ours, "--run", "whole").code == 0
    assert stopped_at(7, lambda: litetext(*ours, "--run", "part")).code == 2
    caplog.clear()
    assert litetext(*ours, "--run", "part", "--ckpt_path", "last").code == 0
    assert "starts from its teacher" not in caplog.text
    assert same_weights("checkpoints/whole/last.ckpt", "checkpoints/part/last.ckpt")


# The static table


@pytest.fixture
def static(folder: Path) -> Path:
    """`static.yaml`: a BERT teaches a static table of full rank."""
    teacher = save_bert(folder / "bert")
    write_config(folder, teacher)
    config = yaml.safe_load((folder / "bert.yaml").read_text())
    size = config["model"]["init_args"]["student"]["init_args"]["vocab_size"]
    config["model"]["init_args"]["student"] = {
        "class_path": "litetext.models.StaticText",
        "init_args": {"vocab_size": size, "width": WIDTH},
    }
    (folder / "static.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_static_table_holds_the_means_of_the_teachers_features(static: Path, litetext: Callable[..., Answer]) -> None:
    for features in ("stored", "live"):
        more = ("--run", features, "--model.teacher_features", features)
        assert litetext("fit", "--config", "static.yaml", *NO_STEP, *more).code == 0
    from litetext.data.prompts.datamodule import PromptDataModule

    teacher = load_tower(static / "bert")
    data = PromptDataModule({"shapes": "shapes:120"}, batch_size=16, val_fraction=0.2)
    data.read_by(teacher.tokenizer.cut_to(16))
    data.setup("fit")
    rows = [data.rows[i] for i in data.train]
    encoded = teacher.encode_tokens(rows)
    word = next(iter(teacher.tokenizer.encode(["red"])[0][1:]))
    at = [
        feature[k] for row, feature in zip(rows, encoded, strict=True) for k, token in enumerate(row) if token == word
    ]
    absent = next(i for i in range(5, 20) if all(i not in row for row in rows))
    alone = teacher.encode_tokens([[2, absent, 3]])[0][1]
    for run, near in (("stored", 3e-2), ("live", 1e-4)):  # the store has 16 bits
        student = load_student(f"checkpoints/{run}/best.ckpt")
        assert isinstance(student, StaticText)
        table = student.token_vectors()
        torch.testing.assert_close(table[word], torch.stack(at).mean(0), atol=near, rtol=near)
        torch.testing.assert_close(table[absent], alone, atol=near, rtol=near)
        heard = student.encode(["red circle"])["red circle"]
        torch.testing.assert_close(heard, table[teacher.tokenizer.encode(["red circle"])[0]])


@pytest.mark.parametrize("target", ["text", "compact", "onnx", "torch"])
def test_a_static_table_is_kept_audited_and_exported_like_others(
    target: str, static: Path, litetext: Callable[..., Answer], unchecked: None
) -> None:
    rank = ("--model.student.init_args.rank", "5")
    assert litetext("fit", "--config", "static.yaml", *NO_STEP, *rank, "--run", "small").code == 0
    student = load_student("checkpoints/small/best.ckpt")
    assert student.parameter_count == student.config["vocab_size"] * 5 + 5 * WIDTH + WIDTH
    made = litetext("export", "checkpoints/small/best.ckpt", "--to", target, "--output", "out")
    assert made.code == 0, made.err
    assert load_tower("checkpoints/small/best.ckpt").position_vectors() is None
    if target == "text":
        again = load_text_encoder("out")
        assert isinstance(again, StaticText)
        assert torch.equal(again.token_vectors(), student.token_vectors())


def test_a_static_table_can_go_on_learning(static: Path, litetext: Callable[..., Answer]) -> None:
    for learn in ("false", "true"):
        more = ("--model.student.init_args.learn", learn, "--run", learn, "--trainer.max_epochs", "1")
        assert litetext("fit", "--config", "static.yaml", *more).code == 0
    still, moved = (weights(f"checkpoints/{learn}/last.ckpt") for learn in ("false", "true"))
    assert not torch.equal(still["student.embedding.token.weight"], moved["student.embedding.token.weight"])


def test_static_tables_refuse_sizes_that_make_none() -> None:
    for given, said in (
        ({"rank": 300}, "no more directions"),
        ({"width": 0}, "at least 1"),
        ({"context_length": 2}, "3"),
    ):
        with pytest.raises(ValueError, match=said):
            StaticText(**given)
