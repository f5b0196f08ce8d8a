"""What a run that goes on from a checkpoint may change, and what it may not.

Optimizer, schedule and position in the data come from the checkpoint. An option that they decide would be written into
the new config and checkpoints without having any effect; an option that decides what is trained on would make the run
another one half-way. Both are refused by name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import LambdaLR

from litetext.checkpoints.lightning import read_checkpoint

_KEY = "litetext_run"
_DECIDE = ("model.", "data.", "seed_everything")
_TRAINER = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "precision")
_LIMITS = ("limit_train_batches", "limit_val_batches", "overfit_batches")  # the best score is of the same prompts
_CHECKPOINT = ("checkpoint.monitor", "checkpoint.mode")
_LENGTH = ("trainer.max_epochs", "trainer.max_steps")
# Where things lie, how fast it goes, and what is compared by content: the student's sizes, the teacher's fingerprint,
# the corpora's token rows.
_FREE = (
    *("model.features_dir", "model.teacher_batch_tokens", "model.teacher_features", "model.teacher", "model.output"),
    "model.vision_dir",
    *("data.num_workers", "data.val_batch_size", "data.sources", "model.student."),
)
# A run that goes on from another run's checkpoint under its own name may change these, which do take effect.
_FORK = (
    *("model.mse_weight", "model.cosine_weight", "model.consistency_weight", "model.consistency_padding"),
    *(f"model.{part}_weight" for part in ("text", "presence", "scores", "boxes", "masks")),
    *("checkpoint.", "trainer."),
)


# An optimizer or schedule of the user's: of these the class counts too.
_REPLACED = ("model.optimizer.", "model.lr_scheduler.")


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide a training, by their dotted names without `init_args`.

    Args:
        config: All options of `litetext fit`, nested.
    """
    found: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(prefix if key == "init_args" else f"{prefix}.{key}" if prefix else str(key), inner)
        else:
            found[prefix] = value if isinstance(value, str | int | float | bool | None) else str(value)

    walk("", config)
    names = (*_DECIDE, *(f"trainer.{name}" for name in (*_TRAINER, *_LIMITS)), *_CHECKPOINT, *_LENGTH)
    # What a class is called may change with its version; state of another class does not load.
    return {
        name: value
        for name, value in found.items()
        if name.startswith(names) and (not name.endswith("class_path") or name.startswith(_REPLACED))
    }


def find_checkpoint(name: str, run: str, folder: Path, log: Path, runs: list[str]) -> Path:
    """The file that `--ckpt_path` means.

    Args:
        name: `last`, `best` (of this run), or a path.
        run: Name of the run.
        folder: Its checkpoints.
        log: Its logs.
        runs: Names of all runs that have checkpoints, for the message.

    Raises:
        FileNotFoundError: There is none; the message says what to do.
        ValueError: It is a folder.
    """
    own = name in ("last", "best")
    path = folder / f"{name}.ckpt" if own else Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise ValueError(f"--ckpt_path {name} is a folder; give the .ckpt file in it, such as {path / 'last.ckpt'}")
    if own and not any(folder.glob("*.ckpt")) and any(log.glob("events.*")):
        raise FileNotFoundError(
            f"--ckpt_path {name}: the run {run} ended before it wrote a checkpoint (there is no {path}); "
            "leave --ckpt_path out, and it begins anew"
        )
    raise FileNotFoundError(
        f"--ckpt_path {name}: there is no {path}; give the path of a .ckpt file, or --run NAME of the run "
        f"whose checkpoint is meant (existing runs: {', '.join(runs) or 'none'})"
    )


def check_resumable(path: Path, options: Mapping[str, Any], folder: Path) -> None:
    """Refuses a checkpoint that `fit` cannot go on from, and options that would have no effect.

    Args:
        path: The checkpoint.
        options: Those of `flatten`.
        folder: The run's own checkpoints; a checkpoint elsewhere is another run's.

    Raises:
        ValueError: Naming the options with both values.
    """
    stored = read_checkpoint(str(path))
    if "litetext" not in stored:
        raise ValueError(f"--ckpt_path {path}: it holds no litetext student or model, so fit cannot go on from it")
    if "optimizer_states" not in stored or "loops" not in stored:
        raise ValueError(
            f"--ckpt_path {path} holds weights alone, without the optimizer's state, so fit cannot go on from it; "
            "give a last.ckpt of litetext fit, or begin a new run without --ckpt_path"
        )
    fork = path.resolve().parent != folder.resolve()
    free = (*_FREE, *_LENGTH, *(_FORK if fork else ()))
    before = stored_options(stored)
    differ = [
        f"{name} ({_shown(before.get(name))} there, {_shown(options.get(name))} here)"
        for name in (*before, *(n for n in options if n.startswith(_REPLACED) and n not in before))
        if not name.startswith(free) and before.get(name) != options.get(name)
    ]
    if differ:
        raise ValueError(
            f"--ckpt_path {path}: a resumed run keeps its options, but these differ: {', '.join(differ)}; "
            "give them as they were, or begin a new run with --run NAME and without --ckpt_path"
        )


def stored_options(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the run that wrote a checkpoint; of older ones only those of the model."""
    state = stored.get(_KEY)
    if state:
        return json.loads(state["options"])
    given = {k: v for k, v in stored.get("hyper_parameters", {}).items() if isinstance(v, str | int | float | bool)}
    return {f"model.{name}": value for name, value in given.items() if not name.startswith("_")}


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)


class RunOptions(Callback):
    """Keeps in each checkpoint the options that decided it, and how many processes there were.

    A run that goes on for longer, or less long, follows the schedule of its new length from its first step on.

    Args:
        options: Those of `flatten`.
        origin: The other run's checkpoint from which this one goes on.

    Attributes:
        origin: That checkpoint, also of a run that was resumed since, in words.
    """

    def __init__(self, options: Mapping[str, Any], origin: Path | None = None) -> None:
        self.options = dict(options)
        self.origin = "" if origin is None else f"{origin}, step {read_checkpoint(str(origin))['global_step']:,}"
        self._before: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds options, number of processes and origin."""
        state = {"options": json.dumps(self.options), "processes": trainer.world_size, "origin": self.origin}
        checkpoint[_KEY] = state

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuses another number of processes: each has its own share of an epoch.

        Raises:
            ValueError: If it differs.
        """
        state = checkpoint.get(_KEY)
        if state is None or trainer.state.fn != "fit":
            return
        if state["processes"] != trainer.world_size:
            raise ValueError(
                f"the checkpoint is of a run of {state['processes']} processes, this one has {trainer.world_size}; "
                "give --trainer.devices and --trainer.num_nodes as they were"
            )
        self._before = json.loads(state["options"])
        self.origin = self.origin or state.get("origin", "")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts a run of another length onto its schedule, and says so."""
        if self._before is None:
            return
        changed = [n for n in _LENGTH if self._before.get(n) != self.options.get(n)]
        if not changed:
            return
        rates: list[float] = []
        for entry in trainer.lr_scheduler_configs:
            schedule = entry.scheduler
            if isinstance(schedule, LambdaLR):  # its optimizer still has the rate of the old schedule
                groups = zip(schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True)
                schedule._last_lr = [base * factor(schedule.last_epoch) for _, base, factor in groups]
                for group, rate in zip(schedule.optimizer.param_groups, schedule._last_lr, strict=True):
                    group["lr"] = rate
                rates = [float(rate) for rate in schedule._last_lr]
        changes = ", ".join(
            f"{n} {_shown(self._before.get(n))} there, {_shown(self.options.get(n))} here" for n in changed
        )
        rate = f", from step {trainer.global_step} at a rate of {rates[0]:.3g}" if rates else ""
        if trainer.is_global_zero:
            print(f"{changes}: the run goes on by the schedule of the new length{rate}")
