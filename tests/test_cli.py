"""The command line: help without heavy imports, merged configs, errors of one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from litetext.cli import LIGHTNING_COMMANDS, PLAIN_COMMANDS, main
from litetext.commands.config_files import deep_merge
from litetext.commands.error_lines import one_line
from litetext.commands.lightning import Command, merge_configs
from litetext.shipped import config_names, config_path
from tests.fixtures.runs import Answer


def printed(answer: Answer) -> dict[str, Any]:
    """The config that `--print_config` gave."""
    assert answer.code == 0, answer.err
    return yaml.safe_load(answer.out)


def test_help_lists_all_commands_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; from litetext.cli import main; code = main(['--help']);"
        "print('heavy:', *({'torch', 'lightning', 'jsonargparse', 'numpy', 'yaml'} & set(sys.modules)));"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for command in [*LIGHTNING_COMMANDS, *PLAIN_COMMANDS]:
        assert f"\n  {command} " in done.stdout
    assert done.stdout.splitlines()[-1].strip() == "heavy:"


def test_a_plain_commands_help_does_without_torch() -> None:
    script = (
        "import sys; from litetext.cli import main; code = main(['bench', '--help']);"
        "print('heavy:', *({'torch', 'lightning', 'transformers'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == "heavy:"


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_every_option_has_a_help_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsers: dict[str, Any] = {}

    def stop(self: Command, parser: Any, args: Any) -> None:
        parsers.update(self._subcommand_parsers)
        raise SystemExit(0)

    monkeypatch.setattr(Command, "parse_arguments", stop)
    for command in LIGHTNING_COMMANDS:
        assert main([command, "--config", "tiny.yaml"]) == 0
    assert set(parsers) == set(LIGHTNING_COMMANDS)
    for parser in parsers.values():
        assert [a.option_strings for a in parser._actions if not (a.help or "").strip()] == []


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--model.help", "litetext.modules.distill.DistillModule"),
        ("--data.help", "litetext.data.prompts.datamodule.PromptDataModule"),
        ("--model.help", "litetext.modules.shapes_fit.ShapesFitModule"),
        ("--data.help", "litetext.data.shapes.datamodule.ShapesDataModule"),
    ],
)
def test_every_init_argument_has_a_help_text(
    option: str, name: str, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    answer = litetext("fit", option, name)
    assert answer.code == 0
    lines = [line.strip() for line in answer.out.splitlines() if line.strip().startswith("--")]
    assert len(lines) > 3
    following = dict(zip(answer.out.splitlines(), answer.out.splitlines()[1:], strict=False))
    for line in answer.out.splitlines():
        if line.strip().startswith("--"):
            # The text stands beside a short option and below a long one; types and defaults alone do not count.
            text = line.strip().split("  ", 1)[1] if "  " in line.strip() else following[line]
            assert text.strip(), line
            assert not text.strip().startswith("("), line


def test_unknown_command(refused: Callable[..., str]) -> None:
    assert "unknown command 'fti'; choose from fit, validate, test, predict, segment," in refused("fti")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--trainer.max_epochss", "3"], "unrecognized arguments: --trainer.max_epochss 3"),
        (["--trainer.max_epochs", "three"], "trainer.max_epochs: expected int, got three"),
        (["--trainer.limit_val_batches", "many"], "trainer.limit_val_batches: expected int or float, got many"),
        (["--model.lr", "three"], "model.lr: expected float, got three"),
        (["--model.lrr", "3"], "model: Option 'lrr' is not accepted by litetext.modules.DistillModule"),
        (["--model.lr", "-1"], "model.lr is -1.0; it must be positive"),
        (
            ["--model.teacher_features", "lively"],
            "model.teacher_features: expected one of 'stored', 'live', got lively",
        ),
        (["--model.student.preset", "s7"], "model.student.preset: expected one of 's0', 's1', 'l', 'nano', got s7"),
        (["--model.student.heads", "5"], "heads=5 does not divide the width 48; choose a divisor of the width."),
        (["--model", "litetext.nope.X"], "model: No litetext attribute nope"),
        (["--data.val_fraction", "2"], "data.val_fraction is 2.0; choose a share between 0 and 1, such as 0.05"),
        (["--data.batch_size", "0"], "data.batch_size is 0; it must be at least 1"),
        (["--data.batch_size", "x"], "data.batch_size: expected int, got x"),
        (["--last.every_n_steps", "0"], "last.every_n_steps is 0; it must be at least 1"),
        (["--config", '{"trainr": {"max_epochs": 3}}'], "Subcommand 'fit' does not accept option 'trainr.max_epochs'"),
        (["--weights_only", "false"], "unrecognized arguments: --weights_only false"),
    ],
)
def test_wrong_options_end_in_exactly_this_line(
    folder: Path, refused: Callable[..., str], options: list[str], line: str
) -> None:
    assert refused("fit", "--config", "tiny.yaml", *options) == f"litetext: error: {line}"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--model.teacher", "nope.safetensors"], ["teacher 'nope.safetensors'", "no such file or folder"]),
        (["--model.teacher", "facebook/sam3"], ["facebook/sam3", "huggingface.co/facebook/sam3", "sam3.pt"]),
        (["--data.sources.mine", "nope.txt"], ["'mine'", "nope.txt"]),
        (["--ckpt_path", "nope.ckpt"], ["--ckpt_path nope.ckpt", "existing runs: none"]),
        (["--ckpt_path", "last"], ["--ckpt_path last", "checkpoints/tiny/last.ckpt"]),
        (["--trainer.devices", "0"], ["devices"]),
        (
            ["--data", "lightning.pytorch.demos.boring_classes.BoringDataModule"],
            ["data.class_path", "BoringDataModule"],
        ),
        (["--data.context_length", "20"], ["data.context_length is 20", "16 positions"]),
        (["--model.student.init_args.width", "32"], ["64 values", "student's 32", "model.student.init_args.width"]),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(
    folder: Path, refused: Callable[..., str], options: list[str], told: list[str]
) -> None:
    line = refused("fit", "--config", "tiny.yaml", *options)
    for part in told:
        assert part in line


def test_missing_and_broken_configs(folder: Path, refused: Callable[..., str]) -> None:
    (folder / "list.yaml").write_text("- a\n")
    (folder / "bad.yaml").write_text("a: [\n")
    (folder / "bytes.yaml").write_bytes(b"a: \xff\n")
    line = refused("fit", "--config", "nope.yaml")
    assert "nope.yaml" in line
    assert all(name in line for name in config_names())
    assert "list.yaml: expected a mapping of options, found list" in refused("fit", "--config", "list.yaml")
    assert "bad.yaml: not a YAML file" in refused("fit", "--config", "bad.yaml")
    assert "bytes.yaml: not a YAML file" in refused("fit", "--config", "bytes.yaml")
    assert "--config {bad: not JSON" in refused("fit", "--config", "{bad")
    assert "--config needs" in refused("fit", "--config")
    assert "fit.model" in (line := refused("fit"))
    assert "--config quickstart.yaml" in line


def test_debug_shows_the_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITETEXT_DEBUG", "1")
    with pytest.raises(FileNotFoundError, match=r"nope\.yaml"):
        main(["fit", "--config", "nope.yaml"])


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError(), RuntimeError("out of memory")],
)
def test_full_memory_is_one_line_with_the_way_out(
    error: Exception, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(rest: object) -> None:
        raise error

    monkeypatch.setattr("litetext.commands.segment.run", full, raising=False)
    assert "out of memory); what takes less: --chunk 1, --dtype bfloat16" in refused("segment")


def test_an_operator_that_apples_gpu_lacks_is_one_line(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(rest: object) -> None:
        raise NotImplementedError(
            "The operator 'aten::_linalg_eigh.eigenvalues' is not currently implemented for the MPS device. If you want"
        )

    monkeypatch.setattr("litetext.commands.segment.run", lacks, raising=False)
    line = refused("segment")
    assert "no aten::_linalg_eigh.eigenvalues on MPS; set PYTORCH_ENABLE_MPS_FALLBACK=1" in line
    assert line.endswith("(--device cpu)")


def test_processes_that_do_not_find_each_other_are_one_line(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def alone(rest: object) -> None:
        store = torch.distributed.TCPStore("127.0.0.1", 0, 2, True, timedelta(seconds=0.1))
        raise AssertionError(f"{store} has met another process")

    monkeypatch.setattr("litetext.commands.segment.run", alone, raising=False)
    line = refused("segment")
    assert "the processes of the run did not find each other (Timed out after" in line
    assert "1/2 clients joined); each must start within" in line


def test_a_process_that_fails_alone_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("litetext.cli._ALIKE", 0.2)
    assert main(["nothing"]) == 2
    assert capsys.readouterr().err.startswith("litetext: error: process 1: unknown command 'nothing'")
    parents = iter(range(9))
    monkeypatch.setattr("litetext.cli.os.getppid", lambda: next(parents))  # the first process ends too
    assert main(["nothing"]) == 2
    assert not capsys.readouterr().err


def test_errors_that_are_not_the_users_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litetext.commands.bench.run", lambda rest: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["bench"])


def test_two_configs_merge_deeply_and_options_win_in_any_order(folder: Path, litetext: Callable[..., Answer]) -> None:
    (folder / "mine.yaml").write_text(
        "data: {init_args: {sources: {mine: 'shapes:30'}}}\ntrainer: {max_epochs: 7, accumulate_grad_batches: 3}\n"
    )
    config = printed(
        litetext(
            "fit", "--trainer.max_epochs=5", "--config", "tiny.yaml", "--config=mine.yaml",
            "--data.sources.third", "shapes:40", "--model.student.init_args.layers", "3", "--print_config",
        )
    )  # fmt: skip
    assert config["data"]["init_args"]["sources"] == {"shapes": "shapes:120", "mine": "shapes:30", "third": "shapes:40"}
    assert config["data"]["init_args"]["batch_size"] == 16
    assert (config["trainer"]["max_epochs"], config["trainer"]["accumulate_grad_batches"]) == (5, 3)
    assert config["model"]["init_args"]["student"]["init_args"]["layers"] == 3
    assert config["model"]["init_args"]["student"]["init_args"]["preset"] == "nano"
    assert config["run"] == "mine"


def test_the_runs_name(folder: Path, litetext: Callable[..., Answer]) -> None:
    config = printed(litetext("fit", "--config", "tiny.yaml", "--run", "other", "--print_config"))
    assert config["run"] == "other"


def test_a_printed_config_is_a_config(folder: Path, litetext: Callable[..., Answer]) -> None:
    first = litetext("fit", "--config", "tiny.yaml", "--print_config")
    (folder / "whole.yaml").write_text(first.out)
    assert printed(litetext("fit", "--config", "whole.yaml", "--print_config")) == printed(first)


def test_a_new_class_does_not_inherit_the_old_ones_arguments() -> None:
    old = {"model": {"class_path": "A", "init_args": {"x": 1}}, "kept": 1}
    assert deep_merge(old, {"model": {"class_path": "B", "init_args": {"y": 2}}}) == {
        "model": {"class_path": "B", "init_args": {"y": 2}},
        "kept": 1,
    }
    assert deep_merge(old, {"model": {"init_args": {"y": 2}}})["model"]["init_args"] == {"x": 1, "y": 2}
    assert old["model"]["init_args"] == {"x": 1}


def test_inline_configs_merge_too() -> None:
    flags = ["--config", '{"a": {"b": 1}}', "-x", "--config", '{"a": {"c": 2}}']
    option, merged, rest = merge_configs(flags)
    assert (option, json.loads(merged), rest) == ("--config", {"a": {"b": 1, "c": 2}}, "-x")


# The rows of the paper and what is not LightningCLI's have tests of their own.
LIGHTNING = [
    name for name in config_names() if "/" not in name and "model" in yaml.safe_load(config_path(name).read_text())
]


@pytest.mark.parametrize("name", ["configs/quickstart.yaml", *LIGHTNING])
def test_shipped_configs_work_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = {"EvalModule": "test", "PromptBankModule": "predict"}
    text = config_path(name).read_text()
    command = next((commands[module] for module in commands if module in text), "fit")
    config = printed(litetext(command, "--config", name, "--print_config"))
    assert config["run"] == Path(name).stem
    assert config["model"]["class_path"].startswith("litetext.modules.")
    if command == "fit":
        assert config["checkpoint"]["mode"] == "max"


@pytest.mark.parametrize(
    ("name", "base", "consistency"), [("s0.yaml", 5e-3, 0.1), ("s1.yaml", 5e-3, 0.1), ("l.yaml", 5e-3, 0.05)]
)
def test_the_papers_recipe(
    name: str, base: float, consistency: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    litetext: Callable[..., Answer],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    config = printed(
        litetext("fit", "--config", name, "--trainer.devices", "4", "--trainer.strategy", "ddp", "--print_config")
    )
    model, data, trainer = config["model"]["init_args"], config["data"]["init_args"], config["trainer"]
    assert (model["lr"], model["weight_decay"], model["warmup_epochs"], model["cosine_weight"]) == (base, 0.05, 10, 2.0)
    assert model["consistency_weight"] == consistency
    assert (data["batch_size"], trainer["accumulate_grad_batches"], trainer["gradient_clip_val"]) == (64, 2, 1.0)
    assert (trainer["max_epochs"], str(trainer["devices"]), trainer["strategy"]) == (100, "4", "ddp")
    assert trainer["precision"].endswith("mixed")
    assert config["checkpoint"]["monitor"] == "val/agreement"


def test_plain_errors_keep_their_words() -> None:
    assert one_line("the file\n  is gone") == "the file is gone"


def test_version(litetext: Callable[..., Answer]) -> None:
    assert litetext("--version").out.strip().count(".") == 2


def test_the_home_folder_in_the_middle_of_a_word(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere/home")
    assert "/nowhere/home/a.json" in refused("score", "--gt=~/a.json", "--predictions", "found.json")
    assert "/nowhere/home/p.txt" in refused("audit", "--prompts", "mine=~/p.txt", "--output", "out")


def test_a_reader_that_goes_is_no_traceback() -> None:
    command = f"{sys.executable} -m litetext --help | true; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert ran.stderr == ""
    assert ran.stdout.strip() in ("0", "1")  # 0 where the pipe took all before its reader went
