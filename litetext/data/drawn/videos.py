"""The embedded benchmarks of videos by the names of their worlds; a world is imported when it is drawn."""

from pathlib import Path

from litetext.data.drawn.folder import Drawn


def write_videos(drawn: Drawn, folder: Path) -> None:
    """Writes a benchmark of videos, unless it is there; a missing parent folder is made.

    Args:
        drawn: The world (shapes or nouns) and its videos.
        folder: Where it goes.

    Raises:
        ValueError: The number is out of its range, or the folder holds something else.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if drawn.world == "nouns":
        from litetext.data.nouns.veval import write_video_nouns as write
    else:
        from litetext.data.shapes.veval import write_video_shapes as write
    write(folder, drawn.number)
