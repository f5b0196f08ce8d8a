"""Students by the plain values that describe them in checkpoints and folders."""

from collections.abc import Mapping
from typing import Any

from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.static import StaticText
from litetext.models.text.student import Student

_KINDS: dict[str, type[Student]] = {"static": StaticText}


def build_student(config: Mapping[str, Any], **other: Any) -> Student:
    """A student with initial weights.

    Args:
        config: Its `config`; `architecture` says what it is, and is left out for a `MobileClipText`.
        other: Values in which it shall differ.

    Raises:
        TypeError: If a value is unknown.
        ValueError: If the architecture is unknown, or a value is out of its range.
    """
    given: dict[str, Any] = {**config, **other}
    name = given.pop("architecture", None)
    if name is None:
        return MobileClipText(**given)
    if name not in _KINDS:
        raise ValueError(f"architecture {name!r} is unknown; there is {', '.join(_KINDS)}")
    return _KINDS[name](**given)
