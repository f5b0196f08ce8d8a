import re
from copy import deepcopy
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.audit.context import context_cost, context_stats
from litetext.audit.report.captions import caption
from litetext.audit.report.figures import FIGURES, apart, short, tail
from litetext.audit.report.page import Table
from litetext.audit.report.paper_columns import beside_paper, comparable
from litetext.audit.report.report import report_html, write_report
from litetext.audit.report.summary import summary
from litetext.audit.report.svg import DARK, LIGHT
from litetext.audit.report.tables import all_tables
from litetext.audit.words import interval, listed, share


def _estimate(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": None if value is None else value - 1, "high": None if value is None else value + 1}


def _source(lengths: list[int]) -> dict[str, Any]:
    vocabulary = {"used": 40, "rows": 400, "share": 0.1, "top_100_share": 1.0, "special_share": 0.4}
    vocabulary |= {"coverage": [[1, 0.3], [40, 1.0]], "head": [[5, "<b>&$x$", 9], [6, "dog", 4]]}
    return context_stats(np.array(lengths), [8, 16]) | {"vocabulary": vocabulary}


def _run(level: float) -> dict[str, Any]:
    values = {"logits": level, "weights": level, "output": level / 2, "attenuation": 2.0, "routing": level}
    return {"input": level, "cosine": 0.9, "encoded": level / 4, "layers": [values, values], **values}


def _made() -> dict[str, Any]:
    spectrum = {"rows": 400, "width": 8, "effective_rank": 6.5, "dims": {"90": 5, "95": 6, "99": 7}}
    spectrum["curve"] = [[1, 0.4], [8, 1.0]]
    position = {
        **spectrum,
        "rows": 3,
        "cosine": [[1, 0.1, None], [0.1, 1, 0.2], [None, 0.2, 1]],
        "positions": [0, 1, 2],
    }
    position |= {"within_0_7": 0.1, "within_8_up": 0.8, "components_90": 5}
    cloud = {"n": 90, "points": 100, "duplicates": 10, "width": 8}
    cloud |= {"svd_effective_rank": {**_estimate(6.0), "curve": [[1, 0.5], [8, 1.0]]}, "twonn": _estimate(4.0)}
    cloud |= {"mle": {"5": _estimate(3.0), "50": _estimate(None)}}
    drift = {"mean": 0.1, "low": 0.05, "high": 0.2, "n": 7}
    order: dict[str, Any] = dict.fromkeys(("permuted", "shuffled", "shuffled_alike", "different"), drift)
    order |= {"permuted_over_different": 0.25, "shuffled_over_different": 1.0, "token_permuted": None}
    order |= {"histogram": {"edges": [0, 0.5, 1], "permuted": [5, 2], "shuffled": [0, 7], "different": [1, 6]}}
    student = {"parameters": 10, "saving": 0.9, "fp16_bytes": 20}
    return {
        "litetext": "0",
        "contexts": [8, 16],
        "sources": {"a <b>": _source([3, 4, 5]), "c": _source([9, 20])},
        "combined": _source([3, 4, 5, 9, 20]),
        "covered": {"a <b>": {"c": 0.5, "other half": 1.0}, "c": {"a <b>": 0.0}},
        "encoder": {
            "name": "mine",
            "kind": "sam3",
            "parameters": 100,
            "context_length": 16,
            "width": 8,
            "vocab_size": 400,
        },
        "spectra": {"token": {"full": spectrum, "used": {**spectrum, "effective_rank": 5.0}}, "position": position},
        "dimension": {"tokens": cloud, "pooled": cloud},
        "order": order,
        "robustness": {
            "noise": {"0.1": _run(0.1), "0.97": _run(0.97)},
            "students": {"folder/best.ckpt": _run(0.2)},
            "images": 2,
            "phrases": 3,
        },
        "prescription": {
            "budget": 0.1,
            "context_length": 16,
            "token_loss": 0.02,
            "budget_met": True,
            "teacher": {"name": "mine", "parameters": 100},
            "student": {"preset": "s0", **student},
            "students": {"s0": student, "l": {**student, "saving": -1.5}},
            "vocabulary": {"saves": {"s0": 5}},
            "lines": [{"key": "context length", "value": "16", "reason": "because <it> is so"}],
            "warnings": ["something is odd"],
            "yaml": "model: {a: b} # <why>\n",
        },
        "failed": {"order": "no <reason>"},
    }


@pytest.fixture
def made() -> dict[str, Any]:
    """An audit with every part, made up."""
    return _made()


@pytest.fixture(scope="module")
def text() -> str:
    """Its report."""
    return report_html(_made())


class _Page(HTMLParser):
    """What a page holds, and whether its elements close in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img", "input", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_but_itself(text: str) -> None:
    page = _Page(text)
    assert page.open == []
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            if name.split(":")[-1] in ("src", "href", "srcset", "data", "action"):
                assert str(value).startswith(("#", "data:image/")), (name, value)
            assert not name.startswith("on")
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_ids_are_unique_and_every_reference_has_its_target(text: str) -> None:
    page = _Page(text)
    ids = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    asked = {str(v)[1:] for _, a in page.tags for n, v in a.items() if n.endswith("href") and str(v).startswith("#")}
    asked |= {str(a["aria-labelledby"]) for _, a in page.tags if "aria-labelledby" in a}
    assert asked <= set(ids)


def test_figures_say_what_they_show_and_take_the_colours_of_the_page(text: str) -> None:
    drawn = [attributes for tag, attributes in _Page(text).tags if tag == "svg"]
    assert len(drawn) == len(FIGURES)
    assert all(a["role"] == "img" and len(str(a["aria-label"])) > 20 for a in drawn)
    inside = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert not any(colour in inside for colour in LIGHT.values())
    assert "var(--ink)" in inside
    assert set(LIGHT) == set(DARK)
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text


def test_names_and_reasons_are_text_not_markup(text: str) -> None:
    assert "<b>" not in text
    assert "because &lt;it&gt; is so" in text
    assert "# &lt;why&gt;" in text
    assert "order: no &lt;reason&gt;" in text


def test_every_part_has_its_section_and_goes_with_it(made: dict[str, Any], text: str) -> None:
    titles = ["Context", "Vocabulary", "Embedding tables", "Dimension", "Word order", "Robustness", "Prescription"]
    assert all(f'-title">{title}' in text for title in titles)
    for part in ("encoder", "spectra", "dimension", "order", "robustness", "prescription"):
        del made[part]
    less = report_html(made, {})
    assert [title for title in titles if f'-title">{title}' in less] == titles[:2]


def test_sentences_follow_the_numbers(made: dict[str, Any]) -> None:
    said = caption(made, "positions")
    assert "more alike than the first eight: 0.80 on average against 0.10" in said
    made["spectra"]["position"] |= {"within_0_7": 0.9, "within_8_up": 0.2}
    assert "less alike than" in caption(made, "positions")
    assert "2 times smaller" in caption(made, "robustness")
    made["robustness"]["students"]["folder/best.ckpt"]["attenuation"] = 0.5
    assert "2 times larger" in caption(made, "robustness")
    assert "25.0% when attribute and noun change places and 100% when all words" in caption(made, "order")
    assert "From L = 20 on nothing is lost" in caption(made, "trade")
    assert "Half of them have at most 5 tokens" in caption(made, "lengths")


def test_the_summary_names_context_padding_and_prescription(made: dict[str, Any]) -> None:
    said = " ".join(summary(made))
    for words in ("8.20 tokens on average", "within the budget of 10.0%", "start from s0", "something is odd"):
        assert words in said
    assert share(made["combined"]["context"]["16"]["padding"]) in said


def test_numbers_stand_beside_the_papers_only_where_they_may(made: dict[str, Any], text: str) -> None:
    for part in ("context", "vocabulary", "spectra", "dimension", "robustness"):
        said = beside_paper(made, part)
        assert isinstance(said, str)
        assert "not comparable: other" in said
    assert "not comparable: other corpus (5 prompts, the paper's has 404,796)" in unescape(text)
    made["combined"]["prompts"] = 404_796
    context = beside_paper(made, "context")
    assert isinstance(context, Table)
    row = next(row for row in context.rows if row[0] == "tokens lost, L = 8")
    assert row[2] == "12.3%"
    assert "does not add up" in row[3]
    assert isinstance(beside_paper(made, "spectra"), str)


def test_random_weights_of_sam3s_size_are_not_taken_for_its_own(made: dict[str, Any]) -> None:
    made["encoder"]["parameters"] = 353_724_672
    assert comparable(made, weights=True, corpus=False) == "not comparable: other weights"
    made["spectra"]["position"]["within_0_7"] = 0.54
    assert comparable(made, weights=True, corpus=False) == ""
    table = beside_paper(made, "spectra")
    assert isinstance(table, Table)
    papers = {row[0]: row[2] for row in table.rows}
    assert papers["token table, effective rank"] == "943.0"
    assert papers["used rows, effective rank"].startswith("not comparable: other corpus")


def test_an_audit_with_undefined_values_still_makes_a_page(made: dict[str, Any]) -> None:
    def undefined(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: undefined(v, k) for k, v in value.items()}
        return None if isinstance(value, float) else value

    bare = undefined(deepcopy({key: made[key] for key in ("spectra", "dimension", "robustness")}))
    bare["spectra"]["token"]["full"]["curve"] = bare["spectra"]["token"]["used"]["curve"] = []
    bare["spectra"]["position"]["curve"] = []
    text = report_html({**made, **bare})
    assert "None" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    assert "nan" not in re.sub(r"<[^>]*>", "", text)


def test_the_board_holds_figures_scalars_and_tables(made: dict[str, Any], tmp_path: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "prescription.yaml").write_text("of an earlier audit")
    for part in ("spectra", "dimension", "order", "robustness"):
        del made[part]
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out.tfevents.0.old").write_bytes(b"")
    write_report(made, tmp_path)
    assert (tmp_path / "prescription.yaml").read_text() == made["prescription"]["yaml"]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = board.Tags()
    assert len(tags["images"]) == 3
    assert "combined/context/8/token_loss" in tags["scalars"]
    assert {f"tables/{table.key}/text_summary" for table in all_tables(made)} <= set(tags["tensors"])


@given(st.lists(st.integers(2, 40), min_size=1, max_size=30), st.integers(2, 32))
def test_the_drawn_trade_off_is_that_of_the_table(lengths: list[int], context: int) -> None:
    histogram = np.bincount(lengths).tolist()
    contexts, lost, padding = tail(histogram)
    cost = context_cost(histogram, context)
    place = contexts.index(context)
    assert lost[place] == pytest.approx(cost["token_loss"])
    assert padding[place] == pytest.approx(cost["padding"])


@given(st.dictionaries(st.text(max_size=3), st.floats(1e-4, 10), max_size=8))
def test_labels_keep_their_distance_and_order(heights: dict[str, float]) -> None:
    placed = apart(heights, 0.1)
    assert sorted(name for name, _ in placed) == sorted(heights)
    assert all(high >= low * 10**0.1 * (1 - 1e-9) for (_, low), (_, high) in pairwise(placed))
    assert all(height >= heights[name] for name, height in placed)


def test_words() -> None:
    assert (share(0.345), share(0.0003, 2), share(0.00001), share(0), share(1), share(None)) == (
        "34.5%",
        "0.03%",
        "0.001%",
        "0%",
        "100%",
        "–",
    )
    assert listed([]) == ""
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert interval(_estimate(3.0)) == "3.0 (2.0 to 4.0)"
    assert interval(_estimate(None)) == "–"
    assert (short("runs/x/best.ckpt"), short("a/my.ckpt"), short("x")) == ("x", "my.ckpt", "x")
