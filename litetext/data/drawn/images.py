"""The embedded benchmarks of images by the names of their worlds; a world is imported when it is drawn."""

from pathlib import Path

from litetext.data.drawn.folder import Drawn


def write_images(drawn: Drawn, folder: Path) -> None:
    """Writes a benchmark of images, unless it is there; a missing parent folder is made.

    Args:
        drawn: The world (shapes, nouns or probes), and its images a subset or pairs a probe.
        folder: Where it goes.

    Raises:
        ValueError: The number is out of its range, or the folder holds something else.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if drawn.world == "nouns":
        from litetext.data.nouns.gold import write_nouns as write
    elif drawn.world == "probes":
        from litetext.data.nouns.probes import write_probes as write
    else:
        from litetext.data.shapes.gold import write_shapes as write
    write(folder, drawn.number)


def subsets_beside(folder: Path) -> tuple[str, ...]:
    """Subsets of a benchmark's folder that stand beside the average of the others: of nouns, what training lacks.

    Args:
        folder: A folder of annotation files; any but that of nouns has none.
    """
    if not (folder / "nouns.json").is_file():
        return ()
    from litetext.data.nouns.gold import BESIDE

    return BESIDE
