"""Reads and merges YAML files of options."""

from typing import Any

import yaml

from litetext.commands.aliases import public_options, public_paths
from litetext.files import RepeatedKeyError, parse_yaml
from litetext.shipped import config_path


def deep_merge(base: Any, over: Any) -> Any:
    """Merges two configs; `over` wins, mappings are merged key by key.

    A `class_path` that differs replaces the whole entry: the init_args of one class mean nothing to another.
    """
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if "class_path" in over and base.get("class_path") not in (None, over["class_path"]):
        return over
    return {**base, **{key: deep_merge(base[key], value) if key in base else value for key, value in over.items()}}


def read_config(name: str) -> dict[str, Any]:
    """Reads one YAML file, the user's or a shipped one.

    Args:
        name: Its path, or the name of a shipped config.

    Returns:
        Its options, under today's names.

    Raises:
        FileNotFoundError: If it is neither a file nor a shipped config.
        ValueError: If it is not a YAML mapping, or names an option twice.
    """
    path = config_path(name)
    try:
        content = parse_yaml(public_paths(path.read_text(encoding="utf-8")))
    except RepeatedKeyError as error:
        raise ValueError(f"--config {name}: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {name}: not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"--config {name}: expected a mapping of options, found {type(content).__name__}")
    return public_options(content)
