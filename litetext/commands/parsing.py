"""The parser of a plain command is its function: the signature gives the options, the docstring their help.

Positional-only parameters are positionals, lists take several words, a mapping takes NAME=PATH words, a `bool` is a
flag. Only the standard library and the docstring parser are imported, so that `--help` answers at once.
"""

import argparse
import inspect
import json
import shutil
import textwrap
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints


class AtLeast(NamedTuple):
    """The smallest value of an option, as an annotation: `Annotated[int, AtLeast(1)]`."""

    value: float


Positive = Annotated[int, AtLeast(1)]
ConfigFiles = Annotated[list[str], "YAML files of the command's own options; options of the command line win."]
"""Marks the parameter whose files hold other options of the same command; later files win, key by key."""


class Option(NamedTuple):
    """One parameter of a function, as the command line sees it.

    Attributes:
        name: Its name.
        kind: Type of one value: str, int, float, bool, or the tuple of its choices.
        many: The list or tuple that several words make; None where one word is the value.
        pairs: Several NAME=PATH words make one value: a dictionary.
        alone: It may stand without a word, and is True then.
        positional: It has no name on the command line.
        default: `inspect.Parameter.empty` where it is required.
        minimum: Its smallest value.
        configs: It names files of other options.
        text: Its help.
    """

    name: str
    kind: Any
    many: Any
    pairs: bool
    alone: bool
    positional: bool
    default: Any
    minimum: float | None
    configs: bool
    text: str

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty

    def value(self, words: Any) -> Any:
        """The typed value of the words given.

        Args:
            words: A word, a list of words, or a bool of a flag.

        Raises:
            ValueError: A word is not of the option's type, or out of its range.
        """
        if words == "null" and self.default is None:
            return None
        if words == [] and (self.pairs or self.configs):
            what = "at least one NAME=PATH" if self.pairs else "the name or path of a YAML file"
            raise ValueError(f"--{self.name} needs {what}")
        if self.pairs:
            return _mapping(self.name, words)
        if self.many:
            if self.kind in (int, float) and len(words) == 1 and words[0][:1] == "[":
                words = [word.strip() for word in words[0].strip("[]").split(",")]  # [1, 2], as before
            return self.many(self._one(word) for word in words)
        return words if isinstance(words, bool) else self._one(words)

    def _one(self, word: str) -> Any:
        if isinstance(self.kind, tuple):
            named = {str(choice): choice for choice in self.kind}
            if word not in named:
                raise ValueError(f"{self.name}: expected one of {', '.join(map(repr, self.kind))}, got {word}")
            return named[word]
        try:
            value = self.kind(word)
        except ValueError as error:
            raise ValueError(f"{self.name}: expected {self.kind.__name__}, got {word}") from error
        if self.minimum is not None and not value >= self.minimum:
            raise ValueError(f"--{self.name} is {word}; it must be at least {self.minimum:g}")
        return value


def renamed(**names: str) -> Callable[[Any], Any]:
    """Lets the options of a command be given by their earlier names too.

    Args:
        names: Today's names by the earlier ones.
    """

    def mark(function: Any) -> Any:
        function.names_of_before = names
        return function

    return mark


def call(function: Callable[..., Any], argv: Sequence[str], prog: str) -> Any:
    """Calls a function with the arguments of a command line.

    Args:
        function: Typed, with a Google docstring.
        argv: Arguments.
        prog: The command's name in its help.

    Returns:
        What the function returns.

    Raises:
        ValueError: The arguments do not fit.
        SystemExit: The help was requested, and is printed.
    """
    values = parse(function, argv, prog)
    first = [values.pop(option.name) for option in options(function) if option.positional]
    return function(*first, **values)


def parse(
    function: Callable[..., Any], argv: Sequence[str], prog: str, *others: Callable[..., Any], epilog: str | None = None
) -> dict[str, Any]:
    """The values of a function's parameters, by name.

    Args:
        function: Typed, with a Google docstring.
        argv: Arguments.
        prog: The command's name in its help.
        others: Functions whose parameters are options too.
        epilog: What stands at the end of the help, as it is.

    Raises:
        ValueError: The arguments do not fit.
        SystemExit: The help or the options were requested, and are printed.
    """
    known = {option.name: option for one in (function, *others) for option in options(one)}
    files = next((name for name, option in known.items() if option.configs), None)
    parser = _Parser(
        prog=prog,
        description=_described(function),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    before: Mapping[str, str] = getattr(function, "names_of_before", {})
    for option in known.values():
        also = [f"--{old}" for old, new in before.items() if new == option.name]
        _add(parser, option, option.required and files is None, also)
    if files is not None:
        parser.add_argument("--print_config", action="store_true", default=None, help="Print all options as YAML.")
    words = vars(parser.parse_args(_spelled(argv, before)))
    given = {name: value for name, value in words.items() if value is not None}
    shown = given.pop("print_config", False)
    if files in given:
        given = _from_files(known[files].value(given[files]), known, before) | given
    if missing := [_shown(option) for name, option in known.items() if option.required and name not in given]:
        raise ValueError(f"the following arguments are required: {', '.join(missing)}")
    defaults = {name: option.default for name, option in known.items()}
    values = defaults | {name: known[name].value(words) for name, words in given.items()}
    if shown:
        print(_yaml({name: value for name, value in values.items() if name != files}), end="")
        raise SystemExit(0)
    return values


def options(function: Callable[..., Any]) -> list[Option]:
    """The parameters of a function as options, in their order."""
    from docstring_parser import parse_from_object

    hints = get_type_hints(function, include_extras=True)
    texts = {part.arg_name: " ".join((part.description or "").split()) for part in parse_from_object(function).params}
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        minimum, configs, kind = None, False, hints[name]
        if kind == ConfigFiles:
            configs = True
        parts = set(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else {kind}
        alone = bool in parts and len(parts) > 1
        (kind,) = (part for part in parts if part is not type(None) and not (alone and part is bool))
        many, pairs = None, False
        kind, minimum = _bare(kind, minimum)
        if get_origin(kind) in (list, tuple):
            many, (kind, minimum) = get_origin(kind), _bare(get_args(kind)[0], minimum)
        elif get_origin(kind) is dict:
            pairs, kind = True, str
        if get_origin(kind) is Literal:
            kind = get_args(kind)
        found.append(
            Option(name, kind, many, pairs, alone, positional, parameter.default, minimum, configs, texts.get(name, ""))
        )
    return found


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ValueError(message)


def _bare(kind: Any, minimum: float | None) -> tuple[Any, float | None]:
    if get_origin(kind) is not Annotated:
        return kind, minimum
    kind, *notes = get_args(kind)
    return kind, next((note.value for note in notes if isinstance(note, AtLeast)), minimum)


def _described(function: Callable[..., Any]) -> str:
    from docstring_parser import parse_from_object

    text = parse_from_object(function)
    columns = shutil.get_terminal_size().columns - 2
    return "\n\n".join(
        textwrap.fill(" ".join(part.split()), columns)
        for part in (text.short_description, text.long_description)
        if part
    )


def _add(parser: argparse.ArgumentParser, option: Option, must: bool, also: Sequence[str]) -> None:
    given: dict[str, Any] = {"help": _help(option, also)}
    if option.kind is bool:
        parser.add_argument(f"--{option.name}", action="store_true", default=None, **given)
        return
    upper = option.name.upper()
    choices = isinstance(option.kind, tuple)
    given["metavar"] = (
        "{" + ",".join(map(str, option.kind)) + "}" if choices else "NAME=PATH" if option.pairs else upper
    )
    if option.many or option.pairs:
        # Without a default here: what is given more than once adds up, and replaces the default.
        none = option.pairs or option.configs or (option.positional and not option.required)
        given |= {"nargs": "*" if none else "+", "action": "extend"}
    elif option.alone:
        given |= {"nargs": "?", "const": True}
    if option.positional:
        parser.add_argument(option.name, **({"nargs": "?"} if not option.many else {}), **given)
    else:
        parser.add_argument(f"--{option.name}", required=must, **given)


def _help(option: Option, also: Sequence[str]) -> str:
    text = option.text + "".join(f" (also {name})" for name in also)
    if option.required:
        text += " (required)"
    elif option.default is not None and option.default is not False and option.default != ():
        default = option.default
        shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else default
        text += f" (default: {shown})"
    return text.strip().replace("%", "%%")


def _shown(option: Option) -> str:
    return option.name if option.positional else f"--{option.name}"


def _spelled(argv: Sequence[str], before: Mapping[str, str]) -> list[str]:
    """Options under their names of today; hyphens are as good as underscores."""
    words = list(argv)
    for n, word in enumerate(words):
        if word == "--":
            break
        if word.startswith("--"):
            name, mark, value = word[2:].partition("=")
            name = name.replace("-", "_")
            words[n] = f"--{before.get(name, name)}{mark}{value}"
    return words


def _mapping(name: str, words: Any) -> dict[str, str]:
    if isinstance(words, dict):
        return {str(key): str(value) for key, value in words.items()}
    found: dict[str, str] = {}
    for word in words:
        key, mark, path = word.partition("=")
        if not (mark and key and path):
            raise ValueError(f"--{name} {word} is no NAME=PATH; write {Path(word).stem or 'mine'}={path or word}")
        if key in found:
            raise ValueError(f"--{name} names {key!r} twice; give each a name of its own")
        found[key] = path
    return found


def _from_files(files: Sequence[str], known: Mapping[str, Option], before: Mapping[str, str]) -> dict[str, Any]:
    """What YAML files hold, as the words that would have been given."""
    from litetext.commands.config_files import read_config

    found: dict[str, Any] = {}
    for file in files:
        for key, value in read_config(file).items():
            name = before.get(str(key).replace("-", "_"), str(key).replace("-", "_"))
            if name not in known or known[name].configs:
                raise ValueError(f"--config {file}: {key} is no option; there are {', '.join(known)}")
            if value is None and not known[name].required:
                found.pop(name, None)
                continue
            found[name] = _words(known[name], value, f"--config {file}: {key}")
    return found


def _yaml(values: Mapping[str, Any]) -> str:
    import yaml

    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _words(option: Option, value: Any, where: str) -> Any:
    if option.kind is bool or (option.alone and isinstance(value, bool)):
        if not isinstance(value, bool):
            raise ValueError(f"{where} is {json.dumps(value, default=str)}; write true or false")
        return value
    if option.pairs:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {json.dumps(value, default=str)}; write names and paths, as {{mine: a.txt}}")
        return value
    if option.many:
        return [str(part) for part in (value if isinstance(value, list) else [value])]
    if isinstance(value, list | dict):
        raise ValueError(f"{where} is {json.dumps(value, default=str)}; write one value")
    return str(value)
