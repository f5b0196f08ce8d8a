"""Seeds of one text encoder: their mean and spread beside the numbers of each."""

from typing import Any

from litetext.metrics.seeds import spread
from litetext.modules.results import summarize
from litetext.modules.seed_tables import add_seeds, seeds_table


def _results(*behind: float) -> dict[str, Any]:
    rows = {"teacher": 80.0, "mine-seed1": 60.0, "mine-seed4": 70.0, "other": 50.0, "alone-seed1": 40.0}
    scores = {
        name: {"crowded": {"CG_F1": value, "IL_MCC": 0.5}, "long": {"CG_F1": value - 20, "IL_MCC": None}}
        for name, value in rows.items()
    }
    results = summarize(scores, {name: 1_000 if "-" in name else 9_000_000 for name in rows}, "teacher")
    for name, points in zip(rows, (0.0, *behind), strict=False):
        probe = {"pairs": 4, "first": 100.0, "second": 100.0, "both": 100.0 - points, "behind": points}
        results["encoders"][name]["probes"] = {"typo": probe}
    for name in rows:
        results["encoders"][name]["kinds"] = {k: {"pairs": 4, "CG_F1": rows[name]} for k in ("noun", "count")}
    return results


def test_seeds_of_one_text_encoder_are_told_together() -> None:
    results = _results(25.0, 50.0)
    add_seeds(results)
    assert list(results["seeds"]) == ["mine"]
    mine = results["seeds"]["mine"]
    assert mine["seeds"] == [1, 4]
    assert mine["text_parameters"] == 1_000
    assert mine["average"]["CG_F1"] == spread([50.0, 60.0])
    assert mine["average"]["retention"]["mean"] == 55 / 70
    assert mine["subsets"]["long"] == {"CG_F1": spread([40.0, 50.0]), "IL_MCC": spread([None])}
    assert mine["probes"]["typo"]["behind"] == spread([25.0, 50.0])
    told = seeds_table(results).splitlines()
    assert told[0] == "| text encoder | parameters | CG_F1 | IL_MCC | retention |"
    assert told[2] == "| teacher | 9.00M | 70.00 | 0.500 | 1.000 |"
    assert "| mine (2 seeds) | 0.00M | 55.00 ± 7.07 | 0.500 ± 0.000 | 0.786 ± 0.101 |" in told
    assert "| alone-seed1 | 0.00M | 30.00 | 0.500 | 0.429 |" in told
    assert "| CG_F1 by subset | crowded | long |" in told
    assert "| mine (2 seeds) | 65.0 ± 7.1 | 45.0 ± 7.1 |" in told
    assert "| IL_MCC by subset | crowded | long |" in told
    assert "| mine (2 seeds) | 0.500 ± 0.000 |  |" in told
    assert "| CG_F1 by kind of phrase | noun | count |" in told
    assert told[-3] == "| pairs right, %; points behind | teacher | mine (2 seeds) |"
    assert told[-1] == "| typo | 100.0 | 62.5 ± 17.7; 37.5 ± 17.7 |"


def test_names_alone_do_not_make_seeds() -> None:
    results = _results(0.0, 0.0)
    results["encoders"]["mine-seed4"]["text_parameters"] = 2_000
    add_seeds(results)
    assert "seeds" not in results
    assert seeds_table(results) == ""
