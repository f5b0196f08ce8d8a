"""Prompt corpora in their own layouts: what is read, what is counted, what is refused and how."""

import os
import pickle
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import (
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

from litetext.data.prompts import counts_table, counts_text, read_prompts, read_sources, split_prompts

LVIS = ["aerosol_can", "bow_(weapon)", "bow_(decorative_ribbons)", "bow", "Ferris_wheel", "(x)"]


def text(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


# ---------------------------------------------------------------- layouts


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
    with pytest.raises(ValueError, match=r"holds several layouts; name the source one of: saco_gold, saco_silver"):
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

    monkeypatch.setitem(sys.modules, "litetext.data.shapes", SimpleNamespace(phrases=phrases))
    source = read_prompts("s", "shapes:2")
    assert (source.kind, source.prompts) == ("shapes", ["red circle 0 0", "red circle 0 1"])
    assert read_prompts("s", "shapes:1:held_out").prompts == ["odd circle 0 0"]
    for path in ("shapes:", "shapes:0", "shapes:-1", "shapes:x", "shapes:3:odd"):
        with pytest.raises(ValueError, match=r"write shapes:N or shapes:N:held_out"):
            read_prompts("s", path)


# ---------------------------------------------------------------- odd prompts and bad files


def test_odd_prompts_are_text(tmp_path):
    odd = ["x" * 10_000, "do\x00g", "🐕‍🦺", "🐕", "é\u2028e", "a\x0cb", "?"]
    path = write_json(tmp_path / "p.json", odd)
    assert read_prompts("x", str(path)).prompts == odd
    assert read_prompts("x", text(tmp_path / "p.txt", "\n".join(odd))).prompts == odd


@pytest.mark.parametrize("prompt", ["", " ", "\t \u3000", "\x00", " \x00\x7f ", "\u200b\ufeff", "\r\n"])
def test_empty_prompts_are_rejected_and_counted(tmp_path, prompt):
    path = write_json(tmp_path / "p.json", ["dog", prompt, prompt])
    source = read_prompts("x", str(path))
    assert (source.prompts, source.total, source.empty) == (["dog"], 3, 2)
    with pytest.raises(ValueError, match=r"source 'x': .* holds no prompt \(1 entries read, 1 of them empty\)"):
        read_prompts("x", str(write_json(path, [prompt])))


BAD = [
    ("p.txt", b"dog\ncat\nb\xffd\n", r"p\.txt is not UTF-8: byte 0xff at offset 9, line 3; save it as UTF-8"),
    ("p.txt", b"\xef\xbb\xbfa\n\xe9", r"byte 0xe9 at offset 5, line 2"),
    ("p.json", b'["\xff"]', r"byte 0xff at offset 2, line 1"),
    ("p.jsonl", b'"\xff"', r"is not UTF-8"),
    ("p.csv#a", b"a\n\xff", r"is not UTF-8"),
    ("p.txt", b"", r"holds no prompt \(0 entries read"),
    ("p.json", b"[]", r"holds no prompt"),
    ("p.json", b'["half \\ud83d"]', r"entry 1 of .* holds half a character \('\\ud83d'\)"),
    ("p.json", b'["a",\n "b"', r"p\.json is not JSON: .* at line 2, column 5"),
    ("p.json", b"[" * 20_000, r"is nested too deeply"),
    (
        "p.json",
        b'{"phrases": ["a"]}',
        r"layout of .*p\.json is not known \(its keys: phrases\); name the field",
    ),
    ("p.json#q", b'{"phrases": ["a"]}', r"has no field 'q'; there is: phrases"),
    ("p.json#phrases.q", b'{"phrases": ["a"]}', r"has no field 'q'; there is: a str"),
    ("p.json", b"[1]", r"holds int where a prompt should be \(1\); name the field"),
    ("p.json", b'[{"a": "dog"}]', r"holds dict where a prompt should be .*PATH#FIELD"),
    ("p.jsonl", b'"a"\n{"b"', r"p\.jsonl is not JSON at line 2"),
    ("p.csv", b"a,b\n1,2", r"has columns, and none is named; write PATH#COLUMN with one of: a, b"),
    ("p.csv#c", b"a,b\n1,2", r"has no column 'c'; write PATH#COLUMN with one of: a, b"),
    ("p.txt#c", b"a", r"a text file has no fields, so #c means nothing"),
    ("p.parquet", b"a", r"files like .*p\.parquet are not read; give a \.txt"),
    ("saco_veval_sav_val.json", b'{"videos": []}', r"has no field 'categories'; there is: videos"),
    ("gold_sa1b_merged_a_release_test.json", b'{"annotations": []}', r"has no field 'images'"),
]


@pytest.mark.parametrize(("file", "content", "message"), BAD)
def test_bad_files_say_what_is_wrong(tmp_path, file, content, message):
    text(tmp_path / file.partition("#")[0], content)
    with pytest.raises(ValueError, match=message) as caught:
        read_prompts("x", str(tmp_path / file))
    assert "\n" not in str(caught.value)


def test_wrong_fields_of_known_corpora_list_the_right_ones(tmp_path):
    for folder, fields in [
        (write_lvis(tmp_path / "l", ["a"]).parent, "paper, strip, raw, synonyms"),
        (write_saco_veval(tmp_path / "v", ["a"], [0]), "categories, pairs"),
        (write_refer(tmp_path / "r", "refcoco", [["a"]]).parent.parent, "sent, raw"),
        (write_saco_gold(tmp_path / "g", {"sa1b": ["a"]}), "text_input"),
    ]:
        with pytest.raises(ValueError, match=rf"field 'zzz' means nothing .* choose one of: {fields}$"):
            read_prompts("x", f"{folder}#zzz")


@pytest.mark.parametrize("path", ["nowhere/lvis.json", "nowhere.csv#name", "", "#name"])
def test_a_missing_file_names_the_source_and_the_way_out(path):
    with pytest.raises(FileNotFoundError, match=r"source 'lvis': there is nothing at .*; give the file or folder"):
        read_prompts("lvis", path)


def test_an_unknown_folder_lists_the_layouts(tmp_path):
    with pytest.raises(ValueError, match=r"source 'x': no known layout in the folder .*lvis_v1_\*\.json"):
        read_prompts("x", str(tmp_path))


# ---------------------------------------------------------------- counts and split


def test_counts_stay_per_source_and_add_up(tmp_path):
    first = text(tmp_path / "a.txt", "dog\ncat\ndog\n\n")
    second = text(tmp_path / "b.txt", "dog\n")
    sources = read_sources({"one": first, "two": second})
    assert [tuple(row) for row in counts_table(sources)] == [
        ("one", "txt", 1, 4, 2, 1),
        ("two", "txt", 1, 1, 1, 0),
        ("all", "", 2, 5, 3, 1),
    ]
    lines = counts_text(sources).split("\n")
    assert lines[0].split() == ["source", "kind", "files", "total", "unique", "empty"]
    assert lines[3].split() == ["all", "2", "5", "3", "1"]
    assert len(counts_table(sources[:1])) == 1
    with pytest.raises(ValueError, match="sources is empty; give at least one"):
        read_sources({})


PROMPTS = st.lists(st.text(max_size=12), max_size=30)
FRACTIONS = st.floats(0, 0.999)


@given(PROMPTS, PROMPTS, FRACTIONS, st.randoms(use_true_random=False), st.sampled_from(["", "b"]))
def test_a_prompts_side_depends_on_its_text_alone(prompts, others, fraction, random, salt):
    train, val = split_prompts(prompts, fraction, salt)
    assert sorted(train + val) == list(range(len(prompts)))
    assert train == sorted(train)
    assert val == sorted(val)
    mixed = [*prompts, *others]
    random.shuffle(mixed)
    side = {mixed[i]: 0 for i in split_prompts(mixed, fraction, salt)[0]}
    side |= {mixed[i]: 1 for i in split_prompts(mixed, fraction, salt)[1]}
    assert all(side[prompts[i]] == 0 for i in train)
    assert all(side[prompts[i]] == 1 for i in val)


@given(PROMPTS, FRACTIONS, FRACTIONS)
def test_a_larger_fraction_only_adds_to_validation(prompts, one, other):
    small, large = sorted((one, other))
    assert set(split_prompts(prompts, small)[1]) <= set(split_prompts(prompts, large)[1])


def test_the_split_is_the_same_on_every_machine():
    prompts = [f"thing {i}" for i in range(2000)]
    train, val = split_prompts(prompts, 0.1)
    assert 150 < len(val) < 250
    assert list(islice(val, 5)) == [
        1,
        9,
        11,
        28,
        44,
    ]  # fixed for good: a change moves prompts between the sides of old runs
    assert split_prompts(prompts, 0.1, salt="other")[1] != val
    assert split_prompts(prompts, 0.0)[1] == []
    assert split_prompts([p.upper() + " " for p in prompts], 0.1) == (train, val)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 5, float("nan")])
def test_a_fraction_outside_the_range_is_refused(fraction):
    with pytest.raises(ValueError, match=r"val_fraction=.* is outside \[0, 1\)"):
        split_prompts(["a"], fraction)
