"""The layouts prompt corpora come in: which one lies at a path, and the raw strings it holds.

Every reader yields strings as the files have them, repeats and empty ones included; `litetext.data.prompts`
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

from litetext.data.refer_pickle import read_sentences, refer_files

_RELEASED = re.compile(r"(gold|silver|saco_veval)_\w+_(?:test|val)\.json$")
_GOLD_ANNOTATOR = re.compile(r"_([abc])_release_test\.json$")


class Found(NamedTuple):
    """What lies at a path: the reader's kind and the files it will read."""

    kind: str
    files: tuple[Path, ...]


def read_text(path: Path) -> str:
    """Reads a UTF-8 file, with or without a byte order mark.

    Raises:
        ValueError: The file is not UTF-8; byte, offset and line are named.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig counts from behind the mark
        start = error.start + (3 if content.startswith(b"\xef\xbb\xbf") else 0)
        line = content.count(b"\n", 0, start) + 1
        raise ValueError(
            f"{path} is not UTF-8: byte 0x{content[start]:02x} at offset {start}, line {line}; save it as UTF-8"
        ) from error


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: The file is not UTF-8 or not JSON; the place is named.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply to be a list of prompts") from error


def _walk(data: Any, keys: list[str], path: Path) -> Iterator[str]:
    """Follows dotted keys through dicts; a list stands for each of its items."""
    if isinstance(data, list):
        for item in data:
            yield from _walk(item, keys, path)
    elif keys:
        if not isinstance(data, dict) or keys[0] not in data:
            there = ", ".join(map(str, data)) if isinstance(data, dict) else f"a {type(data).__name__}"
            raise ValueError(f"{path} has no field {keys[0]!r}; there is: {there[:200]}")
        yield from _walk(data[keys[0]], keys[1:], path)
    elif isinstance(data, str):
        yield data
    else:
        raise ValueError(
            f"{path} holds {type(data).__name__} where a prompt should be ({str(data)[:60]}); "
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
        text = read_text(path)
        # Only \n and \r\n end lines (U+2028 and form feeds are text), and the last one closes the last line.
        yield from (text[:-1] if text.endswith("\n") else text).split("\n") if text else ()


def _read_json(files: Iterable[Path], field: str) -> Iterator[str]:
    for path in files:
        data = read_json(path)
        if not field and isinstance(data, dict):
            field = "text_annotations"
        yield from _walk(data, field.split(".") if field else [], path)


def _read_jsonl(files: Iterable[Path], field: str) -> Iterator[str]:
    for path in files:
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if not line.strip():
                continue
            try:
                data = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise ValueError(f"{path} is not JSON at line {number}: {error}") from error
            named = field or ("text_annotations" if isinstance(data, dict) and "text_annotations" in data else "")
            yield from _walk(data, named.split(".") if named else [], path)


def _read_csv(files: Iterable[Path], field: str) -> Iterator[str]:
    for path in files:
        rows = csv.reader(
            io.StringIO(read_text(path), newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ","
        )
        try:
            header = next(rows, [])
            if field not in header:
                asked = f"no column {field!r}" if field else "columns, and none is named"
                raise ValueError(f"{path} has {asked}; write PATH#COLUMN with one of: {', '.join(header)}")
            column = header.index(field)
            yield from (row[column] if column < len(row) else "" for row in rows if row)
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
        if path.suffix.lower() == ".json":
            names = _walk(read_json(path), ["categories", "synonyms" if field == "synonyms" else "name"], path)
        elif field == "synonyms":
            raise ValueError(f"{path} lists names only; synonyms are in lvis_v1_train.json and lvis_v1_val.json")
        else:
            names = _read_txt([path], "")
        yield from names if field == "raw" else (lvis_name(name, strip=field != "paper") for name in names)


def _read_refcoco(files: Iterable[Path], field: str) -> Iterator[str]:
    field = _only("refcoco", field, "sent", "raw")
    for path in files:
        yield from read_sentences(path, field)


def _read_rf100vl(files: Iterable[Path], field: str) -> Iterator[str]:
    _only("rf100vl", field, "name")
    datasets: dict[Path, list[Path]] = {}
    for path in files:
        datasets.setdefault(path.parent.parent, []).append(path)
    for paths in datasets.values():  # the splits of one data set repeat its categories
        names: dict[tuple[int, str], None] = {}
        used: set[int] = set()
        for path in paths:
            data = read_json(path)
            try:
                names |= {(category["id"], category["name"]): None for category in data["categories"]}
                used |= {annotation["category_id"] for annotation in data.get("annotations", ())}
            except (TypeError, KeyError) as error:
                raise ValueError(f"{path} is not COCO: categories[].id, .name are needed ({error!r})") from error
        yield from (name for number, name in names if number != 0 or number in used)


def _read_saco(files: Iterable[Path], field: str) -> Iterator[str]:
    _only("SA-Co Gold and Silver", field, "text_input")
    for path in files:
        yield from _walk(read_json(path), ["images", "text_input"], path)


def _read_veval(files: Iterable[Path], field: str) -> Iterator[str]:
    field = _only("saco_veval", field, "categories", "pairs")
    seen: set[tuple[Any, str]] = set()
    for path in files:
        data = read_json(path)
        if field == "pairs":
            yield from _walk(data, ["video_np_pairs", "noun_phrase"], path)
            continue
        names = list(_walk(data, ["categories", "name"], path))
        ids = [category.get("id", i) for i, category in enumerate(data["categories"])]
        for key in zip(ids, names, strict=True):  # all six files carry the same map
            if key not in seen:
                seen.add(key)
                yield key[1]


READERS: dict[str, Callable[[Iterable[Path], str], Iterator[str]]] = {
    "lvis": _read_lvis,
    "refcoco": _read_refcoco,
    "rf100vl": _read_rf100vl,
    "saco_gold": _read_saco,
    "saco_silver": _read_saco,
    "saco_veval": _read_veval,
    "txt": _read_txt,
    "json": _read_json,
    "jsonl": _read_jsonl,
    "csv": _read_csv,
}
_SUFFIXES = {
    ".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv",
    ".p": "refcoco", ".pkl": "refcoco", ".pickle": "refcoco",
}  # fmt: skip


def _one_annotator(files: list[Path]) -> list[Path]:
    """One file a Gold subset: the annotators a, b and c answered the same queries."""
    first: dict[str, Path] = {}
    for path in sorted(files):
        first.setdefault(str(path.parent / _GOLD_ANNOTATOR.sub("", path.name)), path)
    return list(first.values())


def _in_folder(folder: Path) -> list[Found]:
    def matching(pattern: str) -> list[Path]:
        return sorted(folder.glob(pattern)) or sorted(folder.glob(f"*/{pattern}"))

    coco = [
        path
        for depth in ("", "*/")
        for split in ("train", "valid", "test")
        for path in sorted(folder.glob(f"{depth}{split}/_annotations.coco.json"))
    ]
    candidates = {
        "lvis": matching("lvis_v*.json"),
        "refcoco": refer_files(folder),
        "rf100vl": coco,
        "saco_gold": _one_annotator(matching("gold_*.json")),
        "saco_silver": matching("silver_*.json"),
        "saco_veval": matching("saco_veval_*.json"),
    }
    return [Found(kind, tuple(files)) for kind, files in candidates.items() if files]


def _json_kind(name: str, path: Path, field: str) -> str:
    """Chooses the reader of one JSON file by its file name, its keys, and the source's name."""
    released = _RELEASED.match(path.name)  # hundreds of megabytes: not read only to look at the keys
    if released and not field:
        return released[1] if released[1].startswith("saco") else f"saco_{released[1]}"
    data = read_json(path)
    if not isinstance(data, dict):
        return "json"
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


def find_layout(name: str, path: Path, field: str = "") -> Found:
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
            raise ValueError(f"source {name!r}: {path} holds several layouts; name the source one of: {kinds}")
        raise ValueError(
            f"source {name!r}: no known layout in the folder {path}; a folder holds lvis_v1_*.json, "
            "refcoco/refs(unc).p, DATASET/train/_annotations.coco.json, gold_*.json, silver_*.json or "
            "saco_veval_*.json; other corpora are given as one .txt, .json, .jsonl or .csv file"
        )
    suffix = path.suffix.lower()
    if suffix == ".json":
        return Found(_json_kind(name, path, field), (path,))
    if suffix not in _SUFFIXES:
        raise ValueError(
            f"source {name!r}: files like {path} are not read; give a .txt, .json, .jsonl, .csv, .tsv or .p file"
        )
    # A plain list of LVIS names needs the LVIS cleaning, which the source's name asks for.
    kind = "lvis" if name == "lvis" and suffix == ".txt" else _SUFFIXES[suffix]
    return Found(kind, (path,))
