"""Prompt corpora in their own layouts: which reader reads them, and what."""

import codecs
import gzip
import json
import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from litetext.data.images.coco import CocoSet, read_coco
from litetext.data.prompts.corpora import read_prompts
from tests.fixtures.layouts import (
    refer_entries,
    write_coco,
    write_json,
    write_lvis,
    write_refer,
    write_rf100vl,
    write_saco_gold,
    write_saco_image,
    write_saco_silver,
    write_saco_veval,
)

LVIS = ["aerosol_can", "bow_(weapon)", "bow_(decorative_ribbons)", "bow", "Ferris_wheel", "(x)"]


def text(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("", ["aerosol can", "bow ", "bow", "Ferris wheel"]),
        ("#strip", ["aerosol can", "bow", "Ferris wheel"]),
        ("#raw", LVIS),
    ],
)
@pytest.mark.parametrize("where", ["file", "folder", "list"])
def test_lvis_names_are_cleaned_as_the_paper_counts_them(tmp_path, field, expected, where):
    file = write_lvis(tmp_path, LVIS)
    if where == "list":
        file = Path(text(tmp_path / "names.txt", "\n".join(LVIS) + "\n"))
    source = read_prompts("lvis", f"{tmp_path if where == 'folder' else file}{field}")
    assert source.kind == "lvis"
    assert source.prompts == expected
    assert (source.total, source.empty) == (6, 0 if field == "#raw" else 1)


def test_lvis_synonyms_and_both_splits(tmp_path):
    write_lvis(tmp_path, ["a_b", "c"], "train")
    write_lvis(tmp_path, ["c", "d"], "val")
    source = read_prompts("names", str(tmp_path))
    assert (source.prompts, source.total, source.files) == (["a b", "c", "d"], 4, 2)
    assert read_prompts("x", f"{tmp_path}#synonyms").prompts == [
        "a b",
        "a b thing",
        "c",
        "c thing",
        "d",
        "d thing",
    ]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_refcoco_family_is_one_source(tmp_path, protocol):
    write_refer(tmp_path, "refcoco", [["left man", "man"], ["red bus"]], protocol=protocol)
    write_refer(tmp_path, "refcoco", [["not counted"]], "google", protocol)
    write_refer(tmp_path, "refcoco+", [["man", "tall man"]], protocol=protocol)
    file = write_refer(tmp_path, "refcocog", [["the man who sits"]], "umd", protocol)
    write_refer(tmp_path, "refcocog", [["not counted"]], "google", protocol)
    source = read_prompts("expressions", str(tmp_path))
    assert source.prompts == ["left man", "man", "red bus", "tall man", "the man who sits"]
    assert (source.kind, source.total, source.files) == ("refcoco", 6, 3)
    assert read_prompts("x", str(tmp_path / "refcocog")).prompts == ["the man who sits"]
    assert read_prompts("x", f"{file}#raw").prompts == ["THE MAN WHO SITS"]


def test_python_2_byte_strings_are_read(tmp_path):
    # what Python 2 wrote for [{'sentences': [{'sent': 'caf\xc3\xa9'}]}] and, in Latin-1, for 'caf\xe9'
    for body in (rb"S'caf\xc3\xa9'", rb"S'caf\xe9'"):
        path = text(
            tmp_path / "refs.p",
            b"(lp0\n(dp1\nS'sentences'\np2\n(lp3\n(dp4\nS'sent'\np5\n" + body + b"\nsasa.",
        )
        assert read_prompts("x", path).prompts == ["café"]


class Calls:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_a_function_is_refused_unrun(tmp_path, protocol):
    marker = tmp_path / "ran"
    folder = tmp_path / "refcoco"
    folder.mkdir()
    content = pickle.dumps([*refer_entries([["man"]]), Calls(marker)], protocol=protocol)
    text(folder / "refs(unc).p", content)
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p is not read: it asks for \w+\.mkdir\. Only pickles of plain"):
        read_prompts("refcoco", str(tmp_path))
    assert not marker.exists()
    with pytest.raises(ValueError, match=r"asks for posix\.system"):
        read_prompts("x", text(tmp_path / "evil.p", b"cposix\nsystem\n(S'touch " + bytes(marker) + b"'\ntR."))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not read"),
        (b"not a pickle", "is not read"),
        (pickle.dumps(refer_entries([["a"]]))[:-20], "is not read"),
        (pickle.dumps([1, 2]), r"is no list of references with sentences\[\]\.sent"),
        (pickle.dumps({"a": 1}), "is no list of references"),
        (pickle.dumps([{"sentences": [{"raw": "x"}]}]), "is no list of references"),
        (pickle.dumps([{"sentences": [{"sent": 3}]}]), "entry 1 of .* is int, not text"),
    ],
)
def test_damaged_pickles_are_one_clear_error(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_prompts("x", text(tmp_path / "refs.p", content))


def test_rf100vl_skips_the_parent_that_no_annotation_uses(tmp_path):
    write_rf100vl(
        tmp_path / "rf",
        {"balls": (["balls", "red ball", "ball"], [1, 2]), "cells": (["cell", "red ball"], [0, 1])},
    )
    source = read_prompts("rf", str(tmp_path / "rf"))
    assert (source.kind, source.prompts) == ("rf100vl", ["red ball", "ball", "cell"])
    assert (source.total, source.files) == (4, 6)
    assert read_prompts("x", str(tmp_path / "rf" / "balls")).prompts == ["red ball", "ball"]
    one = write_coco(tmp_path / "one.json", ["parent", "x"], [1])
    assert read_prompts("rf100vl", str(one)).prompts == ["x"]


def test_a_category_name_is_one_phrase_as_prompt_and_as_data_set(tmp_path):
    names = ["parent", "red_circle", "crab_(animal)", "plain", "_", "a__b"]
    file = write_coco(tmp_path / "set.json", names, [1, 2, 3, 4, 5])
    asked = read_coco(CocoSet(str(file), str(tmp_path))).images[0].pairs
    prompts = read_prompts("mine", str(file)).prompts
    assert prompts == ["red circle", "crab", "plain", "_", "a b"]
    assert prompts == [pair.phrase for pair in asked]
    assert read_prompts("mine", f"{file}#raw").prompts == names[1:]


def test_ids_as_text_keep_a_category_zero_that_is_used(tmp_path):
    file = write_coco(tmp_path / "set.json", ["ball", "cup"], [])
    content = json.loads(file.read_text())
    content["annotations"] = [{"id": 1, "image_id": 0, "category_id": c, "iscrowd": "0"} for c in ("0", "1")]
    write_json(file, content)
    assert read_prompts("mine", str(file)).prompts == ["ball", "cup"]
    content["categories"][0]["id"] = "0"
    assert read_prompts("mine", str(write_json(file, content))).prompts == ["ball", "cup"]


@pytest.mark.parametrize("place", ["", "grefcoco", "grefcoco/annotations"])
def test_grefcoco_in_its_own_layout(tmp_path, place):
    references = refer_entries([["left man", "two men"], ["nobody here"]])
    references[1] |= {"ann_id": [-1], "category_id": [-1], "no_target": True}
    file = write_json(tmp_path / place / "grefs(unc).json", references)
    write_json(file.parent / "instances.json", {"images": [], "annotations": [], "categories": []})
    for path in (tmp_path, file):
        source = read_prompts("x", str(path))
        assert (source.kind, source.prompts) == ("grefcoco", ["left man", "two men", "nobody here"])
    assert read_prompts("x", f"{tmp_path}#raw").prompts == ["LEFT MAN", "TWO MEN", "NOBODY HERE"]
    pickled = file.with_suffix(".p")
    file.unlink()
    pickled.write_bytes(pickle.dumps(references))
    assert read_prompts("x", str(tmp_path)).kind == read_prompts("x", str(pickled)).kind == "grefcoco"
    write_refer(tmp_path, "refcoco", [["man"]])
    if place:
        with pytest.raises(ValueError, match=r"several layouts.*: refcoco, grefcoco"):
            read_prompts("x", str(tmp_path))
        assert read_prompts("refcoco", str(tmp_path)).prompts == ["man"]


def test_veval_files_that_were_updated_and_gzipped_ones(tmp_path):
    write_saco_veval(tmp_path, ["dog", "cat"], [1], files=["yt1b_val_updated"])
    file = tmp_path / "saco_veval_yt1b_val_updated.json"
    assert read_prompts("x", str(tmp_path)).prompts == ["dog", "cat"]
    assert read_prompts("x", f"{file}#pairs").prompts == ["cat"]
    (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert read_prompts("x", str(tmp_path)).prompts == ["dog", "cat"]


def test_saco_gold_reads_one_annotator(tmp_path):
    write_saco_gold(tmp_path, {"metaclip": ["a dog", "a cat", "a dog"], "sa1b": ["a cat", "door"]})
    source = read_prompts("gold", str(tmp_path))
    assert (source.kind, source.prompts) == ("saco_gold", ["a dog", "a cat", "door"])
    assert (source.total, source.files) == (5, 2)
    assert read_prompts("x", str(tmp_path / "gold_sa1b_merged_b_release_test.json")).prompts == [
        "a cat",
        "door",
    ]


def test_saco_silver_reads_fathomnet_too(tmp_path):
    write_saco_silver(tmp_path / "gt", {"droid": ["cup"], "fathomnet": ["fish", "cup"]})
    source = read_prompts("silver", str(tmp_path))  # one folder above the files
    assert (source.kind, source.prompts, source.files) == ("saco_silver", ["cup", "fish"], 2)
    single = read_prompts("x", str(tmp_path / "gt" / "silver_fathomnet_test.json"))
    assert (single.kind, single.prompts) == ("saco_silver", ["fish", "cup"])
    renamed = write_saco_image(tmp_path / "mine.json", ["own"])
    assert read_prompts("saco_silver", str(renamed)).kind == "saco_silver"
    assert read_prompts("mine", str(renamed)).kind == "saco_gold"


def test_saco_veval_reads_the_map_once_or_only_the_pairs(tmp_path):
    write_saco_veval(tmp_path, ["dog", "cat", "cow", "dog"], [1, 1])
    source = read_prompts("veval", str(tmp_path))
    assert (source.kind, source.prompts, source.total, source.files) == (
        "saco_veval",
        ["dog", "cat", "cow"],
        4,
        2,
    )
    assert read_prompts("veval", f"{tmp_path}#pairs").prompts == ["cat"]
    renamed = (tmp_path / "saco_veval_sav_val.json").rename(tmp_path / "toy.json")
    assert read_prompts("x", str(renamed)).prompts == ["dog", "cat", "cow"]


def test_a_folder_of_two_layouts_asks_for_a_name(tmp_path):
    write_saco_gold(tmp_path, {"sa1b": ["door"]})
    write_saco_silver(tmp_path, {"droid": ["cup"]})
    assert read_prompts("saco_silver", str(tmp_path)).prompts == ["cup"]
    with pytest.raises(ValueError, match=r"several layouts; give the .*of one, or name .*: saco_gold, saco_silver"):
        read_prompts("mine", str(tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "field"),
    [
        ("p.txt", "A dog\r\ncat \n\nA dog\n", ""),
        ("p.txt", "\ufeffA dog\ncat \n \t\nA dog", ""),
        ("p.json", '["A dog", "cat ", "", "A dog"]', ""),
        ("p.json", '{"text_annotations": ["A dog", "cat ", " ", "A dog"]}', ""),
        ("p.json", '{"a": {"b": [{"c": "A dog"}, {"c": "cat "}, {"c": ""}, {"c": "A dog"}]}}', "#a.b.c"),
        (
            "p.json",
            '{"categories": [{"name": "A dog"}, {"name": "cat "}, {"name": ""}, {"name": "A dog"}]}',
            "#categories.name",
        ),
        ("p.jsonl", '"A dog"\n"cat "\n\n""\n"A dog"', ""),
        ("p.jsonl", '{"q": "A dog"}\r\n{"q": "cat "}\n{"q": "\\n"}\n{"q": ["A dog"]}\n', "#q"),
        ("p.jsonl", '{"text_annotations": ["A dog", "cat "]}\n{"text_annotations": ["", "A dog"]}', ""),
        ("p.csv", 'id,name\n1,A dog\n2,"cat "\n3,\n4,A dog\n', "#name"),
        ("p.tsv", "id\tname\n1\tA dog\n2\tcat \n3\n4\tA dog\n", "#name"),
        ("p.csv", "\ufeffid;name\r\n1;A dog\r\n2;cat \r\n3;\r\n4;A dog;;\r\n", "#name"),
        ("p.txt", "A dog\rcat \r\rA dog\r", ""),
        ("p.jsonl", '"A dog"\r"cat "\r""\r"A dog"', ""),
        ("p.txt", "A dog\ncat \n\nA dog\n".encode("utf-16"), ""),
        ("p.txt", codecs.BOM_UTF16_BE + "A dog\ncat \n\nA dog\n".encode("utf-16-be"), ""),
        ("p.json", '["A dog", "cat ", "", "A dog"]'.encode("utf-32"), ""),
        ("p.txt.gz", gzip.compress(b"A dog\ncat \n\nA dog\n", mtime=0), ""),
        ("p.jsonl.gz", gzip.compress(b'"A dog"\n"cat "\n""\n"A dog"', mtime=0), ""),
    ],
)
def test_plain_files(tmp_path, file, content, field):
    source = read_prompts("mine", text(tmp_path / file, content) + field)
    assert source.prompts == ["A dog", "cat "]
    assert (source.total, source.empty) == (4, 1)


def test_a_hash_in_a_file_name_is_no_field(tmp_path):
    assert read_prompts("x", text(tmp_path / "a#b.txt", "dog")).prompts == ["dog"]
    assert read_prompts("x", text(tmp_path / "a#b.csv", "n\ndog") + "#n").prompts == ["dog"]


def test_shapes_need_no_file(monkeypatch):
    def phrases(n, seed, held_out=False):
        return [f"{'odd' if held_out else 'red'} circle {seed} {i}" for i in range(n)]

    monkeypatch.setitem(sys.modules, "litetext.data.shapes.world", SimpleNamespace(phrases=phrases))
    source = read_prompts("s", "shapes:2")
    assert (source.kind, source.prompts) == ("shapes", ["red circle 0 0", "red circle 0 1"])
    assert read_prompts("s", "shapes:1:held_out").prompts == ["odd circle 0 0"]
    for path in ("shapes:", "shapes:0", "shapes:-1", "shapes:x", "shapes:3:odd"):
        with pytest.raises(ValueError, match=r"write shapes:N or shapes:N:held_out"):
            read_prompts("s", path)


def test_wrong_fields_of_known_corpora_list_the_right_ones(tmp_path):
    for folder, fields in [
        (write_lvis(tmp_path / "l", ["a"]).parent, "paper, strip, raw, synonyms"),
        (write_saco_veval(tmp_path / "v", ["a"], [0]), "categories, pairs"),
        (write_refer(tmp_path / "r", "refcoco", [["a"]]).parent.parent, "sent, raw"),
        (write_saco_gold(tmp_path / "g", {"sa1b": ["a"]}), "text_input"),
    ]:
        with pytest.raises(ValueError, match=rf"field 'zzz' means nothing .* choose one of: {fields}$"):
            read_prompts("x", f"{folder}#zzz")
