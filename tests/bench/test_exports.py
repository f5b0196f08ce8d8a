"""The table of exports: a row a file, and why one is missing."""

import jaxtyping
import pytest

from litetext.bench import exports
from litetext.bench.exports import export_table
from tests.export.students import STUDENT


def test_each_file_has_its_row_and_a_refusal_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr(exports, "_ROWS", (("text", "fp32"), ("efficientsam3", "fp32")))
    lines = export_table(STUDENT, "shapes:5", pairs=4).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["`text`", "`efficientsam3`"]
    assert lines[2].split("|")[2:6] == [" 4 ", lines[2].split("|")[3], " 0 ", " 0 "]
    assert "refused: " in lines[3]
    assert "efficientsam3 lets padding take part" in lines[3]
