"""What a file of figures says about its machine."""

import json

import pytest

from litetext.bench.machine import describe, kind, machine


def test_the_facts_are_json_and_one_line() -> None:
    facts = machine(threads=3)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["threads"] == 3
    assert facts["processor"]
    line = describe(facts)
    assert "3 threads" in line
    assert "\n" not in line
    assert describe({**facts, "load": None, "threads": 1}).count("load not known") == 1


def test_lowered_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    facts = machine()
    assert facts["lowered"]["ATEN_CPU_CAPABILITY"] == "avx2"
    assert "ATEN_CPU_CAPABILITY=avx2" in describe(facts)


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        (["avx2", "fma"], "avx2"),
        (["avx2", "avx_vnni"], "avx2-vnni"),
        (["avx2", "avx512f"], "avx512"),
        (["avx2", "avx512f", "avx512_vnni"], "avx512-vnni"),
        (["avx512f", "avx512_vnni", "avx512_bf16"], "avx512-bf16"),
        (["avx512f", "avx512_bf16", "amx_int8", "amx_bf16"], "amx"),
        (["asimd"], "arm64"),
    ],
)
def test_kinds(sets: list[str], named: str) -> None:
    assert kind(sets) == named
