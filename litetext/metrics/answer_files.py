"""Answers of systems behind an interface, one an image or a pair, as predictions of SA-Co."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from litetext.files import RepeatedKeyError, parse_json
from litetext.garbage import no_collection
from litetext.metrics.saco_check import UNKNOWN, Predictions
from litetext.saco.answers import READERS
from litetext.saco.fields import counted, read_size, shown
from litetext.saco.images import AnnotatorFile, evaluated, read_json

_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)


@dataclass
class _Strange:
    """What is amiss with answers, by what each is named after, with the reason."""

    answers: int = 0
    objects: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    strangers: dict[str, str] = field(default_factory=dict)
    not_asked: dict[str, str] = field(default_factory=dict)
    faulty: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)
    largest: float = 0.0


@no_collection()
def read_answers(
    path: str | Path, layout: str, annotators: Sequence[AnnotatorFile], allow_unknown: bool = False
) -> tuple[Predictions, list[str]]:
    """Predictions from the answers of Gemini or DINO-X, see `litetext.saco.answers`.

    An answer is JSON, or text that holds it, fenced or not. One that is named after a datapoint answers its
    phrase; in one that is named after an image's file the label or category of each object says which phrase it is of.

    Args:
        path: A JSON mapping from datapoint ids or image file names to answers, or a folder of .json or .txt files that
            are named so (a file name with or without its folder and its suffix).
        layout: `gemini` or `dino-x`.
        annotators: The ground truth, which knows the sizes of images and the ids of pairs.
        allow_unknown: Whether a quarter or more of the answers or their objects may belong to nothing in it.

    Returns:
        By datapoint id, boxes normalised to 0..1; and what is wrong, one line a kind.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no answers, two for one pair, or a quarter of them (with `allow_unknown`: all) cannot be
            used.
    """
    first, places, amiss, found = annotators[0], _Places(annotators[0]), _Strange(), Predictions()
    named: dict[int, str] = {}
    for key, content in _contents(path):
        amiss.answers += 1
        try:
            place = places.find(key)
            entries = READERS[layout].entries(_unfenced(content))
        except ValueError as error:
            amiss.unreadable[key] = str(error)
            continue
        if place is None:
            amiss.strangers[key] = ""
            continue
        for number in _pairs(place):
            if number in named:
                raise ValueError(f"{path}: datapoint {number} has two answers, {named[number]} and {key}; keep one")
            named[number] = key
        _take(found, key, place, entries, layout, first, amiss)
    if not amiss.answers:
        raise ValueError(f"{path} holds no answer")
    _refuse_much(path, READERS[layout].label, first.name, amiss, allow_unknown)
    if 0 < amiss.largest <= 1.5:
        raise ValueError(
            f"{path}: no number of a box is larger than {amiss.largest:.2g}: these are fractions; boxes of {layout} "
            f"are in {READERS[layout].unit}"
        )
    return found, _notes(found, annotators, amiss)


def _take(
    found: Predictions,
    key: str,
    place: int | Mapping[str, list[int]],
    entries: Sequence[Any],
    layout: str,
    first: AnnotatorFile,
    amiss: _Strange,
) -> None:
    """The objects of one answer."""
    reader, category = READERS[layout], min(first.categories, default=1)
    one_pair = isinstance(place, int)
    by_phrase = {_phrase(first.images[place].get("text_input")): [place]} if isinstance(place, int) else place
    for numbers in by_phrase.values():
        for number in numbers:
            found.setdefault(number, [])
    for n, entry in enumerate(entries):
        where = f"{key}, object {n}"
        amiss.objects += 1
        label = _phrase(entry.get(reader.label)) if isinstance(entry, dict) else ""
        # Gemini describes in words of its own what it was asked for alone.
        numbers = next(iter(by_phrase.values())) if one_pair and reader.free else by_phrase.get(label, [])
        if not numbers and isinstance(entry, dict):
            amiss.not_asked[where] = f"{reader.label} {shown(entry.get(reader.label), 40)}"
            continue
        try:
            height, width = read_size(first.images[(numbers or next(iter(by_phrase.values())))[0]])
            one = reader.one(entry, height, width)
        except ValueError as error:
            amiss.faulty[where] = str(error)
            continue
        amiss.largest = max(amiss.largest, one.largest)
        if one.fault:
            amiss.damaged[where] = one.fault
        if one.outside:
            amiss.outside[where] = one.outside
        mask = {} if one.mask is None else {"segmentation": one.mask}
        for number in numbers:
            item = {"image_id": number, "category_id": category, "score": one.score, "bbox": one.box}
            found[number].append(item | mask)


def _refuse_much(path: str | Path, label: str, name: str, amiss: _Strange, allow: bool) -> None:
    """Refuses a file of which a quarter cannot be used."""
    rows = (
        (amiss.unreadable, amiss.answers, "answers cannot be read", "ask for them again", False),
        (amiss.strangers, amiss.answers, f"answers are of nothing in {name}", "name each after an id or a file", allow),
        (amiss.not_asked, amiss.objects, "objects are of phrases that were not asked", f"correct their {label}", allow),
        (amiss.faulty, amiss.objects, "objects cannot be read", "ask for them again", False),
        (amiss.outside, amiss.objects, "boxes lie outside their image", "give pixels of the image's own size", False),
    )
    for lost, every, kind, way, allowed in rows:
        if lost and (len(lost) == every or (4 * len(lost) >= every and not allowed)):
            place, reason = next(iter(lost.items()))
            way = f"{way}, or {UNKNOWN}" if lost in (amiss.strangers, amiss.not_asked) and len(lost) < every else way
            raise ValueError(
                f"{path}: {len(lost):,} of {every:,} {kind} (first: {place}{': ' + reason if reason else ''}); {way}"
            )


def _notes(found: Predictions, annotators: Sequence[AnnotatorFile], amiss: _Strange) -> list[str]:
    silent = dict.fromkeys((str(number) for number in evaluated(annotators) if number not in found), "")
    rows = (
        ("answers that cannot be read find nothing", amiss.unreadable),
        (f"answers of nothing in {annotators[0].name} are ignored", amiss.strangers),
        ("objects of phrases that were not asked are ignored", amiss.not_asked),
        ("objects that cannot be read are left out", amiss.faulty),
        ("damaged masks match nothing", amiss.damaged),
        ("boxes outside their image match nothing", amiss.outside),
        ("datapoints without an answer count as if nothing had been found", silent),
    )
    return [f"predictions: {counted(text, list(why), next(iter(why.values())))}" for text, why in rows if why]


class _Places:
    """Datapoints by what an answer can be named after: an id, or the file name of an image, with or without folder."""

    def __init__(self, first: AnnotatorFile) -> None:
        self.ids = {str(number) for number in first.images}
        self.files: dict[str, set[str]] = defaultdict(set)
        self.phrases: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number, image in first.images.items():
            if not isinstance(name := image.get("file_name"), str):
                continue
            file = PurePosixPath(name)
            for key in (name, str(file.with_suffix("")), file.name, file.stem):
                self.files[key].add(name)
            self.phrases[name][_phrase(image.get("text_input"))].append(number)

    def find(self, key: str) -> int | Mapping[str, list[int]] | None:
        """A datapoint, or those of an image by their phrase; None where nothing has that name.

        Raises:
            ValueError: Several do.
        """
        files = self.files.get(key, set())
        if len(files) + (key in self.ids) > 1:
            raise ValueError(f"{shown(key)} may be {' or '.join([*sorted(files), f'the id {key}'][:2])}")
        if key in self.ids:
            return int(key)
        return self.phrases[next(iter(files))] if files else None


def _pairs(place: int | Mapping[str, list[int]]) -> list[int]:
    return [place] if isinstance(place, int) else [number for numbers in place.values() for number in numbers]


def _phrase(text: Any) -> str:
    return " ".join(unicodedata.normalize("NFC", str(text or "")).casefold().split()).strip(" .")


def _contents(path: str | Path) -> Iterator[tuple[str, Any]]:
    """Answers with what each is named after."""
    path = Path(path)
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix in (".json", ".txt"):
                try:
                    yield file.relative_to(path).with_suffix("").as_posix(), file.read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError) as error:
                    raise ValueError(f"{file} cannot be read as text ({error})") from error
        return
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must hold a JSON mapping from datapoint ids or image file names to answers, got "
            f"{type(content).__name__}; or give a folder with a file an answer"
        )
    yield from content.items()


def _unfenced(content: Any) -> Any:
    """An answer as it came, which may be text with JSON in it."""
    if not isinstance(content, str):
        return content
    fenced = _FENCE.search(content)
    try:
        return parse_json(fenced.group(1) if fenced else content)
    except RepeatedKeyError as error:
        raise ValueError(f"in its text, {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its text is no JSON ({error})") from error
