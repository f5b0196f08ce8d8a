"""Reads the pickles of the REFER layout (RefCOCO, RefCOCO+, RefCOCOg) without running anything in them.

A pickle is a program: it may name any importable callable and call it. The annotation files need none of
that, so this reader admits plain containers, strings, numbers and None, which pickle builds by opcodes of its
own, and refuses the first name a file asks for.
"""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

# The file that counts in each folder, best first: RefCOCO and RefCOCO+ by their UNC split, RefCOCOg by UMD's.
_SPLITS = {
    "refcoco": ("refs(unc).p", "refs(google).p"),
    "refcoco+": ("refs(unc).p", "refs(google).p"),
    "refcocog": ("refs(umd).p", "refs(google).p"),
}
_ANY_SPLIT = ("refs(unc).p", "refs(umd).p", "refs(google).p")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it asks for an object outside the file")


def load_plain(path: Path) -> Any:
    """Unpickles plain data: list, dict, tuple, set (protocol 4), str, bytes, int, float, bool, None.

    Args:
        path: The pickle, of any protocol. Byte strings of Python 2 are read as UTF-8, or as Latin-1 where the
            file is not UTF-8.

    Returns:
        The data.

    Raises:
        ValueError: The file names a class or function (nothing is imported or called), or is no pickle.
    """
    content = path.read_bytes()
    try:
        try:
            return _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
        except UnicodeDecodeError:
            return _PlainUnpickler(io.BytesIO(content), encoding="latin-1").load()
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise ValueError(
            f"{path} is not read: {error}. Only pickles of plain lists, dicts, strings and numbers are read, "
            "as the REFER files refs(unc).p, refs(umd).p and refs(google).p are"
        ) from error


def refer_files(folder: Path) -> list[Path]:
    """Finds the reference files of a REFER folder.

    Args:
        folder: A folder that holds some of ``refcoco``, ``refcoco+``, ``refcocog``, or one of these itself.

    Returns:
        One file a data set, in that order; empty where the folder has another layout.
    """
    own = next((folder / file for file in _SPLITS.get(folder.name, _ANY_SPLIT) if (folder / file).is_file()), None)
    if own is not None:
        return [own]
    found = (
        next((folder / name / file for file in files if (folder / name / file).is_file()), None)
        for name, files in _SPLITS.items()
    )
    return [file for file in found if file is not None]


def read_sentences(path: Path, field: str = "sent") -> Iterator[str]:
    """Yields the referring expressions of one file.

    Args:
        path: A pickled list of references, each with ``sentences: [{"sent": str, "raw": str, ...}]``.
        field: ``sent`` (cleaned by the data set's authors) or ``raw``.

    Yields:
        The expressions in file order, repeats included.

    Raises:
        ValueError: The file is no plain pickle, or not of this layout.
    """
    yield from sentences_of(load_plain(path), path, field)


def sentences_of(references: Any, path: Path, field: str = "sent") -> list[str]:
    """The referring expressions of references that are read already (gRefCOCO's are JSON).

    Args:
        references: A list of references, each with ``sentences``.
        path: Their file, for the message.
        field: ``sent`` or ``raw``.

    Returns:
        The expressions in file order, repeats included.

    Raises:
        ValueError: They are not of this layout.
    """
    try:
        return [sentence[field] for reference in references for sentence in reference["sentences"]]
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path} is no list of references with sentences[].{field}, the layout of REFER") from error
