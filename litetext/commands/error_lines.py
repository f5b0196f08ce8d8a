"""Errors as one line: those of LightningCLI's parser, which jsonargparse gives as prose, and those of a device."""

import re

_KEY = re.compile(r'Parser key "(.+?)":\s*(.*)')
_OWNER = re.compile(r"Problem with given class_path '(.+)':\s*(.*)")
_NOISE = re.compile(
    r"(Does not validate against any|Subtypes:|Errors:|Given value type:|Expected a <class 'NoneType'>"
    r"|Expected a path but)"
)

_FULL = re.compile(r"out of memory|can't allocate memory|not enough memory")
_LESS = {
    "fit": "a smaller --data.batch_size, --trainer.precision bf16-mixed",
    "validate": "a smaller --data.batch_size",
    "test": "--model.chunk 1, --model.memory_gb, --model.dtype bfloat16",
    "segment": "--chunk 1, --dtype bfloat16, --tiles for large images, --device cpu",
    "demo": "--dtype bfloat16, --device cpu",
    "predict": "--trainer.accelerator cpu",
    "bench": "fewer text encoders, smaller --batch_sizes, --device cpu",
}
"""By command, what takes less memory."""
_LACKS = re.compile(r"The operator '([\w:.]+)' is not currently implemented for the (\w+) device")
_ON_CPU = {"segment": "--device cpu", "demo": "--device cpu", "bench": "--device cpu"}
"""By command, what has it compute on the CPU; of Lightning's commands it is an option of the trainer."""


class OutOfMemory(Exception):
    """The memory of the device or of the machine is full."""


def out_of_memory(error: Exception, command: str) -> OutOfMemory | None:
    """The message for an error of a computation where memory is full, None where it is not.

    Args:
        error: The error.
        command: The command that it ended.
    """
    if not (isinstance(error, MemoryError) or _FULL.search(str(error))):
        return None
    reason = " ".join(str(error).split()).split(". ")[0][:160] or "out of memory"
    return OutOfMemory(f"memory is full ({reason}); what takes less: {_LESS.get(command, 'a smaller model or input')}")


class DeviceError(Exception):
    """A device cannot do what a model needs."""


def missing_operator(error: Exception, command: str) -> DeviceError | None:
    """The message for an error of a device on which PyTorch has not implemented an operator, None for others.

    Args:
        error: The error.
        command: The command that it ended.
    """
    found = _LACKS.search(str(error))
    if found is None:
        return None
    name, device = found.groups()
    fallback = "set PYTORCH_ENABLE_MPS_FALLBACK=1 to have it computed on the CPU, or " if device == "MPS" else ""
    way = _ON_CPU.get(command, "--trainer.accelerator cpu")
    return DeviceError(f"PyTorch has no {name} on {device}; {fallback}compute everything there ({way})")


class NotMet(Exception):
    """The processes of a run did not find each other."""


def not_met(error: Exception) -> NotMet | None:
    """The message for an error of processes that did not find each other at the start, None for others."""
    if not {"DistStoreError", "DistNetworkError"} & {kind.__name__ for kind in type(error).__mro__}:
        return None
    first = str(error).splitlines()[0].rstrip(".")
    return NotMet(
        f"the processes of the run did not find each other ({first}); each must start within the strategy's timeout, "
        "and reach MASTER_ADDR at MASTER_PORT"
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
