"""Where a model computes."""

import torch


def find_device(name: str | torch.device | None) -> torch.device:
    """The device of a name, if this machine has it.

    Args:
        name: Such as `cpu`, `cuda:1` or `mps`; None takes a GPU where there is one.

    Raises:
        ValueError: It is no device that PyTorch knows, or not one of this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name} is none that PyTorch knows; choose such as {_there()}") from error
    if device.type == "meta":
        raise ValueError(f"device meta computes nothing; choose {_there()}")
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name} is not there ({_reason(error)}); choose {_there()}") from error
    return device


def _there() -> str:
    found = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return " or ".join(found)


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:100]
