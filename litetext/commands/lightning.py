"""LightningCLI as litetext uses it: merged configs, one folder a run, exact resume, errors of one line."""

import json
import logging
import os
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info

from litetext.checkpoints.lightning import read_checkpoint
from litetext.commands.aliases import public_option, public_options, public_paths
from litetext.commands.config_files import deep_merge, read_config
from litetext.commands.error_lines import one_line
from litetext.commands.own_keys import check_own_keys
from litetext.files import RepeatedKeyError, parse_json
from litetext.modules.callbacks import LastCheckpoint, StepSeed
from litetext.modules.checkpointing import BestCheckpoint
from litetext.modules.ending import EndsAtOnce
from litetext.modules.fit_run import SaveConfig, check_trainer, fit_run
from litetext.modules.monitors import check_monitors
from litetext.modules.resume import check_resumable, find_checkpoint, flatten
from litetext.modules.run_folder import check_run_name, sole_writer
from litetext.modules.terminal import fit_to_terminal

CHECKPOINTS = "checkpoints"
LOGS = "lightning_logs"
_MOST_THREADS = 64
_LIMITS = {"validate": "limit_val_batches", "test": "limit_test_batches", "predict": "limit_predict_batches"}
_ABOUT = {
    "fit": "Train: distil a student, or train one of the small SAM3s.",
    "validate": "Score a checkpoint on the held-out data of its training.",
    "test": "Segment a benchmark with the teacher's and other text encoders, and score.",
    "predict": "Encode ahead of time: teacher features that fit reads, or a bank of prompts.",
}


def merge_configs(argv: Sequence[str]) -> list[str]:
    """Replaces all `--config` options by one inline config in front of the other options.

    jsonargparse alone would let a second file replace whole mappings of the first, and would let the order of
    files and options decide; here files merge deeply and options always win.

    Args:
        argv: Arguments after the command.

    Returns:
        `["--config", JSON, ...the other arguments]`, or the arguments alone when no config was named. The run's
        name defaults to the last config's stem.

    Raises:
        FileNotFoundError: If a config is neither a file nor a shipped one.
        ValueError: If a config is not a YAML mapping, `--config` has no value, or an option is one that litetext sets.
    """
    merged: dict[str, Any] = {}
    rest: list[str] = []
    stem = None
    words = iter(argv)
    for word in words:
        option, _, value = word.partition("=")
        if option not in ("--config", "-c"):
            rest.append(public_paths(public_option(_with_underscores(word))))
            continue
        name = value or next(words, None)
        if name is None:
            raise ValueError("--config needs the name or path of a YAML file")
        if name.startswith("{"):
            try:
                merged = deep_merge(merged, public_options(parse_json(public_paths(name))))
            except json.JSONDecodeError as error:
                raise ValueError(f"--config {name[:60]}: not JSON: {error}") from error
            except RepeatedKeyError as error:
                raise ValueError(f"--config {name[:60]}: {error}") from error
            continue
        merged, stem = deep_merge(merged, read_config(name)), Path(name).stem
    check_own_keys(merged, rest)
    if not merged:
        return rest
    if stem is not None:
        merged.setdefault("run", stem)
    return ["--config", json.dumps(merged), *rest]


_NAMED_BY_USER = {"sources", "text_encoders", "detectors", "detector_thresholds", "media"}
"""Options whose keys the user chooses."""


def _with_underscores(word: str) -> str:
    """An option with hyphens under its own name; keys that the user chooses (`--data.sources.my-list`) keep theirs."""
    if not word.startswith("--"):
        return word
    option, mark, value = word[2:].partition("=")
    parts, own = option.split("."), True
    for n, part in enumerate(parts):
        if own:
            parts[n] = part.replace("-", "_")
            own = parts[n] not in _NAMED_BY_USER
    return f"--{'.'.join(parts)}{mark}{value}"


class Command(LightningCLI):
    """fit, validate, test and predict over any LightningModule and LightningDataModule named by `class_path`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the run's name, the best and the last checkpoint, and binds them to their folders."""
        parser.add_argument(
            "--run",
            type=str,
            default="run",
            help="Name of the run: lightning_logs/RUN and checkpoints/RUN (default: the config's name).",
        )
        parser.add_argument(
            "--threads",
            type=PositiveInt | None,  # pyright: ignore[reportOperatorIssue]
            default=None,
            help="CPU threads of torch; all cores by default. Small models are fastest on one.",
        )
        parser.add_argument(
            "--overwrite",
            action="store_true",
            help="Let fit replace an earlier run of the same name, predict an older bank.",
        )
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.set_defaults(
            {
                "checkpoint.filename": "best",
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.enable_version_counter": False,
            }
        )
        place = ("run", "trainer.default_root_dir")
        parser.link_arguments(place, "checkpoint.dirpath", compute_fn=_run_folder)
        parser.link_arguments(place, "last.dirpath", compute_fn=_run_folder)
        parser.link_arguments("run", "trainer.logger.init_args.version")
        parser.link_arguments("trainer.default_root_dir", "trainer.logger.init_args.save_dir", compute_fn=_root)

    def before_instantiate_classes(self) -> None:
        """Sets the number of threads before anything computes.

        Raises:
            ValueError: There would be many times as many as the CPU has cores: the machine would only wait.
        """
        threads = self.config[self.config["subcommand"]].get("threads")
        if threads is not None:
            most = max(_MOST_THREADS, 4 * (os.cpu_count() or 1))
            if threads > most:
                raise ValueError(f"threads is {threads}, but the CPU has {os.cpu_count()} cores; give at most {most}")
            torch.set_num_threads(threads)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Builds the trainer from its options.

        Raises:
            ValueError: One of them has a value that it cannot take.
        """
        try:
            return super().instantiate_trainer(**kwargs)
        except TypeError as error:  # as for --trainer.devices -1 on a CPU
            raise ValueError(f"--trainer: {error}") from error

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "test":
            text = "Compute everything anew; answers that an earlier run of this evaluation stored are forgotten."
            parser.add_argument("--fresh", action="store_true", help=text)
        return parser

    def test(self, **options: Any) -> None:
        """Evaluates, in the run's folder alone; hands `--fresh` on to the evaluation.

        Raises:
            ValueError: Another process writes into the folder, or what is tested stores no answers.
        """
        config = self.config["test"]
        if config["fresh"]:
            if not hasattr(self.model, "fresh"):
                raise ValueError(f"--fresh: {type(self.model).__name__} stores no answers; leave it out")
            self.model.fresh = True
        place = getattr(self.trainer.logger, "log_dir", None)
        with sole_writer([Path(place)] if place else [], "litetext test", config["run"]):
            self.trainer.test(**options)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses the given arguments alone; Lightning would warn that sys.argv is not empty."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Finds the checkpoint before anything is built.

        Lightning would read the model's options from the checkpoint and let them beat the command line without a
        word, and would take an absent `last` for a fresh start. `last` and `best` are those of this run.
        """
        command = self.config["subcommand"]
        config = self.config[command]
        check_run_name(config["run"])
        named = config.get("ckpt_path")
        if named is None:
            return
        root = config["trainer"]["default_root_dir"]
        folder, logs = Path(_run_folder(config["run"], root)), Path(_root(root), LOGS, config["run"])
        path = find_checkpoint(named, config["run"], folder, logs, _runs(root))
        read_checkpoint(str(path))  # a damaged file ends here, in one line
        if command == "fit":
            check_resumable(path, flatten(config.as_dict()), folder)
        config["ckpt_path"] = str(path)

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs the command; fit in its folders alone."""
        check_trainer(self.trainer, self.datamodule)
        fit_to_terminal(self.trainer)
        config = self.config[subcommand]
        trial = bool(self.trainer.fast_dev_run)  # type: ignore[attr-defined]
        if trial and subcommand == "test":
            raise ValueError(
                "trainer.fast_dev_run is for fit; to try an evaluation, give --data.limit 1 and --run trial"
            )
        limit = _LIMITS.get(subcommand)
        if limit is not None and getattr(self.trainer, limit) == 0:  # Lightning would end without a word
            raise ValueError(f"trainer.{limit} is 0: litetext {subcommand} would do nothing; leave it out")
        if subcommand == "validate" and config.get("ckpt_path") is None:
            rank_zero_info(
                "no --ckpt_path: the model is scored as its options make it, not as a fit left it "
                f"(--ckpt_path best scores that of the run {config['run']})"
            )
        if config["overwrite"] and hasattr(self.model, "overwrite"):
            self.model.overwrite = True
        if subcommand != "fit":
            self.trainer.callbacks.append(EndsAtOnce())  # type: ignore[attr-defined]
        if subcommand in ("validate", "predict"):
            self.trainer.loggers = []  # what they measure is no part of the training's curves
        if subcommand != "fit" or trial:
            super()._run_subcommand(subcommand)
            return
        check_monitors(self.trainer, self.model)
        folder = Path(_run_folder(config["run"], config["trainer"]["default_root_dir"]))
        resumed = config.get("ckpt_path")
        options = flatten(config.as_dict())
        with fit_run(self.trainer, config["run"], folder, resumed and Path(resumed), config["overwrite"], options):
            super()._run_subcommand(subcommand)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's commands without `--weights_only`: litetext never unpickles code."""
        return {name: {*skipped, "weights_only"} for name, skipped in LightningCLI.subcommands().items()}

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}


class _Built(Command):
    """Stops short of the command."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


# Warnings about what litetext does on purpose: batches built in the process, one folder a run, a frozen teacher,
# the position in the epoch kept by the datamodule, features that the module adds to a batch.
_NOISE = (
    ".*your dataloader is not resumable.*",
    ".*does not have many workers.*",
    "You have overridden `on_before_batch_transfer` in `LightningModule`.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    "Checkpoint directory .* exists and is not empty",
    "predict returned None",
    r"Found \d+ module\(s\) in eval mode at the start of training",
)


def _no_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def _root(folder: Any) -> str:
    """The folder below which a run lies: `--trainer.default_root_dir`, or the working folder."""
    return str(folder or ".")


def _run_folder(run: str, root: Any = None) -> str:
    return str(Path(_root(root), CHECKPOINTS, run))


def _runs(root: Any = None) -> list[str]:
    place = Path(_root(root), CHECKPOINTS)
    return sorted({str(p.parent.relative_to(place)) for p in place.glob("**/*.ckpt")} - {"."})


def run(command: str, argv: Sequence[str]) -> int:
    """Runs one of the LightningCLI commands.

    Args:
        command: fit, validate, test or predict.
        argv: Arguments after the command.

    Returns:
        The exit code 0; errors are raised.
    """
    _build(Command, command, argv)
    return 0


def check(command: str, argv: Sequence[str]) -> Command:
    """Reads the options of a command and builds what they name, as `run` would, and runs nothing.

    Args:
        command: fit, validate, test or predict.
        argv: Arguments after the command.

    Returns:
        The command with `config` (all options with their values), `model`, `datamodule` and `trainer`; errors are
        raised.
    """
    logging.disable(logging.INFO)  # seeds and devices are of interest when something runs
    try:
        return _build(_Built, command, argv)
    finally:
        logging.disable(logging.NOTSET)


def _build(kind: type[Command], command: str, argv: Sequence[str]) -> Command:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for text in _NOISE:
        warnings.filterwarnings("ignore", message=text)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_no_advertisement)
    if command == "test" and not any(word.partition("=")[0] in ("--config", "-c", "--help", "-h") for word in argv):
        argv = ["--config", "sa_co_gold.yaml", *argv]

    class One(kind):  # pyright: ignore[reportGeneralTypeIssues]
        """With the parser of the one command that is given: each takes a quarter of a second to build."""

        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            return {command: kind.subcommands()[command]}

    strict = {"exit_on_error": False}
    options: dict[str, Any] = dict(  # noqa: C408  # as it is called
        model_class=LightningModule,
        datamodule_class=LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        # Only training defines a run; the other commands leave its config.yaml alone.
        save_config_kwargs={"overwrite": True},
        save_config_callback=SaveConfig if command == "fit" else None,
        trainer_defaults={
            "logger": {
                "class_path": f"{TensorBoardLogger.__module__}.{TensorBoardLogger.__name__}",
                "init_args": {"save_dir": ".", "name": LOGS, "default_hp_metric": False},
            },
            "callbacks": [StepSeed()],
        },
        parser_kwargs={"prog": "litetext", **strict, command: {**strict, "description": _ABOUT[command]}},
        args=[command, *merge_configs(argv)],
    )
    try:
        return One(**options)
    except (ArgumentError, ValueError) as error:
        if isinstance(error, ValueError) and "Union subtypes" not in str(error):
            raise
        raise ValueError(one_line(str(error))) from error
    except RuntimeError as error:
        if "conditioned on metric" in str(error):
            raise ValueError(f"trainer.callbacks: {' '.join(str(error).split())}") from error
        if "loading state_dict" not in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"--ckpt_path is of another model than the config's: {reason}") from error
