"""A typed function with its docstring is the parser of a command."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from litetext.cli import PLAIN_COMMANDS
from litetext.commands.bench import bench
from litetext.commands.benchmarks import BENCHMARKS
from litetext.commands.parsing import AtLeast, ConfigFiles, Positive, call, options, parse, renamed
from tests.fixtures.runs import Answer


@renamed(old_size="size")
def paint(
    files: tuple[str, ...] = (),
    /,
    *,
    config: ConfigFiles = [],  # noqa: B006
    size: Positive,
    colours: tuple[float, ...] = (0.5, 1.0),
    way: Literal["fast", "slow"] = "fast",
    names: dict[str, str] | None = None,
    tiles: int | bool | None = None,
    wet: bool = False,
    title: str | None = None,
) -> dict[str, Any]:
    """Paints 100% of what it is given.

    Twice.

    Args:
        files: What.
        config: Options.
        size: How large, 5% or more.
        colours: Shares.
        way: How.
        names: Palette.
        tiles: Sides.
        wet: Wet.
        title: Title.
    """
    return locals()


USUAL: dict[str, Any] = {
    "files": (), "config": [], "size": 3, "colours": (0.5, 1.0), "way": "fast", "names": None, "tiles": None,
    "wet": False, "title": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ("--size 3", {}),
        ("--size=3", {}),
        ("--old-size 3", {}),
        ("--old_size=3", {}),
        ("a b --size 3", {"files": ("a", "b")}),
        ("--size 3 -- --a", {"files": ("--a",)}),
        ("--size 3 --colours 1 2 3", {"colours": (1.0, 2.0, 3.0)}),
        ("--size 3 --colours 1 --colours -2", {"colours": (1.0, -2.0)}),
        ("--size 3 --tiles", {"tiles": True}),
        ("--size 3 --tiles 64 --wet", {"tiles": 64, "wet": True}),
        ("--size 3 --names a=b --names c=d=e", {"names": {"a": "b", "c": "d=e"}}),
        ("--size 3 --title null --way slow", {"way": "slow"}),
        ("--size 3 --title=a-b=c", {"title": "a-b=c"}),
    ],
)
def test_words_become_values(argv: str, told: dict[str, Any]) -> None:
    given = call(paint, argv.split(), "paint")
    assert given == USUAL | told
    assert type(given["colours"]) is tuple


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ("", "the following arguments are required: --size"),
        ("--size 0", "--size is 0; it must be at least 1"),
        ("--size x", "size: expected int, got x"),
        ("--size 2.5", "size: expected int, got 2.5"),
        ("--size 3 --way quick", "way: expected one of 'fast', 'slow', got quick"),
        ("--size 3 --colours 1 red", "colours: expected float, got red"),
        ("--size 3 --names", "--names needs at least one NAME=PATH"),
        ("--size 3 --names b.txt", "--names b.txt is no NAME=PATH; write b=b.txt"),
        ("--size 3 --names a=b a=c", "--names names 'a' twice"),
        ("--size 3 --config", "--config needs the name or path of a YAML file"),
        ("--size 3 --wett", "unrecognized arguments: --wett"),
        ("--size", "argument --size: expected one argument"),
    ],
)
def test_words_that_do_not_fit_are_named(argv: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse(paint, argv.split(), "paint")


def test_files_give_options_and_the_command_line_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("old-size: 4\nnames: {a: b}\nwet: true\ntiles: true\ncolours: [1]\ntitle: x\n")
    Path("b.yaml").write_text("title: null\nway: slow\n")
    given = parse(paint, ["--config", "a.yaml", "--colours", "2", "3", "--config", "b.yaml"], "paint")
    assert given["config"] == ["a.yaml", "b.yaml"]
    del given["config"]
    assert given == {k: v for k, v in USUAL.items() if k != "config"} | {
        "size": 4, "names": {"a": "b"}, "wet": True, "tiles": True, "colours": (2.0, 3.0), "way": "slow",
    }  # fmt: skip
    with pytest.raises(SystemExit):
        parse(paint, ["--config", "a.yaml", "--print_config"], "paint")
    Path("d.yaml").write_text(capsys.readouterr().out)
    again = parse(paint, ["--config", "d.yaml"], "paint")
    assert {k: v for k, v in again.items() if k != "config"} == {
        k: v for k, v in parse(paint, ["--config", "a.yaml"], "paint").items() if k != "config"
    }
    for text, told in [
        ("sizee: 3", "--config c.yaml: sizee is no option; there are files, config, size,"),
        ("size: [3, 4]", "--config c.yaml: size is [3, 4]; write one value"),
        ("size: 0", "--size is 0; it must be at least 1"),
        ("size: true", "size: expected int, got True"),
        ("wet: 3", "--config c.yaml: wet is 3; write true or false"),
        ("names: a", "--config c.yaml: names is"),
        ("config: a.yaml", "config is no option"),
        ("- a", "expected a mapping of options, found list"),
    ]:
        Path("c.yaml").write_text(text)
        with pytest.raises(ValueError, match=re.escape(told)):
            parse(paint, ["--config", "c.yaml"], "paint")


def test_the_help_is_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call(paint, ["--help"], "litetext paint")
    told = capsys.readouterr().out
    assert told.startswith("usage: litetext paint ")
    for part in ("Paints 100% of what it is given.", "Twice.", "How large, 5% or more.", "(also --old_size)"):
        assert part in told
    assert "Shares. (default: 0.5 1.0)" in told


def test_every_option_of_every_command_is_explained() -> None:
    import importlib

    functions: list[Callable[..., Any]] = [bench, *BENCHMARKS.values()]
    for name, (module, _) in PLAIN_COMMANDS.items():
        functions.append(getattr(importlib.import_module(module), name))
    for function in functions:
        for option in options(function):
            assert option.text, (function.__name__, option.name)
    assert {"sam3", "text_encoder"} <= {option.name for f in functions for option in options(f)}
    assert not {"model", "encoder", "encoders"} & {option.name for f in functions for option in options(f)}


def test_the_names_of_before_still_reach_the_command(tmp_path: Path, refused: Callable[..., str]) -> None:
    for old in ("--model", "--sam3"):
        line = refused("segment", "a.png", "--phrases", "cup", "--output", str(tmp_path / "out"), old)
        assert "argument --sam3: expected one argument" in line
    assert "nowhere" in refused("fit", "--config", "quickstart.yaml", "--ckpt-path", "nowhere.ckpt")


def test_names_that_the_user_gives_keep_their_hyphens(litetext: Callable[..., Answer]) -> None:
    options = ("--data.val-fraction", "0.2", "--data.sources.my-list", "shapes:30", "--model.student.context-length=9")
    answer = litetext("fit", "--config", "quickstart.yaml", *options, "--print-config")
    assert answer.code == 0, answer.err
    assert "val_fraction: 0.2" in answer.out
    assert "my-list: shapes:30" in answer.out


def test_at_least_is_read_from_the_annotation() -> None:
    (size,) = (option for option in options(paint) if option.name == "size")
    assert (size.minimum, AtLeast(1).value, size.required) == (1, 1, True)
    assert inspect.signature(paint).parameters["size"].kind is inspect.Parameter.KEYWORD_ONLY
