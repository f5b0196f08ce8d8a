"""JSON and YAML text in which no mapping names a key twice; the parsers alone would keep the last without a word."""

import json
from typing import Any

import yaml


class RepeatedKeyError(ValueError):
    """A mapping names a key twice."""


def parse_json(text: str | bytes) -> Any:
    """Parses JSON.

    Args:
        text: The whole text; bytes in UTF-8, 16 or 32.

    Raises:
        json.JSONDecodeError: It is not JSON (UnicodeDecodeError: no text).
        RecursionError: It is nested too deeply.
        RepeatedKeyError: A mapping names a key twice.
    """
    return json.loads(text, object_pairs_hook=_mapping)


def parse_yaml(text: str) -> Any:
    """Parses YAML of plain values.

    Raises:
        yaml.YAMLError: It is not YAML.
        RepeatedKeyError: A mapping names a key twice; what a merge (`<<`) brings in may be named again.
    """
    return yaml.load(text, _Loader)


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    key = next(key for key, _ in pairs if key in seen or seen.add(key))
    text = " ".join(repr(found).split())
    raise RepeatedKeyError(
        f"{key!r} stands twice in one mapping, {text if len(text) <= 80 else text[:77] + '...'}; keep one"
    )


class _Loader(yaml.SafeLoader):
    """Compares the keys of a mapping before merges are resolved."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                raise RepeatedKeyError(
                    f"{key.value!r} stands twice in one mapping, lines {lines[name]} and {line}; keep one"
                )
            lines[name] = line
        return node
