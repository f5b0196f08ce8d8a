"""Errors of LightningCLI's parser as one line: jsonargparse gives them as prose alone."""

import re

_KEY = re.compile(r'Parser key "(.+?)":\s*(.*)')
_OWNER = re.compile(r"Problem with given class_path '(.+)':\s*(.*)")
_NOISE = re.compile(
    r"(Does not validate against any|Subtypes:|Errors:|Given value type:|Expected a <class 'NoneType'>"
    r"|Expected a path but)"
)


def one_line(text: str) -> str:
    """The text of an error of jsonargparse as one line.

    It reports a bad value as a tree, one branch for each type that the option could have had; what
    remains of it is the option's full name, what was expected, and what was given.

    Args:
        text: The error's text, of any number of lines.

    Returns:
        The line.
    """
    if "Parser key" not in text and "Union subtypes" not in text:
        hint = "; a config names them: --config quickstart.yaml" if "required: fit." in text else ""
        return " ".join(text.split()) + hint
    path: list[tuple[int, str]] = []  # keys above the line at hand, each with its indentation
    name = owner = given = ""
    faults: list[str] = []
    for line in text.splitlines():
        depth, rest = len(line) - len(line.lstrip()), line.strip().removeprefix("- ")
        if key := _KEY.match(rest):
            path = [*(step for step in path if step[0] < depth), (depth, key[1])]
            rest = key[2]
        if cause := _OWNER.match(rest):
            owner, rest = cause[1], cause[2]
        if rest.startswith("Given value: "):
            given = rest.removeprefix("Given value: ")
        elif rest and not _NOISE.match(rest) and rest not in faults:
            name = name or ".".join(key for _, key in path)
            faults.append(f"{rest} by {owner}" if rest.endswith("is not accepted") else rest)
    message = " or ".join(faults)
    message = re.sub(r"(?<= or )Expected a ", "", message)
    message = re.sub(r"<class '([\w.]+)'>", r"\1", re.sub(r"(?:typing\.)?Literal\[(.+?)\]", r"one of \1", message))
    message = re.sub(r"\.? Got value: ", ", got ", message.replace("Expected a ", "expected "))
    if (
        "expected" in message
        and ", got " not in message
        and given
        and not given.startswith(("NestedArg", "Namespace", "{"))
    ):
        message += f", got {given}"
    return f"{name}: {message}" if name else message
