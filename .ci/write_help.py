"""Writes litetext/commands/shipped_help.json: what the parsers of fit, validate, test and predict print as help.

Run it as `python .ci/write_help.py` from anywhere, and commit what it has written.
"""

import argparse
import json
import os
import sys
from typing import Any
from unittest import mock

os.environ["HF_HUB_OFFLINE"] = "1"

import jsonargparse
from jsonargparse import _formatters

from litetext.cli import LIGHTNING_COMMANDS, main
from litetext.commands.shipped_help import SHIPPED, sources, versions


def parser_of(command: str) -> jsonargparse.ArgumentParser:
    """The parser that prints the help of a command."""
    found: list[jsonargparse.ArgumentParser] = []

    def keep(parser: jsonargparse.ArgumentParser, *_: Any) -> None:
        found.append(parser)

    with mock.patch.object(jsonargparse.ArgumentParser, "print_help", keep):
        main([command, "-h", "--threads", "1"])  # more than -h alone: the parser is to be built
    return found[0]


def described(command: str, options: list[dict[str, str]]) -> dict[str, Any]:
    """The parts of a help text; options that are not among the given ones are added to them."""
    parser = parser_of(command)
    usage, sections = [], []

    class Recorder(_formatters.DefaultHelpFormatter):
        """Takes down what it is asked to lay out."""

        def add_usage(self, usage_text: Any, actions: Any, groups: Any, *rest: Any, **more: Any) -> None:
            if usage_text is not None or list(groups):
                raise ValueError("a usage text of its own, or exclusive options: not foreseen")
            links = [a for a in actions if not isinstance(a, _formatters.ActionLink)]
            usage.extend(self.number(a) for a in _formatters.filter_non_parsing_actions(links))

        def start_section(self, heading: str | None) -> None:
            sections.append({"title": heading, "description": None, "options": []})

        def end_section(self) -> None:
            pass

        def add_text(self, text: str | None) -> None:
            if sections:
                sections[-1]["description"] = text

        def add_arguments(self, actions: Any) -> None:
            shown = [a for a in actions if a.help is not argparse.SUPPRESS]
            sections[-1]["options"] += [self.number(a) for a in shown]

        def format_help(self) -> str:
            return ""

        def number(self, action: argparse.Action) -> int:
            default = self._get_default_metavar_for_optional(action)
            option = {
                "name": action.option_strings[0] if action.option_strings else "",
                "values": "" if action.nargs == 0 else self._format_args(action, default),
                "required": "yes" if action.required else "",
                "invocation": self._format_action_invocation(action),
                "help": self._expand_help(action),
            }
            option = {key: text for key, text in option.items() if text or key in ("name", "values")}
            if option not in options:
                options.append(option)
            return options.index(option)

    parser.formatter_class = Recorder
    parser.format_help()
    closing = sections.pop() if sections and not sections[-1]["options"] else None
    if closing is not None and closing["description"]:
        raise ValueError(f"a section without options: {closing}")
    return {"prog": parser.prog, "description": parser.description, "usage": usage, "groups": sections}


def run() -> None:
    """Writes the file."""
    sys.argv[0] = "litetext"
    options: list[dict[str, str]] = []
    commands = {command: described(command, options) for command in LIGHTNING_COMMANDS}
    content = {"versions": versions(), "sources": sources(), "commands": commands, "options": options}
    SHIPPED.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{SHIPPED}: {len(commands)} commands, {len(options)} options")


if __name__ == "__main__":
    run()
