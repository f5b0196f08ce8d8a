"""Models of transformers: where their files lie, a local path or the hub's cache, and how they are loaded whole."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litetext.checkpoints.folder_check import check_folder
from litetext.files import reason
from litetext.shipped import shipped

TEXT_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_LARGE = 10**9
"""Bytes of weights that take seconds to read."""


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
    hub_id = os.fspath(name)
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", hub_id) or path.suffix in (
        ".pt",
        ".pth",
        ".ckpt",
        ".safetensors",
    ):
        raise FileNotFoundError(f"{what} {hub_id!r}: no such file or folder, and no hub id of the form owner/name.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except Exception as error:  # gated, unknown, offline: each client version raises its own kinds
        if isinstance(error, GatedRepoError):
            why = f"access is gated: request it at https://huggingface.co/{hub_id}, then `hf auth login`"
        elif isinstance(error, RepositoryNotFoundError):
            why = "the hub has no such model, or hides it until `hf auth login`"
        else:
            why = f"it is not in the cache and the hub did not answer ({type(error).__name__}; it may need "
            why += f"a request for access at https://huggingface.co/{hub_id})"
        raise FileNotFoundError(f"{what} {hub_id!r}: no such local path, and {why}. Or give {instead}.") from error


def find_weights(name: str) -> Path:
    """A local file or a shipped one as it is, or an open_clip tag `MODEL:TAG` from the hub or its cache.

    Raises:
        FileNotFoundError: neither a file nor a tag, or the tag could not be downloaded.
        ValueError: the tag names a causal tower, which this bidirectional one cannot host.
    """
    if (path := Path(shipped(name))).exists():
        return path
    model, _, tag = name.partition(":")
    if not tag or Path(name).suffix in (".pt", ".pth", ".ckpt", ".bin", ".safetensors"):
        raise FileNotFoundError(f"pretrained={name!r}: no such file; give a file or MODEL:TAG of open_clip.")
    import open_clip  # slow to import, and needed here alone

    known = open_clip.pretrained.get_pretrained_cfg(model, tag)
    if not known:
        tags = ", ".join(f"{m}:{t}" for m, t in open_clip.list_pretrained() if m.startswith("MobileCLIP"))
        raise FileNotFoundError(f"pretrained={name!r}: open_clip knows no such weights; its MobileCLIP ones: {tags}.")
    text = (open_clip.get_model_config(model) or {}).get("text_cfg", {})
    if not text.get("no_causal_mask"):
        raise ValueError(f"pretrained={name!r} is a causal text tower; MobileCLIP S1, S2, S3, S4 and L-14 are not.")
    try:
        return Path(open_clip.pretrained.download_pretrained(known))
    except Exception as error:  # requests, huggingface_hub and urllib each raise their own kinds
        raise FileNotFoundError(
            f"pretrained={name!r} is not on this machine and could not be downloaded ({reason(error)}); "
            "give the path of a downloaded file instead."
        ) from error


def load_pretrained(
    loader: Callable[..., Any], folder: Path, what: str, may_lack: tuple[str, ...] = (), **options: Any
) -> Any:
    """Loads something of a local folder by a `from_pretrained` of transformers, whole and without the hub.

    Args:
        loader: The `from_pretrained` of a model's class, such as `Sam3Model.from_pretrained`.
        folder: The model's folder.
        what: What it should hold, for messages, such as `SAM3`.
        may_lack: Beginnings of the names of weights that may be missing.
        **options: Further arguments of `from_pretrained`.

    Returns:
        The model.

    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: The folder cannot be loaded, or weights are missing, of another shape or quantised.
    """
    check_folder(folder)
    with quiet():
        model, info = explained(loader, folder, what, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    if misshapen := sorted(info["mismatched_keys"]):
        key, found, wanted = misshapen[0]
        raise ValueError(
            f"{folder} is no {what} of the size of its config.json: {len(misshapen)} of its weights have another "
            f"shape, such as {key}, {tuple(found)} instead of {tuple(wanted)}"
        )
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(may_lack))
    if missing:
        raise ValueError(
            f"{folder} is no whole {what}: {len(missing)} of its weights are missing, such as {missing[0]}"
        )
    return model


def explained(loader: Callable[..., Any], folder: Path, what: str, **options: Any) -> Any:
    """Calls a `from_pretrained` of transformers on a local folder; its many kinds of errors become one line.

    Raises:
        ValueError: The folder cannot be loaded.
    """
    try:
        with without_bars():
            return loader(folder, local_files_only=True, **options)
    except Exception as error:  # OSError, ValueError, SafetensorError, ...: the libraries raise many kinds
        raise ValueError(
            f"{folder} cannot be loaded as a {what}: {type(error).__name__}: {reason(error, 200)}"
        ) from error


@contextmanager
def without_bars() -> Iterator[None]:
    """Without transformers' progress bars of reading and writing weights; the caller's setting comes back."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    bars, downloads = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    if not bars:
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()  # those of downloads too
        if not downloads:
            disable_progress_bars()


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' tables of weights that were left alone, are missing or do not fit."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def say_large(path: Path, what: str) -> None:
    """On a terminal, one line before weights are read that take long: from a gigabyte on.

    Args:
        path: A folder, or a file of weights.
        what: What it holds, such as `SAM3`.
    """
    if not sys.stderr.isatty() or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.glob("*.safetensors")))
    if size >= _LARGE:
        print(f"reading {what} {path} ({size / 1e9:.1f} GB)", file=sys.stderr, flush=True)


def load_image_processor(folder: Path, what: str) -> Any:
    """SAM3's image processor as a folder describes it; None where it says nothing, for transformers' defaults.

    Raises:
        ValueError: The description cannot be read.
    """
    from transformers import Sam3ImageProcessor

    if not any((folder / file).is_file() for file in PROCESSOR_FILES):
        return None
    return explained(Sam3ImageProcessor.from_pretrained, folder, what)
