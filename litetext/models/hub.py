"""Where a model's files lie: a local path, or the hub and its cache."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

TEXT_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")


def find_model(
    name: str | os.PathLike[str],
    what: str = "teacher",
    files: Sequence[str] = TEXT_FILES,
    instead: str = "a local folder or sam3.pt",
) -> Path:
    """The local path of a model; a path that exists never touches the hub.

    Args:
        name: A path, or a hub id `owner/name`.
        what: What it is, for messages.
        files: Patterns of the files to download.
        instead: What a user can give who has no access, for messages.

    Raises:
        FileNotFoundError: If it is neither a path nor a model that the hub gives out.
    """
    path = Path(name)
    if path.exists():
        return path
    asked = os.fspath(name)
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", asked) or path.suffix in (
        ".pt",
        ".pth",
        ".ckpt",
        ".safetensors",
    ):
        raise FileNotFoundError(f"{what} {asked!r}: no such file or folder, and no hub id of the form owner/name.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(asked, allow_patterns=list(files)))
    except Exception as error:  # gated, unknown, offline: each client version raises its own kinds
        if isinstance(error, GatedRepoError):
            why = f"access is gated: request it at https://huggingface.co/{asked}, then `hf auth login`"
        elif isinstance(error, RepositoryNotFoundError):
            why = "the hub has no such model, or hides it until `hf auth login`"
        else:
            why = f"it is not in the cache and the hub did not answer ({type(error).__name__}; it may need "
            why += f"a request for access at https://huggingface.co/{asked})"
        raise FileNotFoundError(f"{what} {asked!r}: no such local path, and {why}. Or give {instead}.") from error
