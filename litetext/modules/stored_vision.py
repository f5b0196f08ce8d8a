"""SAM3's vision features of a run's images: encoded once, kept on disk, keyed by all that decides them."""

import json
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from litetext.data.features.fill import PATIENCE
from litetext.data.images.unlabelled import UnlabelledImage
from litetext.files import write_bytes, write_json
from litetext.models.devices import products_on
from litetext.models.sam3.image import Sam3Image, Vision
from litetext.models.text.encoder import digest
from litetext.shipped import code_version

_CODE = (
    *("models/sam3/image.py", "models/sam3/frozen.py", "models/sam3/forward.py", "models/sam3/loading.py"),
    *("checkpoints/sam3.py", "data/pixels.py", "data/images/items.py", "data/images/unlabelled.py"),
    "modules/stored_vision.py",
)
"""All that is run when an image is encoded."""


def identify(sam3: Sam3Image) -> str:
    """Hash of a SAM3's weights, text encoder aside, and of its settings; 32 hex digits."""
    hasher = blake2b(digest_size=16)
    digest(hasher, sam3.model, sam3.settings())
    return hasher.hexdigest()


class VisionStore:
    """Vision features of images on disk, in half precision, a file an image in a folder a SAM3.

    A file's name is the image's key; the folder's says the SAM3, the code and the type of device. Files appear whole by
    a rename, so that several processes and runs may share a folder.

    Args:
        root: Folder of the folders.
        sam3: The SAM3.
        identity: Its hash, see `identify`.
        images: The images, by the numbers that `take` is asked for.
    """

    def __init__(self, root: str | Path, sam3: Sam3Image, identity: str, images: Sequence[UnlabelledImage]) -> None:
        self.sam3, self.images = sam3, images
        where = products_on(sam3.device)
        facts = {"sam3": identity, "code": code_version(_CODE), "device": where, "dtype": str(sam3.dtype)}
        name = blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=6).hexdigest()
        self.path, self._facts = Path(root) / f"{identity[:8]}-{name}", facts

    def fill(self, trainer: Trainer) -> None:
        """Encodes the images that no run has encoded; the processes of a run share them.

        Raises:
            ValueError: An image does not decode, or its features do not fit half precision.
            OSError: The disk is full.
        """
        missing = [n for n in range(len(self.images)) if not self._file(n).is_file()]
        if trainer.is_global_zero:
            write_json(self.path / "about.json", self._facts)
        for number in missing:
            # By its own number: another process may have looked later, and miss fewer.
            if number % trainer.world_size == trainer.global_rank:
                self._encode(number)
        self._await_others(missing)
        size = sum(self._file(n).stat().st_size for n in range(len(self.images)))
        rank_zero_info(
            f"vision features of {len(self.images):,} images: {len(missing):,} encoded, "
            f"{len(self.images) - len(missing):,} reused, in {self.path} ({size / 1e6:,.1f} MB)"
        )

    def _await_others(self, numbers: Sequence[int]) -> None:
        # By their files: a collective would end the run where the others take longer than its patience.
        left, since = [n for n in numbers if not self._file(n).is_file()], time.monotonic()
        while left:
            if time.monotonic() - since > PATIENCE:  # whoever should have may have died
                self._encode(left[0])
            time.sleep(0.2)
            before, left = left, [n for n in left if not self._file(n).is_file()]
            since = time.monotonic() if len(left) < len(before) else since

    def take(self, numbers: Sequence[int]) -> Vision:
        """Vision features of some images, as a batch on the SAM3's device; a damaged file is encoded again."""
        stored = [self._load(n) for n in numbers]
        levels = len(stored[0]) - 3

        def joined(name: str) -> Tensor:
            return torch.cat([one[name] for one in stored]).to(self.sam3.device, self.sam3.dtype)

        positions = stored[0]["positions"].to(self.sam3.device, self.sam3.dtype)
        return Vision(tuple(joined(f"level{k}") for k in range(levels)), joined("tokens"), positions, joined("token"))

    def _load(self, number: int) -> dict[str, Tensor]:
        try:
            return load_file(self._file(number))
        except (OSError, SafetensorError) as error:
            rank_zero_warn(f"{self._file(number)} is damaged or gone ({error}); {self.images[number].name} is encoded")
            self._encode(number)
            return load_file(self._file(number))

    def _encode(self, number: int) -> None:
        # One by one: an image's features do not depend on others, to the last bit, however often it is encoded.
        one = encode_images(self.sam3, [self.images[number]])
        parts = {f"level{k}": level for k, level in enumerate(one.levels)}
        parts |= {"tokens": one.tokens, "positions": one.positions, "token": one.token}
        halves = {name: value.half().cpu().contiguous() for name, value in parts.items()}
        if not all(bool(value.isfinite().all()) for value in halves.values()):
            raise ValueError(
                f"the vision features of {self.images[number].name} do not fit half precision or are not finite; "
                "give --model.vision live"
            )
        write_bytes(self._file(number), save(halves))

    def _file(self, number: int) -> Path:
        return self.path / f"{self.images[number].key}.safetensors"


def encode_images(sam3: Sam3Image, images: Sequence[UnlabelledImage]) -> Vision:
    """Vision features of images, as a batch, in the SAM3's own precision.

    Raises:
        ValueError: An image does not decode.
    """
    return sam3.encode_images(sam3.preprocess([image.pixels() for image in images]).to(sam3.device))
