"""The commands that the documentation and the shipped configs show: each is read by the parser that would run it."""

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

from litetext.cli import LIGHTNING_COMMANDS, PLAIN_COMMANDS
from litetext.commands import lightning
from litetext.commands.bench import bench, compare, output_file
from litetext.commands.benchmarks import BENCHMARKS
from litetext.commands.parsing import parse

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", ".github/CONTRIBUTING.md")),
    *sorted((ROOT / ".docs" / "pages").rglob("*.md")),
    *sorted((ROOT / "checkpoints").glob("*/README.md")),
]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
BASH = shutil.which("bash")
# With an empty PATH nothing but the shell itself runs: a block's variables and loops do, its other commands do not.
SHELL = "litetext() { printf '%s\\0' \"$@\"; printf '\\n'; }\nPATH=\n"


def blocks(path: Path) -> Iterator[str]:
    """What a page or a config says in the shell's language."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        head = "\n".join(line[1:] for line in text.splitlines() if line.startswith("#"))
        yield "\n".join(re.findall(r"^ +(litetext (?:.*\\\n)*.*)$", head, re.MULTILINE))
        return
    yield from re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    yield from re.findall(r"^    (litetext .*)$", text, re.MULTILINE)
    yield from re.findall(r"\| `(litetext .*?)` \|", text)


@cache
def commands() -> list[tuple[str, list[str]]]:
    """Page and arguments of every command."""
    found = []
    for path in [*PAGES, *CONFIGS]:
        for block in blocks(path):
            ran = subprocess.run([str(BASH), "-c", SHELL + block], capture_output=True, check=False, cwd=ROOT)
            lines = ran.stdout.decode().split("\0\n")[:-1]
            assert len(lines) >= len(re.findall(r"^litetext ", block, re.MULTILINE)), (path, block, ran.stderr)
            words = ([word for word in line.split("\0") if word != "..."] for line in lines)
            found += [(str(path.relative_to(ROOT)), one) for one in words]
    return found


class Stopped(Exception):
    """Holds the parser of a LightningCLI command."""


class ParserAlone(lightning.Command):
    """Stops before anything is parsed."""

    def parse_arguments(self, parser: Any, args: Any) -> NoReturn:
        """Hands the parser out."""
        raise Stopped(parser)


def lightning_parser(command: str) -> Any:
    with pytest.raises(Stopped) as stopped:
        lightning._build(ParserAlone, command, [])
    return stopped.value.args[0]


pytestmark = pytest.mark.skipif(BASH is None, reason="there is no bash")


def configs_of(words: list[str]) -> tuple[str, ...]:
    return tuple(words[k + 1] for k, word in enumerate(words) if word == "--config")


@pytest.mark.parametrize("command", LIGHTNING_COMMANDS)
def test_lightning_commands_have_the_options_that_are_shown(command: str) -> None:
    # Commands of the same configs are read as one: each reading takes a while. Those that choose a class stand alone.
    together: dict[tuple[str, ...], tuple[set[str], list[str]]] = {}
    for page, words in commands():
        if words[0] != command or {"--help", "--model.help", "--data.help"} & set(words):
            continue
        configs = configs_of(words)
        # The configs that ship, and none of the reader's own.
        if any(("/" in name and not name.startswith("paper/")) or name == "mine.yaml" for name in configs):
            continue
        alone = "class_path" in " ".join(words)
        pages, joined = together.setdefault((*configs, *words) if alone else configs, (set(), []))
        pages.add(page)
        joined += words[1:]
    assert together
    parser = lightning_parser(command)
    for pages, words in together.values():
        try:
            parser.parse_args([command, *lightning.merge_configs(words)])
        except (SystemExit, Exception) as error:
            pytest.fail(f"{', '.join(sorted(pages))}: litetext {command} {' '.join(words)}\n{error}")


@pytest.mark.parametrize("command", PLAIN_COMMANDS)
def test_plain_commands_have_the_options_that_are_shown(command: str) -> None:
    module = importlib.import_module(PLAIN_COMMANDS[command][0])
    shown = [(page, words[1:]) for page, words in commands() if words[0] == command and "--help" not in words]
    for page, words in shown:
        others = []
        if command != "bench":
            function = getattr(module, command)
        elif words[:1] == ["compare"]:
            function, words = compare, words[1:]
        else:
            named = bool(words) and not words[0].startswith("-")
            others = [output_file]
            function, words = (BENCHMARKS[words[0]], words[1:]) if named else (bench, words)
        try:
            parse(function, words, f"litetext {command}", *others)
        except (SystemExit, Exception) as error:
            pytest.fail(f"{page}: litetext {command} {' '.join(words)}\n{error}")
    assert shown


def test_no_command_is_shown_that_is_not_there() -> None:
    known = {*LIGHTNING_COMMANDS, *PLAIN_COMMANDS}
    assert [(page, words) for page, words in commands() if words[0] not in known and not words[0].startswith("-")] == []
