"""`litetext nouns`: writes what is drawn from the world of nouns: benchmarks, probes, scenes, pictures."""

from typing import Literal

from litetext.commands.parsing import Positive

_USUAL = {"images": 40, "videos": 24, "probes": 40, "pictures": 24, "scenes": 6}


def nouns(
    out: str,
    /,
    *,
    what: Literal["images", "videos", "probes", "pictures", "scenes"] = "images",
    number: Positive | None = None,
    seed: int = 0,
    style: str | None = None,
    show: list[str] | None = None,
) -> None:
    """Writes held-out scenes of the world of nouns, and says what they hold.

    Images with phrases and the marks of three annotators are in the layout of SA-Co Gold, videos in that of SA-Co
    VEval, language probes in that of SA-Co Silver; pictures show the drawings and some scenes; scenes are image files
    to try, with phrases that are true of them. A benchmark that is there already is left alone.

    Args:
        out: Folder to write; its parent must be there.
        what: What to write.
        number: Images of each subset (40 by default), videos (24), pairs of each probe (40), scenes on the page of
            pictures (24) or scenes to try (6).
        seed: Seed of scenes, phrases and marks.
        style: Of scenes: whose drawings; fluent, noto or twemoji.
        show: Of scenes: nouns, one of which is in each.

    Raises:
        FileNotFoundError: If the folder's parent does not exist.
        ValueError: If an option is out of its range, or the folder holds something else.
    """
    count = _USUAL[what] if number is None else number
    # What writes imports what is slow, and --help needs none of it.
    if what == "scenes":
        _scenes(out, count, seed, style, show or [])
        return
    for option, given in (("style", style), ("show", show)):
        if given:
            raise ValueError(f"--{option} goes with --what scenes, and this writes {what}")
    _WRITERS[what](out, count, seed)


def _images(out: str, number: int, seed: int) -> None:
    from litetext.data.nouns.gold import SUBSETS, write_nouns

    made = write_nouns(out, number, seed)
    print(f"{_verb(made.written)} {made.folder} (images {made.images}, seed {made.seed})")
    for name, subset in SUBSETS.items():
        print(f"  {name:<12}{made.images:>6,} images {made.pairs[name]:>8,} pairs   {subset.about}")


def _videos(out: str, number: int, seed: int) -> None:
    from litetext.data.nouns.veval import NAME, PAIRS, write_video_nouns

    clips = write_video_nouns(out, number, seed)
    print(f"{_verb(clips.written)} {clips.folder} (videos {clips.videos}, seed {clips.seed})")
    print(f"  {clips.videos:,} videos, {clips.pairs:,} pairs ({PAIRS} phrases a video): annotation/{NAME}")


def _probes(out: str, number: int, seed: int) -> None:
    from litetext.data.nouns.probes import SUBSETS, write_probes

    made = write_probes(out, number, seed)
    print(f"{_verb(made.written)} {made.folder} (pairs {made.images}, seed {made.seed})")
    for name, probes in SUBSETS.items():
        print(f"  {name:<12}{made.images:>6,} pairs each   {', '.join(probes)}")


def _pictures(out: str, number: int, seed: int) -> None:
    from litetext.data.nouns.pictures import write_pictures

    for path in write_pictures(out, number, seed):
        print(f"wrote {path}")


def _scenes(out: str, number: int, seed: int, style: str | None, show: list[str]) -> None:
    import shlex

    from litetext.data.nouns.examples import write_scenes

    written = write_scenes(out, number, seed, style, show)
    for path, phrases in written:
        print(f"wrote {path}: {', '.join(phrases)}")
    examples = dict.fromkeys(phrases[0] for _, phrases in written)
    quoted = " ".join(shlex.quote(phrase) for phrase in list(examples)[:3])
    print(f"next  litetext segment {shlex.quote(out)} --phrases {quoted} --sam3 nouns --output found")


def _verb(written: bool) -> str:
    return "wrote" if written else "already there:"


_WRITERS = {"images": _images, "videos": _videos, "probes": _probes, "pictures": _pictures}
