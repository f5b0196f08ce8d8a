"""The layouts prompt corpora come in: which one lies at a path, and the raw strings it holds.

Every reader yields strings as the files have them, repeats and empty ones included; `litetext.data.prompts.corpora`
makes them unique and counts. A reader gets the files it should read and the field named behind ``#`` ("" when
none is).
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from litetext.data.prompts.refer_pickle import load_plain, read_sentences, refer_files, sentences_of
from litetext.data.prompts.text_files import is_gzipped, lines_of, read_json, read_text, suffix
from litetext.files import RepeatedKeyError, parse_json
from litetext.saco.fields import Id, category_phrase, read_id

_RELEASED = re.compile(r"(gold|silver|saco_veval)_\w+_(?:test|val)(?:_updated)?\.json(?:\.gz)?$")
_GOLD_ANNOTATOR = re.compile(r"_([abc])_release_test\.json(?:\.gz)?$")


class LayoutFiles(NamedTuple):
    """What lies at a path: the reader's kind and the files it will read."""

    kind: str
    files: tuple[Path, ...]


def _walk(data: Any, keys: list[str], where: str) -> Iterator[str]:
    """Follows dotted keys through dicts; a list stands for each of its items."""
    if isinstance(data, list):
        for item in data:
            yield from _walk(item, keys, where)
    elif keys:
        if not isinstance(data, dict) or keys[0] not in data:
            there = (
                ", ".join(map(str, data)) if isinstance(data, dict) else f"a {type(data).__name__} ({str(data)[:60]})"
            )
            raise ValueError(f"{where} has no field {keys[0]!r}; there is: {there[:200]}")
        yield from _walk(data[keys[0]], keys[1:], where)
    elif isinstance(data, str):
        yield data
    else:
        raise ValueError(
            f"{where} holds {type(data).__name__} where a prompt should be ({str(data)[:60]}); "
            "name the field that holds the prompts as PATH#FIELD (dots go deeper: categories.name)"
        )


def _only(kind: str, field: str, *known: str) -> str:
    """The field, or the first known one when none is named."""
    if field and field not in known:
        raise ValueError(f"field {field!r} means nothing to the {kind} reader; choose one of: {', '.join(known)}")
    return field or known[0]


def _read_txt(files: Iterable[Path], field: str) -> Iterator[str]:
    if field:
        raise ValueError(f"a text file has no fields, so #{field} means nothing; give the path alone")
    for path in files:
        yield from lines_of(read_text(path))


def _read_json(files: Iterable[Path], field: str) -> Iterator[str]:
    for path in files:
        data = read_json(path)
        if not field and isinstance(data, dict):
            field = "text_annotations"
        yield from _walk(data, field.split(".") if field else [], str(path))


def _read_jsonl(files: Iterable[Path], field: str) -> Iterator[str]:
    for path in files:
        for number, line in enumerate(lines_of(read_text(path)), start=1):
            if not line.strip():
                continue
            try:
                data = parse_json(line)
            except RepeatedKeyError as error:
                raise ValueError(f"{path} line {number}: {error}") from error
            except json.JSONDecodeError as error:
                raise ValueError(f"{path} is not JSON at line {number}, column {error.colno}: {error.msg}") from error
            except RecursionError as error:
                raise ValueError(f"{path} is not JSON at line {number}: it is nested too deeply") from error
            named = field or ("text_annotations" if isinstance(data, dict) and "text_annotations" in data else "")
            yield from _walk(data, named.split(".") if named else [], f"{path} line {number}")


def _read_csv(files: Iterable[Path], field: str) -> Iterator[str]:
    for path in files:
        text = read_text(path)
        # Spreadsheets of half the world separate by semicolons.
        delimiters = "\t,;" if suffix(path) == ".tsv" else ",;\t"
        first = [next(csv.reader(io.StringIO(text, newline=""), delimiter=mark), []) for mark in delimiters]
        headers = {mark: [name.strip() for name in row] for mark, row in zip(delimiters, first, strict=True)}
        delimiter = next((mark for mark, names in headers.items() if field and field in names), None)
        if delimiter is None:
            problem = f"no column {field!r}" if field else "columns, and none is named"
            there = ", ".join(max(headers.values(), key=len))
            raise ValueError(f"{path} has {problem}; write PATH#COLUMN with one of: {there[:200]}")
        header = headers[delimiter]
        if header.count(field) > 1:
            raise ValueError(f"{path} has {header.count(field)} columns {field!r}; rename all but one")
        column = header.index(field)
        # Strict: a quote that is never closed would make one prompt of all that follows.
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            next(rows)
            for row in filter(None, rows):
                if any(cell.strip() for cell in row[len(header) :]):
                    raise ValueError(
                        f"{path} line {rows.line_num}: {len(row)} columns, but its header has {len(header)}: "
                        f"{delimiter.join(row)[:60]!r}; put text that holds a {delimiter!r} in quotes"
                    )
                yield row[column] if column < len(row) else ""
        except csv.Error as error:
            raise ValueError(f"{path} is not CSV at line {rows.line_num}: {error}") from error


def lvis_name(name: str, strip: bool = False) -> str:
    """Turns an LVIS category name into a phrase.

    Args:
        name: As in the annotation file, e.g. ``"bow_(weapon)"``.
        strip: Also drop the space that a dropped bracket leaves behind. The paper does not: of its 1,199
            names two are ``"fish"`` and ``"fish "``; with strip there are 1,198.

    Returns:
        The name without ``(...)`` and with spaces for underscores.
    """
    phrase = re.sub(r"\([^)]*\)", "", name).replace("_", " ")
    return phrase.strip() if strip else phrase


def _read_lvis(files: Iterable[Path], field: str) -> Iterator[str]:
    field = _only("lvis", field, "paper", "strip", "raw", "synonyms")
    for path in files:
        if suffix(path) == ".json":
            names = _walk(read_json(path), ["categories", "synonyms" if field == "synonyms" else "name"], str(path))
        elif field == "synonyms":
            raise ValueError(f"{path} lists names only; synonyms are in lvis_v1_train.json and lvis_v1_val.json")
        else:
            names = _read_txt([path], "")
        yield from names if field == "raw" else (lvis_name(name, strip=field != "paper") for name in names)


def _read_refcoco(files: Iterable[Path], field: str) -> Iterator[str]:
    field = _only("refcoco", field, "sent", "raw")
    for path in files:
        yield from read_sentences(path, field)


def _read_grefcoco(files: Iterable[Path], field: str) -> Iterator[str]:
    field = _only("grefcoco", field, "sent", "raw")
    for path in files:
        yield from sentences_of(load_plain(path) if suffix(path) in _PICKLES else read_json(path), path, field)


def _read_rf100vl(files: Iterable[Path], field: str) -> Iterator[str]:
    field = _only("rf100vl", field, "name", "raw")
    datasets: dict[Path, list[Path]] = {}
    for path in files:
        datasets.setdefault(path.parent.parent, []).append(path)
    for paths in datasets.values():  # the splits of one data set repeat its categories
        names: dict[tuple[Id, str], None] = {}
        used: set[Id] = set()
        for path in paths:
            data = read_json(path)
            try:
                names |= {(read_id(category["id"]), str(category["name"])): None for category in data["categories"]}
                used |= {read_id(annotation["category_id"]) for annotation in data.get("annotations", ())}
            except (TypeError, KeyError, ValueError) as error:
                raise ValueError(f"{path} is not COCO: categories[].id, .name are needed ({error!r})") from error
        kept = (name for number, name in names if number != 0 or number in used)
        # A data set's phrases are read the same way, so that a student learns what it is asked.
        yield from kept if field == "raw" else map(category_phrase, kept)


def _read_saco(files: Iterable[Path], field: str) -> Iterator[str]:
    _only("SA-Co Gold and Silver", field, "text_input")
    for path in files:
        yield from _walk(read_json(path), ["images", "text_input"], str(path))


def _read_veval(files: Iterable[Path], field: str) -> Iterator[str]:
    field = _only("saco_veval", field, "categories", "pairs")
    seen: set[tuple[Any, str]] = set()
    for path in files:
        data = read_json(path)
        if field == "pairs":
            yield from _walk(data, ["video_np_pairs", "noun_phrase"], str(path))
            continue
        names = list(_walk(data, ["categories", "name"], str(path)))
        ids = [category.get("id", i) for i, category in enumerate(data["categories"])]
        for key in zip(ids, names, strict=True):  # all six files carry the same map
            if key not in seen:
                seen.add(key)
                yield key[1]


READERS: dict[str, Callable[[Iterable[Path], str], Iterator[str]]] = {
    "lvis": _read_lvis,
    "refcoco": _read_refcoco,
    "grefcoco": _read_grefcoco,
    "rf100vl": _read_rf100vl,
    "saco_gold": _read_saco,
    "saco_silver": _read_saco,
    "saco_veval": _read_veval,
    "txt": _read_txt,
    "json": _read_json,
    "jsonl": _read_jsonl,
    "csv": _read_csv,
}
_PICKLES = (".p", ".pkl", ".pickle")
_SUFFIXES = {
    ".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv",
    **dict.fromkeys(_PICKLES, "refcoco"),
}  # fmt: skip
_GREFS = ("grefs(unc).json", "grefs(unc).p")
_GREF_PLACES = (".", "annotations", "grefcoco", "grefcoco/annotations")


def _one_annotator(files: list[Path]) -> list[Path]:
    """One file a Gold subset: the annotators a, b and c answered the same queries."""
    first: dict[str, Path] = {}
    for path in sorted(files):
        first.setdefault(str(path.parent / _GOLD_ANNOTATOR.sub("", path.name)), path)
    return list(first.values())


def _in_folder(folder: Path) -> list[LayoutFiles]:
    def matching(*patterns: str) -> list[Path]:
        for depth in ("", "*/"):
            if found := {path for pattern in patterns for path in folder.glob(depth + pattern)}:
                return sorted(found)
        return []

    grefs = (folder / place / name for place in _GREF_PLACES for name in _GREFS)
    coco = [
        path
        for depth in ("", "*/")
        for split in ("train", "valid", "test")
        for path in sorted(folder.glob(f"{depth}{split}/_annotations.coco.json"))
    ]
    candidates = {
        "lvis": matching("lvis_v*.json", "lvis_v*.json.gz"),
        "refcoco": refer_files(folder),
        "grefcoco": [path for path in grefs if path.is_file()][:1],
        "rf100vl": coco,
        "saco_gold": _one_annotator(matching("gold_*.json", "gold_*.json.gz")),
        "saco_silver": matching("silver_*.json", "silver_*.json.gz"),
        "saco_veval": matching("saco_veval_*.json", "saco_veval_*.json.gz", "sa_fari_*.json"),
    }
    return [LayoutFiles(kind, tuple(files)) for kind, files in candidates.items() if files]


def _json_kind(name: str, path: Path, field: str) -> str:
    """Chooses the reader of one JSON file by its file name, its keys, and the source's name."""
    released = _RELEASED.match(path.name)  # hundreds of megabytes: not read only to look at the keys
    if released and not field:
        return released[1] if released[1].startswith("saco") else f"saco_{released[1]}"
    data = read_json(path)
    if not isinstance(data, dict):
        refers = isinstance(data, list) and data and isinstance(data[0], dict) and "sentences" in data[0]
        return "grefcoco" if refers and field in ("", "sent", "raw") else "json"
    if "video_np_pairs" in data and "categories" in data:
        return "saco_veval"
    images = data.get("images")
    if isinstance(images, list) and images and isinstance(images[0], dict) and "text_input" in images[0]:
        return "saco_silver" if name == "saco_silver" or path.name.startswith("silver_") else "saco_gold"
    categories = data.get("categories")
    if isinstance(categories, list) and (not field or field in ("paper", "strip", "raw", "synonyms", "name")):
        if name in ("lvis", "rf100vl", "saco_veval"):
            return name
        if categories and isinstance(categories[0], dict):
            return "lvis" if "synset" in categories[0] or "synonyms" in categories[0] else "rf100vl"
    if field or "text_annotations" in data:
        return "json"
    keys = ", ".join(map(str, data))[:200]
    raise ValueError(
        f"source {name!r}: the layout of {path} is not known (its keys: {keys}); "
        "name the field that holds the prompts as PATH#FIELD"
    )


def find_layout(name: str, path: Path, field: str = "") -> LayoutFiles:
    """Says which reader a path needs.

    Args:
        name: The source's name; one of `READERS` asks for that reader where several would do.
        path: An existing file or folder.
        field: The field named behind ``#``, or "".

    Returns:
        The reader's kind and its files.

    Raises:
        ValueError: No reader knows the layout, or several do and `name` is none of them.
    """
    if path.is_dir():
        found = _in_folder(path)
        chosen = [layout for layout in found if layout.kind == name] or found
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            kinds = ", ".join(layout.kind for layout in chosen)
            raise ValueError(
                f"source {name!r}: {path} holds several layouts; give the file or folder of one, or name the source "
                f"one of: {kinds}"
            )
        raise ValueError(
            f"source {name!r}: no known layout in the folder {path}; a folder holds lvis_v1_*.json, "
            "refcoco/refs(unc).p, grefcoco/grefs(unc).json, DATASET/train/_annotations.coco.json, gold_*.json, "
            "silver_*.json or saco_veval_*.json; other corpora are given as one .txt, .json, .jsonl or .csv file"
        )
    ending = suffix(path)
    if ending == ".json":
        return LayoutFiles(_json_kind(name, path, field), (path,))
    if ending not in _SUFFIXES or (ending in _PICKLES and is_gzipped(path)):
        raise ValueError(
            f"source {name!r}: files like {path} are not read; give a .txt, .json, .jsonl, .csv or .tsv file "
            "(or one of these with .gz), or a .p file"
        )
    kind = _SUFFIXES[ending]
    if kind == "txt" and name == "lvis":
        kind = "lvis"  # a plain list of LVIS names needs the LVIS cleaning, which the source's name asks for
    elif kind == "refcoco" and path.name in _GREFS:
        kind = "grefcoco"
    return LayoutFiles(kind, (path,))
