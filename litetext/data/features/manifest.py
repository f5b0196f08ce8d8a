"""What a folder of features holds: everything but the token row that decides a feature."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from litetext.files import write_json

FORMAT = 2
MANIFEST = "store.json"


@dataclass(frozen=True)
class StoreKey:
    """What decides the features of a token row; stores of equal keys are one folder.

    Attributes:
        teacher: Fingerprint of the teacher's weights and configuration.
        width: Numbers in the feature of one token.
        computed: How a row is encoded: the padding and the context that the teacher sees.
        code: Version of the code that encodes.
        device: Type of the device that encodes, and the precision of its products where there are several.
        dtype: In which the features are kept.
        format: Version of the layout on disk.
    """

    teacher: str
    width: int
    computed: str = "unpadded"
    code: str = ""
    device: str = "cpu"
    dtype: str = "float16"
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """Hash of all fields, 32 hexadecimal digits."""
        return hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=16).hexdigest()

    def folder(self, root: str | Path) -> Path:
        """The folder of the store below `root`: the teacher's first 8 characters and 12 of the digest."""
        teacher = re.sub(r"[^A-Za-z0-9_.-]", "_", self.teacher)[:8].lstrip(".") or "teacher"
        return Path(root) / f"{teacher}-{self.digest[:12]}"


def write_manifest(folder: Path, key: StoreKey) -> None:
    """Says in the folder what it holds, for people: shards carry the digest themselves."""
    if not (folder / MANIFEST).exists():
        write_json(folder / MANIFEST, asdict(key))
