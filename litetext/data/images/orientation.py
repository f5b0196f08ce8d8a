"""Which images of a data set of one's own were annotated as their EXIF orientation turns them.

Annotation tools show, and people mark, the turned picture; a program that reads stored pixels finds every mask in the
wrong place.
"""

from collections.abc import Sequence
from typing import Literal

from litetext.data.images.items import ImagePairs
from litetext.data.pixels import opened, orientation

Exif = Literal["auto", "turned", "stored"]


def orient(images: Sequence[ImagePairs], exif: Exif = "auto") -> tuple[list[ImagePairs], str | None]:
    """Settles for each image whether it is turned.

    Where a turn changes the size, the annotated size tells. Images whose size tells nothing go with the others of the
    set if those agree, else they are turned.

    Args:
        images: The images of one subset; files that are not there or do not open are left as they are.
        exif: `turned` and `stored` hold for all, whatever sizes say.

    Returns:
        The images, and a line that says how many carry an orientation and what is done with them; None if none does.
    """
    carried: dict[int, bool | None] = {}
    for n, image in enumerate(images):
        try:
            with opened(image.path) as file:
                # Pillow decodes a PNG to the end in search of an orientation that came after the pixels.
                number = orientation(file) if file.format != "PNG" or "exif" in file.info else 1
                width, height = file.size
        except ValueError:
            continue
        if number > 1:
            stored, turned = (height, width), (width, height) if number > 4 else (height, width)
            marked = (image.height, image.width)
            carried[n] = None if stored == turned or marked not in (stored, turned) else marked == turned
    known = [turn for turn in carried.values() if turn is not None]
    others = exif != "stored" and (exif == "turned" or not known or any(known))
    turns = {n: others if turn is None or exif != "auto" else turn for n, turn in carried.items()}
    settled = [image._replace(turn=turns.get(n, others)) for n, image in enumerate(images)]
    if not carried:
        return settled, None
    count, marked = sum(turns.values()), f"{len(carried):,} of {len(images):,} images carry an EXIF orientation"
    if exif != "auto":
        return settled, f"{marked}: all are taken as {exif} (data.coco.exif)"
    if not known:
        return settled, (
            f"{marked}, and all are turned by it, as annotation tools show them; "
            "if the masks were drawn on stored pixels: --data.coco.exif stored"
        )
    kept = len(carried) - count
    return settled, (
        f"{marked}: {count:,} are turned by it, {kept:,} are taken as stored, as the annotated sizes say "
        "(--data.coco.exif turned or stored decides for all)"
    )
