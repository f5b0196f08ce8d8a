"""The main job: losses, schedule, the store of features, bad prompts, two processes."""

import json
import logging
import math
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from litetext.data.prompts.datamodule import PromptBatch, PromptDataModule
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.students import load_student
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.modules import teacher as distill_teacher
from litetext.modules.distill import DistillModule
from litetext.modules.optim import warmup_cosine
from litetext.tokenizer import TokenBatch, Tokenizer
from tests.fixtures.runs import Answer, weights

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
FIT = ("fit", "--config", "tiny.yaml")
ONE = ("--trainer.max_epochs", "1")


@pytest.fixture
def shapes(folder: Path, teacher_file: Path) -> tuple[DistillModule, PromptDataModule]:
    """Module and data of `tiny.yaml`, made in Python."""
    data = PromptDataModule({"shapes": "shapes:120"}, batch_size=16, val_fraction=0.2)
    student = MobileClipText("nano", layers=1)
    return DistillModule(student, str(teacher_file), lr=0.01, scale_lr=False, warmup_epochs=1), data


def quiet(**options: Any) -> Trainer:
    """A trainer on the CPU that writes nothing."""
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    more = {"enable_model_summary": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False}
    return Trainer(accelerator="cpu", **({"devices": 1} | silent | more | options))


# Losses


class Played(nn.Module):
    """A student that gives features recorded elsewhere."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = nn.Parameter(features)
        self.padding, self.context_length, self.width = "reference", features.shape[1], features.shape[2]

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return self.features


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, Tensor], dict[str, Any]]:
    with np.load(GOLDEN / "arrays.npz") as arrays:
        tensors = {key.removeprefix("loss__"): torch.from_numpy(arrays[key]) for key in arrays if key[:4] == "loss"}
    return tensors, json.loads((GOLDEN / "golden.json").read_text())["losses"]


@pytest.mark.parametrize(("total", "cosine", "weight"), [("S0", 2.0, 0.1), ("S1", 1.5, 0.1), ("L", 1.0, 0.05)])
def test_losses_and_gradients_of_the_reference(
    total: str, cosine: float, weight: float, golden: tuple[dict[str, Tensor], dict[str, Any]]
) -> None:
    arrays, expected = golden
    student = Played(torch.cat([arrays["pred"], arrays["pred_permuted"]]))
    module = DistillModule(
        student,  # type: ignore[arg-type]
        consistency_padding=True,
        cosine_weight=cosine,
        consistency_weight=weight,
    )
    tokens = TokenBatch(torch.zeros(4, 16, dtype=torch.int64), arrays["valid"].bool().sum(1))
    assert torch.equal(tokens.mask, arrays["valid"].bool())
    batch = PromptBatch(torch.arange(4), tokens, torch.arange(4), tokens, arrays["teacher"], None)
    parts = module.losses(batch)
    assert parts["mse"].mean().item() == pytest.approx(expected["masked_mse"], rel=1e-6)
    assert parts["cosine_distance"].mean().item() == pytest.approx(expected["masked_cos"], rel=1e-6)
    consistency = expected["consistency_ref_mean_incl_pads"]
    assert parts["consistency"].mean().item() == pytest.approx(consistency, rel=1e-6)
    loss = module.total(parts).mean()
    name = next(key for key in expected if key.startswith(f"total_{total}"))
    assert loss.item() == pytest.approx(expected[name], rel=1e-6)
    if total == "S0":
        loss.backward()
        gradient = torch.cat([arrays["grad_pred_S0"], arrays["grad_perm_S0"]])
        torch.testing.assert_close(student.features.grad, gradient, rtol=1e-5, atol=1e-8)
    module.mse_weight = 3.0
    assert module.total(parts).mean().item() == pytest.approx(expected[name] + 2 * expected["masked_mse"], rel=1e-5)
    module.consistency_padding = False
    masked = expected["consistency_masked_mean_variant(not the reference)"]
    assert module.losses(batch)["consistency"].mean().item() == pytest.approx(masked, rel=1e-6)


def test_a_prompt_without_another_order_adds_no_consistency(shapes: tuple[DistillModule, PromptDataModule]) -> None:
    module, data = shapes
    data.setup("fit")
    rows = Tokenizer(16).encode(["dog", "white dog", "cat"])
    tokens = Tokenizer(16)(["dog", "white dog", "cat"])
    permuted = Tokenizer(16)(["dog white"], tokens.ids.shape[1])
    features = torch.randn(3, tokens.ids.shape[1], 64)
    batch = PromptBatch(torch.arange(3), tokens, torch.tensor([1]), permuted, features, None)
    parts = module.losses(batch)
    assert parts["consistency"].count_nonzero() == 1
    assert parts["consistency"][1] > 0
    assert len(rows[0]) == 3
    # No gradient and no loss from padding, whatever stands there.
    poisoned = batch._replace(features=features.masked_fill(~tokens.mask[..., None], 1e4))
    assert torch.equal(module.total(module.losses(poisoned)), module.total(parts))


# Schedule


def test_the_references_schedule() -> None:
    base, total, warmup = 5e-3, 1000, 100
    factor = warmup_cosine(total, warmup, 1e-6 / base, 1e-5 / base)
    assert base * factor(0) == pytest.approx(1e-6)
    assert base * factor(50) == pytest.approx((1e-6 + base) / 2)
    assert factor(warmup) == pytest.approx(0.9756, abs=5e-5)  # the peak: onto the cosine, not up to 1
    assert base * factor(550) == pytest.approx(1e-5 + (base - 1e-5) / 2 * (1 + math.cos(math.pi * 0.55)))
    assert base * factor(total) == pytest.approx(1e-5)
    assert base * factor(total + 5) == pytest.approx(1e-5)
    assert warmup_cosine(10, 0, 0.1, 0.1)(0) == 1


class Rates(Callback):
    """Notes the learning rate of every optimizer step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        self.seen.append(optimizer.param_groups[0]["lr"])


def test_rates_of_a_run_are_scaled_and_step_by_step(folder: Path, teacher_file: Path) -> None:
    data = PromptDataModule({"shapes": "shapes:120"}, batch_size=16, val_fraction=0.2)
    module = DistillModule(MobileClipText("nano", layers=1), str(teacher_file), lr=5e-3, warmup_epochs=1)
    rates = Rates()
    quiet(max_epochs=4, accumulate_grad_batches=2, callbacks=[rates], limit_val_batches=0).fit(module, data)
    assert len(rates.seen) == 4 * 3  # 5 batches an epoch make 3 steps
    scale = 16 * 2 / 512
    assert rates.seen[0] == pytest.approx(1e-6 * scale)
    assert rates.seen[3] == pytest.approx(scale * (1e-5 + (5e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi * 3 / 12))))
    assert rates.seen[3] == max(rates.seen)
    assert rates.seen[-1] == pytest.approx(scale * (1e-5 + (5e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi * 11 / 12))))


@pytest.mark.parametrize("tokens", [False, True])
def test_vectors_do_not_decay_and_unseen_token_rows_stay(
    tokens: bool, shapes: tuple[DistillModule, PromptDataModule], teacher_file: Path
) -> None:
    module, data = shapes
    if tokens:
        module = DistillModule(
            module.student, str(teacher_file), lr=0.01, scale_lr=False, warmup_epochs=1, decay_tokens=True
        )
    trainer = quiet(max_epochs=1, limit_val_batches=0)
    table = module.student.embedding.token.weight
    before = table.detach().clone()
    trainer.fit(module, data)
    unseen = sorted(set(range(len(table))) - {token for row in data.rows for token in row})
    assert torch.equal(before[unseen], table[unseen]) is not tokens
    decayed, spared = trainer.optimizers[0].param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"])
    assert any(p is table for p in decayed["params"]) is tokens
    assert all(p.ndim == 1 or (p is table and not tokens) for p in spared["params"])
    learned = [p for p in module.student.parameters() if p.requires_grad]
    assert len(decayed["params"]) + len(spared["params"]) == len(learned)


# Optimizers and schedules of one's own


SGD = ("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.1", "--model.optimizer.momentum", "0.9")
STEPS = ("--model.lr_scheduler", "torch.optim.lr_scheduler.StepLR", "--model.lr_scheduler.step_size", "1")
RECIPE = ("--model.lr", "5e-3", "--model.warmup_epochs", "10")  # the defaults, which tiny.yaml replaces


def optimizer_state(run: str) -> tuple[dict[str, Any], list[Any]]:
    stored = torch.load(f"checkpoints/{run}/last.ckpt", weights_only=True)
    return stored["optimizer_states"][0], stored["lr_schedulers"]


def test_another_optimizer_and_schedule(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = litetext(*FIT, *RECIPE, *SGD, *STEPS, "--run", "own")
    assert answer.code == 0, answer.err
    assert "model.optimizer: SGD of lr 0.1 in place of the recipe's; model.lr, model.weight_decay" in caplog.text
    assert "model.lr_scheduler: StepLR in place of the recipe's; model.warmup_epochs" in caplog.text
    state, schedules = optimizer_state("own")
    (group,) = state["param_groups"]
    assert "momentum_buffer" in state["state"][0]
    assert (group["momentum"], group["lr"]) == (0.9, pytest.approx(0.1 * 0.1**2))  # a step an epoch
    assert schedules[0]["step_size"] == 1
    # It goes on as it was, and not as another.
    more = ("--run", "own", "--ckpt_path", "last", "--trainer.max_epochs", "3")
    assert "model.optimizer.class_path (torch.optim.SGD there, nothing here)" in refused(*FIT, *RECIPE, *STEPS, *more)
    assert litetext(*FIT, *RECIPE, *SGD, *STEPS, *more).code == 0
    assert optimizer_state("own")[0]["param_groups"][0]["lr"] == pytest.approx(0.1 * 0.1**3)
    line = refused(*FIT, *RECIPE, *SGD, "--run", "new", "--ckpt_path", "checkpoints/own/last.ckpt")
    assert "model.lr_scheduler" in line


def test_another_optimizer_follows_the_recipes_schedule(folder: Path, litetext: Callable[..., Answer]) -> None:
    warm = ("--model.lr", "5e-3", "--model.min_lr", "1e-3")
    assert litetext(*FIT, *warm, *SGD).code == 0
    assert optimizer_state("tiny")[0]["param_groups"][0]["lr"] == pytest.approx(1e-3)
    interval = ("--model.lr_scheduler_interval", "step")
    assert litetext(*FIT, "--model.warmup_epochs", "10", *STEPS, *interval, *ONE, "--run", "by_step").code == 0
    assert optimizer_state("by_step")[0]["param_groups"][0]["lr"] == pytest.approx(0.01 * 0.1**5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((*SGD,), "model.lr is 0.01, but model.optimizer replaces what it belongs to"),
        ((*SGD, "--model.lr", "5e-3", "--model.weight_decay", "0.1"), "model.weight_decay is 0.1, but model.optimizer"),
        ((*STEPS,), "model.warmup_epochs is 1.0, but model.lr_scheduler replaces"),
        ((*RECIPE, *STEPS, "--model.min_lr", "0"), "leave model.min_lr out (its default is 1e-05)"),
    ],
)
def test_options_that_no_longer_apply_are_refused(
    options: tuple[str, ...], told: str, folder: Path, refused: Callable[..., str]
) -> None:
    assert told in refused(*FIT, *options)


# Teacher and store


def test_stored_and_live_features_give_the_same_losses(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT, *ONE, "--run", "stored").code == 0
    assert litetext(*FIT, *ONE, "--run", "live", "--model.teacher_features", "live").code == 0
    stored, live = (
        torch.load(f"checkpoints/{run}/last.ckpt", weights_only=True)["litetext"]["scores"]
        for run in ("stored", "live")
    )
    assert stored.keys() == live.keys()
    for name in stored:
        if name != "agreement":
            assert stored[name] == pytest.approx(live[name], rel=2e-3, abs=2e-4), name
    # The step itself: the same to the rounding of half precision.
    a, b = weights("checkpoints/stored/last.ckpt"), weights("checkpoints/live/last.ckpt")
    assert a.keys() == b.keys()
    assert not any(key.startswith("teacher") for key in b)


def test_a_token_row_is_encoded_once_for_all_runs(
    folder: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = litetext("predict", "--config", "tiny.yaml")
    assert answer.code == 0, answer.err
    store = next(word for word in answer.out.split() if word.startswith("checkpoints/features/"))
    assert (folder / store / "store.json").is_file()
    assert "144 token rows: 144 encoded, 0 reused, in checkpoints/features/" in answer.out
    encode, seen = Sam3TextEncoder.encode_tokens, []

    def counted(self: Sam3TextEncoder, rows: Any, *more: Any) -> list[Tensor]:
        seen.extend(rows)
        return encode(self, rows, *more)

    def told(*more: str) -> str:
        seen.clear()
        answer = litetext("predict", "--config", "tiny.yaml", *more)
        assert answer.code == 0, answer.err
        return answer.out.partition("token rows: ")[2].partition(", in ")[0]

    monkeypatch.setattr(Sam3TextEncoder, "encode_tokens", counted)
    assert litetext(*FIT, *ONE).code == 0
    assert litetext("validate", "--config", "tiny.yaml", "--ckpt_path", "best").code == 0
    assert not seen
    assert told("--seed_everything", "3") == "0 encoded, 144 reused"
    # Prompts are known whatever side of the split they are on; only permutations that are held out for the first time
    # are new, and prompts that come later.
    for more in (
        ("--data.val_fraction", "0.3"),
        ("--data.permutation", "words"),
        ("--data.sources.shapes", "shapes:130"),
        ("--data.max_prompts", "100"),
    ):
        line = told(*more)
        assert line.startswith(f"{len(seen)} encoded, "), more
        assert len(seen) < 30, more
    assert told(*more).startswith("0 encoded, ")


def test_a_run_that_finds_all_features_reads_no_teacher(
    folder: Path,
    litetext: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    teacher_file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copy(teacher_file, "mine.safetensors")
    mine = ("--model.teacher", "mine.safetensors", "--overwrite")
    assert litetext(*FIT, *ONE, *mine).code == 0
    before = torch.load("checkpoints/tiny/last.ckpt", weights_only=True)["litetext"]
    reads: list[str] = []
    read = distill_teacher.load_teacher
    monkeypatch.setattr(distill_teacher, "load_teacher", lambda name: (reads.append(name), read(name))[1])
    assert litetext(*FIT, *ONE, *mine).code == 0
    assert not reads
    after = torch.load("checkpoints/tiny/last.ckpt", weights_only=True)["litetext"]
    for name in ("teacher_fingerprint", "teacher_parameters", "scores"):
        assert before[name] == after[name]
    os.utime("mine.safetensors", ns=(1, 1))  # looked at again, and found to be the same
    with caplog.at_level(logging.INFO):
        assert litetext(*FIT, *ONE, *mine).code == 0
    assert reads == ["mine.safetensors"]
    assert "144 token rows: 0 encoded, 144 reused" in caplog.text


def test_predict_has_nothing_to_store_for_a_live_teacher(folder: Path, litetext: Callable[..., Answer]) -> None:
    answer = litetext("predict", "--config", "tiny.yaml", "--model.teacher_features", "live")
    assert answer.code == 0
    assert "nothing was stored" in answer.out
    assert not list(Path("checkpoints/features").glob("*/*.safetensors"))


def test_the_trained_student_comes_back(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT, *ONE).code == 0
    student = load_student("checkpoints/tiny/best.ckpt")
    assert not student.training
    stored = weights("checkpoints/tiny/best.ckpt")
    for name, value in student.state_dict().items():
        assert torch.equal(value, stored[f"student.{name}"])
    tokens = Tokenizer(student.context_length)(["white dog", "the red circle with stripes"])
    assert student(*tokens).shape == (2, tokens.ids.shape[1], 64)
    with pytest.raises(FileNotFoundError, match=r"nope\.ckpt"):
        load_student("nope.ckpt")


def finite(path: str) -> bool:
    """Whether all weights of a checkpoint are finite."""
    return all(bool(value.isfinite().all()) for value in weights(path).values())


def test_a_store_that_was_spoilt_is_named_and_made_again(
    folder: Path, litetext: Callable[..., Answer], caplog: pytest.LogCaptureFixture
) -> None:
    assert litetext(*FIT, *ONE).code == 0
    (shard,) = Path("checkpoints/features").glob("*/*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-5000:-4000] = np.full(500, np.nan, "<f2").tobytes()
    shard.write_bytes(data)
    damaged = pytest.warns(UserWarning, match=f"{shard} is damaged: the checksum of its features does not hold")
    with damaged, caplog.at_level(logging.INFO):
        assert litetext(*FIT, *ONE, "--run", "other").code == 0
    assert "144 token rows: 144 encoded, 0 reused" in caplog.text
    before, after = (weights(f"checkpoints/{run}/last.ckpt") for run in ("tiny", "other"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_nan_from_the_teacher_is_not_stored(
    folder: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Sam3TextEncoder.encode_tokens

    def spoilt(self: Sam3TextEncoder, rows: Any, *more: Any) -> list[Tensor]:
        features = encode(self, rows, *more)
        features[0][1] = torch.nan
        return features

    monkeypatch.setattr(Sam3TextEncoder, "encode_tokens", spoilt)
    line = refused(*FIT)
    assert "the teacher's features of the prompt '" in line
    assert "not finite" in line
    assert not list(Path("checkpoints/features").glob("*/*.safetensors"))


def test_nan_from_a_live_teacher_and_a_gradient_that_is_not_finite(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert litetext(*FIT, *ONE).code == 0
    kept = Path("checkpoints/tiny/last.ckpt").read_bytes()
    live = ("--model.teacher_features", "live", "--ckpt_path", "last")
    with monkeypatch.context() as patch:
        forward = Sam3TextEncoder.forward
        patch.setattr(Sam3TextEncoder, "forward", lambda self, *tokens: forward(self, *tokens) * torch.nan)
        line = refused(*FIT, *live)
        assert "the loss of the prompt '" in line
        assert "its teacher features are not finite" in line
    with monkeypatch.context() as patch:
        total = DistillModule.total
        patch.setattr(
            DistillModule,
            "total",
            lambda self, parts: total(self, parts).clamp_max(1) + 0 * parts["mse"].sub(parts["mse"]).sqrt(),
        )  # finite, with an infinite slope
        line = refused(*FIT, "--ckpt_path", "last")
        assert "a gradient is not finite at step 5" in line
    assert Path("checkpoints/tiny/last.ckpt").read_bytes() == kept
    assert finite("checkpoints/tiny/best.ckpt")


# Bad prompts and files, through the whole job


class Harm:
    """Makes a file when unpickled."""

    def __reduce__(self) -> tuple:
        return (open, ("harmed", "w"))


def good_prompts(count: int = 60) -> list[str]:
    return [f"{colour} thing {i}" for i, colour in zip(range(count), ["red", "blue", "green"] * count, strict=False)]


def write_bad(kind: str, teacher: Path) -> list[str]:
    """Writes one bad file and gives the options that name it."""
    if kind == "invalid utf-8":
        Path("bad.txt").write_bytes("\n".join(good_prompts()).encode() + b"\n\xff\xfe\n")
    elif kind == "empty corpus":
        Path("bad.txt").write_text("\n \n\t\n")
    elif kind == "empty file":
        Path("bad.txt").write_bytes(b"")
    elif kind == "pickle that calls":
        folder = Path("refcoco")
        folder.mkdir()
        (folder / "refs(unc).p").write_bytes(pickle.dumps([{"sentences": Harm()}]))
        return ["--data.sources.refcoco", "refcoco"]
    elif kind == "truncated teacher":
        whole = teacher.read_bytes()
        Path("cut.safetensors").write_bytes(whole[: len(whole) // 2])
        return ["--model.teacher", "cut.safetensors"]
    elif kind == "teacher without text":
        from safetensors.torch import save_file

        save_file({"vision.weight": torch.zeros(3)}, "other.safetensors")
        return ["--model.teacher", "other.safetensors"]
    elif kind == "too long":
        Path("bad.txt").write_text("\n".join([*good_prompts(), "a " * 5000]))
        return ["--data.sources", '{"mine": "bad.txt"}', "--data.overflow", "error"]
    elif kind == "all in one":
        return ["--data.val_fraction", "0.0001"]
    return ["--data.sources.mine", "bad.txt"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("invalid utf-8", ["bad.txt", "UTF-8"]),
        ("empty corpus", ["'mine'", "bad.txt holds no prompt", "3 entries read, 3 of them empty"]),
        ("empty file", ["'mine'", "bad.txt"]),
        ("pickle that calls", ["refs(unc).p"]),
        ("truncated teacher", ["cut.safetensors", "cannot be read"]),
        ("teacher without text", ["other.safetensors"]),
        ("too long", ["prompt 'a a a", "5002 tokens", "context_length=16", "truncate"]),
        ("all in one", ["no validation prompts", "data.val_fraction=0.0001"]),
    ],
)
def test_bad_inputs_are_refused_in_one_line(
    kind: str, told: list[str], folder: Path, teacher_file: Path, refused: Callable[..., str]
) -> None:
    line = refused(*FIT, *write_bad(kind, teacher_file))
    for part in told:
        assert part in line
    assert not Path("harmed").exists()


def test_odd_prompts_are_trained_on(folder: Path, litetext: Callable[..., Answer]) -> None:
    odd = [
        "",
        "   ",
        "long " * 2000,
        "nul\0byte",
        "🦊 fox 👩‍👩‍👧",
        "Ünïcode Ça",
        "<b>&amp;</b>",
        "\u200b",
        "red thing 0",
    ]
    Path("odd.json").write_text(json.dumps(good_prompts() + odd))
    config = yaml.safe_load(Path("tiny.yaml").read_text())
    config["data"]["init_args"]["sources"] = {"odd": "odd.json"}
    Path("odd.yaml").write_text(yaml.safe_dump(config))
    assert litetext("fit", "--config", "odd.yaml", *ONE).code == 0
    assert finite("checkpoints/odd/last.ckpt")
    data = PromptDataModule({"odd": "odd.json"}, val_fraction=0.2)
    data.setup("fit")
    assert "" not in data.prompts
    assert "   " not in data.prompts
    assert "nul\0byte" in data.prompts
    assert "🦊 fox 👩‍👩‍👧" in data.prompts
    assert data.tokenizer.truncated > 0
    assert max(map(len, data.rows)) == 16
    assert len(data.prompts) == len(set(map(tuple, data.rows)))


# Two processes


class Gradients(Callback):
    """Adds up the gradients that reach the optimizer, after they were shared between processes."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        if trainer.is_global_zero and trainer.global_step == 0:
            found = {n: p.grad for n, p in pl_module.student.named_parameters() if p.grad is not None}
            torch.save(found, Path(trainer.default_root_dir) / "gradients.pt")


@pytest.mark.parametrize("blocks", [False, True], ids=["transformer", "repmixer"])
def test_two_processes_are_one_with_the_doubled_batch(blocks: bool, folder: Path, teacher_file: Path) -> None:
    def run(devices: int) -> dict[str, Any]:
        torch.manual_seed(0)
        (folder / str(devices)).mkdir()
        student = MobileClipText("nano", layers=1, repmixer=blocks, kernel_size=3)
        data = PromptDataModule({"shapes": "shapes:120"}, batch_size=16 // devices, val_fraction=0.2, val_batch_size=5)
        module = DistillModule(student, str(teacher_file), lr=5e-3, warmup_epochs=1)
        trainer = quiet(
            max_epochs=2,
            accumulate_grad_batches=2,
            gradient_clip_val=1.0,
            callbacks=[Gradients()],
            enable_checkpointing=True,
            default_root_dir=folder / str(devices),
            **({"devices": 2, "strategy": "ddp_spawn"} if devices == 2 else {}),
        )
        trainer.fit(module, data)
        path = next((folder / str(devices)).rglob("*.ckpt"))
        stored = torch.load(path, weights_only=True)
        return {
            "gradients": torch.load(folder / str(devices) / "gradients.pt", weights_only=True),
            "weights": stored["state_dict"],
            "scores": stored["litetext"]["scores"],
            "steps": stored["global_step"],
        }

    alone, both = run(1), run(2)
    assert alone["steps"] == both["steps"] == 6
    assert alone["gradients"].keys() == both["gradients"].keys()
    for name, gradient in alone["gradients"].items():
        torch.testing.assert_close(both["gradients"][name], gradient, rtol=1e-5, atol=1e-5, msg=name)
    for name, value in alone["weights"].items():
        torch.testing.assert_close(both["weights"][name], value, rtol=1e-5, atol=1e-5, msg=name)
    for name, score in alone["scores"].items():
        assert both["scores"][name] == pytest.approx(score, abs=1e-5), name
