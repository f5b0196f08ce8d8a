"""Lightning's ordinary options, each on a fit of seconds: it trains, or is refused in one line."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from litetext.data.prompts.datamodule import PromptDataModule
from litetext.data.prompts.table import PromptTable
from litetext.export.source import read_source
from litetext.models.text.mobileclip import MobileClipText
from litetext.modules.distill import DistillModule
from litetext.modules.optim import count_steps, shorten_warmup
from tests.fixtures.runs import Answer, weights

FIT = ("fit", "--config", "tiny.yaml")
STEPS = 10  # of tiny.yaml: 5 batches an epoch, 2 epochs


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ("--seed_everything false", STEPS),
        ("--seed_everything 4294967295", STEPS),
        ("--trainer.log_every_n_steps 0", STEPS),
        ("--trainer.precision bf16-true", STEPS),
        ("--trainer.precision bf16-mixed", STEPS),
        ("--trainer.precision 64-true", STEPS),
        ("--trainer.overfit_batches 1", 2),
        ("--trainer.overfit_batches 0.4 --data.val_batch_size 10", 4),
        ("--trainer.limit_train_batches 0.5", 4),
        ("--trainer.limit_val_batches 0", STEPS),
        ("--trainer.max_epochs -1 --trainer.max_steps 3", 3),
        ("--trainer.max_steps 3", 3),
        ("--trainer.accumulate_grad_batches 3", 4),
        ("--trainer.check_val_every_n_epoch 2", STEPS),
        ("--trainer.val_check_interval 0.5", STEPS),
        ("--trainer.gradient_clip_val 1 --trainer.gradient_clip_algorithm value", STEPS),
        ("--trainer.deterministic true --trainer.detect_anomaly true", STEPS),
    ],
)
def test_an_ordinary_option_trains(options: str, steps: int, folder: Path, litetext: Callable[..., Answer]) -> None:
    answer = litetext(*FIT, *options.split())
    assert answer.code == 0, answer.err
    stored = torch.load("checkpoints/tiny/last.ckpt", weights_only=True)
    assert stored["global_step"] == steps
    assert all(bool(value.isfinite().all()) for value in stored["state_dict"].values())
    rates = stored["lr_schedulers"][0]["_last_lr"]
    assert rates == pytest.approx([1e-5, 1e-5])  # the schedule came to its end with the run: model.min_lr


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("devices", "-1", "--trainer: `devices` selected with `CPUAccelerator`"),
        ("limit_train_batches", "0", "trainer.limit_train_batches is 0: nothing would be trained"),
        ("limit_train_batches", "0.0", "nothing would be trained"),
        ("val_check_interval", "0", "trainer.val_check_interval is 0"),
        ("val_check_interval", "-1", "-1 for val_check_interval"),
        ("check_val_every_n_epoch", "0", "trainer.check_val_every_n_epoch is 0"),
        ("check_val_every_n_epoch", "-2", "trainer.check_val_every_n_epoch is -2"),
        ("log_every_n_steps", "-1", "trainer.log_every_n_steps is -1"),
    ],
)
def test_a_value_that_cannot_be_is_refused(
    option: str, value: str, told: str, folder: Path, refused: Callable[..., str]
) -> None:
    assert told in refused(*FIT, "--trainer.accelerator", "cpu", f"--trainer.{option}", value)
    assert not Path("checkpoints/tiny").exists()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("checkpoint.dirpath", "elsewhere", "--run NAME and --trainer.default_root_dir DIR"),
        ("last.dirpath", "elsewhere", "--run NAME and --trainer.default_root_dir DIR"),
        ("trainer.logger.init_args.save_dir", "elsewhere", "--run NAME and --trainer.default_root_dir DIR"),
        ("trainer.logger.init_args.version", "mine", "--run NAME names it"),
        ("checkpoint.save_last", "true", "--last.every_n_steps N"),
        ("checkpoint.filename", "../best", "it names a file in the run's folder"),
        ("trainer.logger", "true", "leave it out for TensorBoard in the run's folder, or give false"),
    ],
)
def test_what_litetext_sets_itself_is_refused_with_the_option_to_use(
    key: str, value: str, told: str, folder: Path, refused: Callable[..., str]
) -> None:
    name = key.replace("logger.init_args", "logger")
    for options in ([f"--{key}", value], [f"--{key}={value}"], [f"--{name}", value]):
        line = refused(*FIT, *options)
        assert line.startswith(f"litetext: error: {name}")
        assert told in line
    content: Any = yaml.safe_load(value)
    for part in reversed(key.split(".")):
        content = {part: content}
    Path("mine.yaml").write_text(yaml.safe_dump(content))
    assert told in refused(*FIT, "--config", "mine.yaml")
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("StochasticWeightAveraging", {"swa_lrs": 0.01}, "EMAWeightAveraging averages from the start"),
        ("GradientAccumulationScheduler", {"scheduling": {0: 1, 1: 2}}, "one trainer.accumulate_grad_batches"),
    ],
)
def test_callbacks_whose_work_nothing_shows_are_refused(
    kind: str, options: dict[str, Any], told: str, folder: Path, refused: Callable[..., str]
) -> None:
    callback = {"class_path": f"lightning.pytorch.callbacks.{kind}", "init_args": options}
    Path("mine.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [callback]}}))
    assert told in refused(*FIT, "--config", "mine.yaml")
    assert not Path("checkpoints").exists()


def test_scores_are_those_of_the_weights_beside_them(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    callbacks = [
        {"class_path": f"lightning.pytorch.callbacks.{kind}", "init_args": {"monitor": monitor}}
        for kind, monitor in (("ModelCheckpoint", "val/loss"), ("EarlyStopping", "val/loss"))
    ]
    Path("mine.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": callbacks}}))
    answer = litetext(*FIT, "--config", "mine.yaml", "--run", "tiny", "--trainer.max_steps", "7")
    assert answer.code == 0, answer.err
    assert "best checkpoint     checkpoints/tiny/best.ckpt" in answer.out, "not that of another callback"
    best, last = (torch.load(f"checkpoints/tiny/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert (best["global_step"], last["global_step"]) == (5, 7)
    assert best["litetext"]["scores"] == last["litetext"]["scores"]
    assert read_source("checkpoints/tiny/best.ckpt").about["scores"] == best["litetext"]["scores"]
    assert read_source("checkpoints/tiny/last.ckpt").about["scores"] == {}, "step 7 was never validated"
    told = litetext(*FIT, "--run", "brief", "--trainer.max_steps", "2", "--trainer.num_sanity_val_steps", "1").out
    assert "validation cosine" not in told, "nothing but a trial of the loop"
    callbacks[1]["init_args"]["monitor"] = "val/nope"
    Path("mine.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": callbacks}}))
    assert "val/nope" in refused(*FIT, "--config", "mine.yaml", "--run", "nope")


def test_a_trial_of_the_options_leaves_the_run_alone(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    assert litetext(*FIT, "--trainer.max_epochs", "1").code == 0
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    answer = litetext(*FIT, "--trainer.fast_dev_run", "true", "--model.lr", "0.02")
    assert answer.code == 0, answer.err
    assert "best checkpoint     none" in answer.out
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert "--data.limit 1" in refused("test", "--config", "shapes.yaml", "--trainer.fast_dev_run", "true")
    for command, name, config in (("test", "test", "shapes.yaml"), ("validate", "val", "tiny.yaml")):
        told = f"trainer.limit_{name}_batches is 0: litetext {command} would do nothing"
        assert told in refused(command, "--config", config, f"--trainer.limit_{name}_batches", "0")


def test_a_saved_config_holds_none_of_these(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT, "--trainer.max_steps", "1").code == 0
    saved = ("fit", "--config", "lightning_logs/tiny/config.yaml", "--trainer.max_steps", "1", "--run", "again")
    assert litetext(*saved).code == 0


def test_lightnings_sampler_would_spread_what_is_spread(folder: Path, refused: Callable[..., str]) -> None:
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.use_distributed_sampler", "true")
    assert "give --trainer.use_distributed_sampler false" in refused(*FIT, *two)


def test_many_more_threads_than_cores_are_refused(folder: Path, refused: Callable[..., str]) -> None:
    assert "threads is 100000, but the CPU has" in refused(*FIT, "--threads", "100000")


def test_a_run_without_end_is_refused(folder: Path, refused: Callable[..., str]) -> None:
    line = refused(*FIT, "--trainer.max_epochs", "-1")
    assert "the run has no end" in line
    assert "--trainer.max_steps" in line
    assert not Path("checkpoints/tiny/last.ckpt").exists()


def test_a_warm_up_longer_than_the_run_is_shortened_and_said(
    folder: Path, litetext: Callable[..., Answer], caplog: pytest.LogCaptureFixture
) -> None:
    assert shorten_warmup(100, 1000) == 100
    assert shorten_warmup(1000, 1000) == 1000
    with caplog.at_level(logging.INFO):
        assert shorten_warmup(1001, 1000) == 100
    assert "the warm-up of 1,001 steps (model.warmup_epochs) is longer than the run of 1,000" in caplog.text
    assert litetext(*FIT, "--model.warmup_epochs", "10").code == 0
    stored = torch.load("checkpoints/tiny/last.ckpt", weights_only=True)
    assert stored["lr_schedulers"][0]["_last_lr"] == pytest.approx([1e-5, 1e-5])


def test_overfit_batches_keeps_its_batches(folder: Path, litetext: Callable[..., Answer], monkeypatch: Any) -> None:
    seen: list[list[int]] = []
    step = DistillModule.training_step

    def noted(self: DistillModule, batch: Any, *args: Any) -> Any:
        seen.append(sorted(batch.index.tolist()))
        return step(self, batch, *args)

    monkeypatch.setattr(DistillModule, "training_step", noted)
    assert litetext(*FIT, "--trainer.overfit_batches", "1", "--trainer.max_epochs", "3").code == 0
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]


def test_fewer_held_out_prompts_than_processes_are_refused() -> None:
    data = PromptDataModule({"shapes": "shapes:40"}, val_fraction=0.05)
    data._rank = lambda: (0, 50)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"\d+ held-out prompts cannot feed 50 processes; hold out more"):
        data.setup("fit")


def test_a_module_comes_back_from_its_checkpoint_alone(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT, "--trainer.max_epochs", "1", "--model.cosine_weight", "1.5").code == 0
    module = DistillModule.load_from_checkpoint("checkpoints/tiny/last.ckpt")
    assert module.cosine_weight == 1.5
    for name, value in weights("checkpoints/tiny/last.ckpt").items():
        assert torch.equal(module.state_dict()[name], value)
    assert DistillModule.load_from_checkpoint("checkpoints/tiny/best.ckpt", lr=0.5).lr == 0.5
    with pytest.raises(ValueError, match="another student: layers 1 there, 0 here"):
        DistillModule.load_from_checkpoint("checkpoints/tiny/last.ckpt", student=MobileClipText("nano", layers=0))
    with pytest.raises(FileNotFoundError, match=r"nope\.ckpt"):
        DistillModule.load_from_checkpoint("nope.ckpt")


@pytest.mark.parametrize("config", ["s0.yaml", "s1.yaml", "l.yaml"])
def test_corpora_of_the_papers_configs_are_named_on_the_command_line(
    config: str, folder: Path, refused: Callable[..., str], litetext: Callable[..., Answer]
) -> None:
    assert "data.sources is empty; name at least one corpus" in refused("fit", "--config", config)
    Path("mine.json").write_text(json.dumps(["red dog"]))
    answer = litetext("fit", "--config", config, "--data.sources.mine", "mine.json", "--print_config")
    assert answer.code == 0
    assert "sources:\n      mine: mine.json\n" in answer.out


def test_steps_are_counted_within_all_limits() -> None:
    class Limits:
        limit_train_batches: Any = 1.0
        accumulate_grad_batches = 2
        max_epochs: int | None = 3
        max_steps = -1

    limits: Any = Limits()
    assert count_steps(limits, 5) == (9, 3)
    limits.max_steps = 4
    assert count_steps(limits, 5) == (4, 3)
    limits.max_steps, limits.limit_train_batches = -1, 2
    assert count_steps(limits, 5) == (3, 1)
    limits.limit_train_batches, limits.max_epochs = 0.6, None
    with pytest.raises(ValueError, match="no end"):
        count_steps(limits, 5)
    limits.max_steps = 7
    assert count_steps(limits, 5) == (7, 2)


def test_the_norm_of_the_gradient_is_logged_before_it_is_clipped(
    folder: Path, litetext: Callable[..., Answer], monkeypatch: Any
) -> None:
    norms: list[float] = []
    log = DistillModule.log

    def noted(self: DistillModule, name: str, value: Any, *args: Any, **more: Any) -> None:
        if name == "train/grad_norm":
            norms.append(float(value))
            own = [p.grad.double().square().sum() for p in self.student.parameters() if p.grad is not None]
            assert float(value) == pytest.approx(float(torch.stack(own).sum().sqrt()), rel=1e-4)
        log(self, name, value, *args, **more)

    monkeypatch.setattr(DistillModule, "log", noted)
    assert litetext(*FIT, "--trainer.gradient_clip_val", "1e-6").code == 0
    assert len(norms) == STEPS
    assert min(norms) > 1e-4


def test_agreement_compares_a_sample_by_hash_and_says_so(
    folder: Path, litetext: Callable[..., Answer], monkeypatch: Any
) -> None:
    whole = litetext(*FIT, "--run", "whole")
    assert "(share of held-out prompts with the teacher's nearest neighbour)" in whole.out
    monkeypatch.setattr("litetext.data.prompts.datamodule._COMPARED", 9)
    told = litetext(*FIT, "--run", "sampled")
    assert told.code == 0, told.err
    assert "(share of 9 of the 27 held-out prompts with the teacher's nearest neighbour)" in told.out
    data = PromptDataModule({"shapes": "shapes:120"}, val_fraction=0.2)
    data.setup("fit")
    assert len(set(data.compared)) == 9
    assert set(data.compared) < set(data.val)
    scores = [
        torch.load(f"checkpoints/{run}/last.ckpt", weights_only=True)["litetext"]["scores"]
        for run in ("whole", "sampled")
    ]
    assert scores[0]["cosine"] == scores[1]["cosine"]
    assert 9 * scores[1]["agreement"] == pytest.approx(round(9 * scores[1]["agreement"]), abs=1e-5)
    told = litetext(*FIT, "--run", "part", "--trainer.limit_val_batches", "1", "--data.val_batch_size", "8")
    assert "of 8 of the 27 held-out prompts (trainer.limit_val_batches: the shortest)" in told.out


def test_two_held_out_prompts_have_no_agreement(
    folder: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PromptTable, "load", lambda path, load=PromptTable.load: _two_held_out(load(path)))
    answer = litetext(*FIT)
    assert answer.code == 0, answer.err
    assert "agreement is not defined for fewer than 3 prompts" in answer.out
    best, last = (
        torch.load(f"checkpoints/tiny/{name}.ckpt", weights_only=True)["litetext"]["scores"]
        for name in ("best", "last")
    )
    assert "agreement" not in best
    assert best["cosine"] >= last["cosine"], "the best checkpoint goes by cosine"


def _two_held_out(table: PromptTable) -> PromptTable:
    return table._replace(val=table.val[:2])
