"""Where the files that travel with the package lie: the configs and the tiny SAM3s."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent

SHORT = {"nouns": "checkpoints/sam3-nouns", "shapes": "checkpoints/sam3-tiny"}
"""The shipped SAM3s by the worlds that they know."""


def _roots() -> list[Path]:
    # In an installed wheel the files lie inside the package; in a checkout they are the project's own folders.
    return [_PACKAGE / "shipped_files", _PACKAGE.parent]


def shipped(path: str) -> str:
    """Finds a file by the user's path first, and otherwise among the shipped files.

    Args:
        path: A path, or a shipped name such as `checkpoints/sam3-nouns`, for which `nouns` is short (see `SHORT`).

    Returns:
        `path` itself when it exists or is not shipped, otherwise the shipped file's absolute path. A short name means
        the shipped SAM3 unless a folder with a config.json has it: the world's drawings may lie in `nouns`, too.
    """
    if path in SHORT and not Path(path, "config.json").is_file():
        path = SHORT[path]
    if Path(path).is_absolute() or Path(path).exists():
        return path
    return next((str(root / path) for root in _roots() if (root / path).exists()), path)


def world_of(model: str) -> str:
    """The world whose scenes suit a SAM3: `shapes` for the shipped one that knows nothing else, otherwise `nouns`.

    Args:
        model: As `shipped` takes it.
    """
    return "shapes" if Path(shipped(model)).name == Path(SHORT["shapes"]).name else "nouns"


def config_names() -> list[str]:
    """Names of the shipped configs, relative to `configs/`, for messages."""
    for root in _roots():
        folder = root / "configs"
        if folder.is_dir():
            return sorted(str(p.relative_to(folder)) for p in folder.rglob("*.yaml"))
    return []


def config_path(name: str) -> Path:
    """Resolves `--config NAME` from any folder.

    Args:
        name: A file's path, or the name of a shipped config with or without its leading `configs/`.

    Returns:
        The file's path.

    Raises:
        FileNotFoundError: If there is neither such a file nor such a shipped config.
    """
    if Path(name).is_file():
        return Path(name)
    if not Path(name).is_absolute():
        for root in _roots():
            for candidate in (root / "configs" / name, root / name):
                if candidate.is_file():
                    return candidate
    raise FileNotFoundError(
        f"--config {name}: no such file, and no shipped config of that name (shipped: {', '.join(config_names())})"
    )
