"""Options of Lightning's that litetext sets itself, or that would break its rules: refused, with the option to use."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PLACE = "--run NAME and --trainer.default_root_dir DIR say where a run lies"
_OWN = {
    "checkpoint.dirpath": _PLACE,
    "last.dirpath": _PLACE,
    "trainer.logger.save_dir": _PLACE,
    "trainer.logger.version": "--run NAME names it",
}
_LAST = "litetext keeps last.ckpt itself: --last.every_n_steps N says how often"


def check_own_keys(config: Mapping[str, Any], argv: Sequence[str]) -> None:
    """Refuses what would be overridden without a word, in config files and on the command line.

    Args:
        config: What the config files say together.
        argv: The other arguments.

    Raises:
        ValueError: One of these options is given; the message names the one to use.
    """
    for key, value in [*_flat(config), *_options(argv)]:
        # Configs that 0.1.0 saved hold the folder of then.
        if key in _OWN and (key, value) != ("trainer.logger.save_dir", "."):
            raise ValueError(f"{key} is set by litetext: {_OWN[key]}; leave it out")
        if key == "trainer.logger" and str(value).strip().lower() in ("true", "yes", "on"):
            raise ValueError(
                "trainer.logger true is a logger with folders of its own, which --run does not name; leave it out for "
                "TensorBoard in the run's folder, or give false for none"
            )
        if key == "checkpoint.save_last" and str(value).lower() not in ("none", "null", "false"):
            raise ValueError(f"checkpoint.save_last: {_LAST}; leave it out")
        if key == "checkpoint.filename" and any(mark in str(value) for mark in ("/", "\\")):
            raise ValueError(f"checkpoint.filename is {value!r}: it names a file in the run's folder; {_PLACE}")


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name.replace("logger.init_args.", "logger."), value


def _options(argv: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for word, following in zip(argv, [*argv, ""][1:], strict=True):
        if word.startswith("--"):
            name, mark, value = word[2:].partition("=")
            yield name.replace("logger.init_args.", "logger."), value if mark else following
