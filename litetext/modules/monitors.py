"""Which scores are better the higher they are, so that nothing keeps the worst weights for the best."""

from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import Trainer

from litetext.modules.checkpointing import BestCheckpoint

_LIBRARIES = ("lightning.", "litetext.")


def score_directions(
    higher: Iterable[str] = (), lower: Iterable[str] = (), neither: Iterable[str] = ()
) -> dict[str, str]:
    """The scores of a module's validation, for its attribute `score_directions`.

    Args:
        higher: Names without `val/` of scores that are better the higher they are.
        lower: Those that are better the lower they are.
        neither: Those that say nothing of the model.

    Returns:
        By name `max`, `min` or "".
    """
    return {**dict.fromkeys(higher, "max"), **dict.fromkeys(lower, "min"), **dict.fromkeys(neither, "")}


def check_monitors(trainer: Trainer, module: Any) -> None:
    """Refuses callbacks of a fit that would take the worst score for the best, or follow one that nobody logs.

    Args:
        trainer: The run's trainer, before it runs.
        module: Its module; one without the attribute `score_directions` passes.

    Raises:
        ValueError: Naming the option, what it is, and what it must be.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    # Other people's classes may log scores that are not known here.
    known = all(type(one).__module__.startswith(_LIBRARIES) for one in (module, *callbacks))
    for callback in callbacks:
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(monitor, str) and isinstance(mode, str):
            own = isinstance(callback, BestCheckpoint)
            option = "checkpoint" if own else f"trainer.callbacks.{type(callback).__name__}"
            check_monitor(option, monitor, mode, module, known)


def check_monitor(option: str, monitor: str, mode: str, module: Any, known: bool = False) -> None:
    """Refuses a direction that a score does not have.

    Args:
        option: What has the two, such as `checkpoint`.
        monitor: The score's name, such as `val/loss`.
        mode: `max` or `min`.
        module: The module that logs it.
        known: Whether nobody but the module logs scores.

    Raises:
        ValueError: As `check_monitors`.
    """
    logged: Mapping[str, str] | None = getattr(module, "score_directions", None)
    place, _, name = monitor.partition("/")
    if logged is None or place != "val":
        return
    if known and name not in logged:
        raise ValueError(
            f"{option}.monitor is {monitor}, which {type(module).__name__} does not log; it logs "
            f"{', '.join(f'val/{name}' for name in logged)}"
        )
    better = logged.get(name)
    if better and mode != better:
        how = "higher" if better == "max" else "lower"
        raise ValueError(
            f"{option}.mode is {mode}, but {option}.monitor {monitor} is better the {how} it is: the worst would be "
            f"taken for the best; give {option}.mode {better}"
        )
