"""`litetext shapes`: writes an embedded benchmark, held-out shapes in the layout of SA-Co Gold or VEval."""


def shapes(
    out: str, /, *, video: bool = False, images: int | None = None, videos: int | None = None, seed: int = 0
) -> None:
    """Writes the embedded benchmark, and says what it holds.

    It is images of shapes that no training saw, phrases about them, and the marks of three annotators, in the layout of
    SA-Co Gold; with --video, shapes that move, in that of SA-Co VEval. A folder that already holds it is left alone.

    Args:
        out: Folder to write; its parent must be there.
        video: Write the video benchmark instead.
        images: Images of each subset; 80 by default.
        videos: With --video, videos; 24 by default.
        seed: Seed of scenes, phrases and marks.

    Raises:
        FileNotFoundError: If the folder's parent does not exist.
        ValueError: If an option is out of its range, or the folder holds something else.
    """
    if video and images is not None:
        raise ValueError(f"--images {images} does not go with --video")
    if videos is not None and not video:
        raise ValueError(f"--videos {videos} needs --video")
    if video:
        from litetext.data.shapes.veval import NAME, PAIRS, write_video_shapes

        clips = write_video_shapes(out, 24 if videos is None else videos, seed)
        verb = "wrote" if clips.written else "already there:"
        print(f"{verb} {clips.folder} (videos {clips.videos}, seed {clips.seed})")
        print(f"  {clips.videos:,} videos, {clips.pairs:,} pairs ({PAIRS} phrases a video): annotation/{NAME}")
        return

    from litetext.data.shapes.gold import SUBSETS, write_shapes  # slow to import, and --help needs none of it

    made = write_shapes(out, 80 if images is None else images, seed)
    print(f"{'wrote' if made.written else 'already there:'} {made.folder} (images {made.images}, seed {made.seed})")
    for name, about in SUBSETS.items():
        print(f"  {name:<12}{made.images:>6,} images {made.pairs[name]:>8,} pairs   {about}")
