"""A folder's weights before transformers reads them: what it would pass over, or tell of without the file's name."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from litetext.checkpoints.reading import INDEX, SINGLE, open_state
from litetext.files import reason

_ONE_BYTE = ("I8", "U8", "F8_E4M3", "F8_E5M2")
"""Types by safetensors' names."""
_POINTER = b"version https://git-lfs"


def check_folder(folder: Path) -> None:
    """Refuses safetensors files that cannot be read, are missing, or hold quantised weights without a method.

    transformers takes weights of one byte for numbers if the config does not say how they were quantised.

    Args:
        folder: A folder in transformers' layout; one without such files passes.

    Raises:
        FileNotFoundError: A shard of the index is not there.
        ValueError: The index or a file cannot be read, or holds such weights.
    """
    if not any((folder / name).is_file() for name in (INDEX, SINGLE)):
        return
    open_state(folder)
    config = folder / "config.json"
    known = config.is_file() and "quantization_config" in config.read_text(encoding="utf-8", errors="replace")
    names = {SINGLE}
    if (folder / INDEX).is_file():
        names = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    for file in (folder / name for name in sorted(names)):
        types = _types(file)
        found = [] if known else [key for key, dtype in types.items() if dtype in _ONE_BYTE]
        if found:
            raise ValueError(
                f"{file} holds quantised weights ({len(found)}, such as {found[0]} of type {types[found[0]]}), and "
                "config.json no quantization_config; give them in float32, bfloat16 or float16"
            )


def _types(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, framework="pt") as weights:
            return {key: weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118  it is no mapping
    except (SafetensorError, OSError) as error:
        with file.open("rb") as begun:
            pointer = begun.read(len(_POINTER)) == _POINTER
        why = "it is a pointer of Git LFS: git lfs pull" if pointer else reason(error)
        raise ValueError(f"{file}: cannot be read as a safetensors file ({why}); copy or download it again.") from error
