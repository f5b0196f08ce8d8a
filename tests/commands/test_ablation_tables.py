"""The tables of an ablation: spreads, differences seed by seed, subsets and kinds."""

from typing import Any

from litetext.commands.ablation_tables import COLUMNS, group_numbers, tables


def _seed(cg_f1: float, long: float, drift: float | None = None) -> dict[str, Any]:
    kinds = {"noun": {"pairs": 3, "CG_F1": cg_f1}, "long": {"pairs": 2, "CG_F1": long}}
    numbers: dict[str, Any] = dict.fromkeys(COLUMNS, 0.5)
    return {**numbers, "CG_F1": cg_f1, "drift": drift, "kinds": kinds}


def _group() -> dict[str, dict[str, Any]]:
    seeds = {"8": [_seed(40.0, 10.0), _seed(60.0, 12.0)], "16": [_seed(42.0, 30.0), _seed(63.0, 31.0)]}
    return group_numbers(seeds, {"8": "context-8", "16": "base"}, "16")


def test_a_variant_is_compared_seed_by_seed() -> None:
    group = _group()
    assert "difference" not in group["16"]
    gap = group["8"]["difference"]
    assert gap["from"] == "16"
    assert gap["CG_F1"]["mean"] == -2.5  # of -2 and -3: the spread of 14 over seeds is no part of it
    assert gap["CG_F1"]["low"] < -8.8 < 3.8 < gap["CG_F1"]["high"]
    assert gap["kinds"]["long"]["mean"] == -19.5
    assert gap["drift"]["mean"] is None
    assert group["8"]["kinds"]["noun"]["CG_F1"]["mean"] == 50


def test_the_tables_quote_and_leave_out_what_is_undefined() -> None:
    told = tables({"context": _group()}, {"context": {"16": "the best trade-off"}}).splitlines()
    assert told[0].startswith("| context | CG_F1 | ")
    assert told[0].endswith(" | drift | paper |")
    assert told[2].startswith("| 8 | 50.00 ± 14.14 (40.00 to 60.00) | 0.500 ± 0.000")
    assert told[2].endswith("|  |  |")  # no drift, nothing quoted
    assert told[3].endswith("|  | the best trade-off |")
    assert told[5].startswith("| context: above 16, 95% interval | CG_F1")
    assert told[7].startswith("| 8 | -2.50 [-8.85, +3.85] | +0.000 [+0.000, +0.000]")
    assert "| context: CG_F1 by kind of phrase | noun | long |" in told
    assert "| 8 | 50.0 ± 14.1 | 11.0 ± 1.4 |" in told
    assert "| 8 | -2.5 [-8.9, +3.9] | -19.5 [-25.9, -13.1] |" in told
