"""Exports to the hub, against a stand-in for its HTTP interface."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from litetext.export.evaluation import Evaluated, write_evaluation
from litetext.export.front_matter import is_hub_id, license_of
from litetext.export.targets import export
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.mobileclip import MobileClipText
from litetext.saco.subsets import GOLD, SILVER, VEVAL_DOMAINS
from tests.export.students import STUDENT, checkpoint
from tests.fixtures.hub import TOKEN, Hub, stand_in
from tests.fixtures.runs import Answer

RUNS = """
import json, os, sys, traceback
from litetext.cli import main
told = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    token, argv = json.loads(line)
    os.environ.pop("HF_TOKEN", None)
    os.environ |= {} if token is None else {"HF_TOKEN": token}
    for number, name in enumerate(("stdout", "stderr"), 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    try:
        code = exec(argv[1], {}) if argv[0] == "-c" else main(argv)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    print(code or 0, file=told, flush=True)
"""


@contextmanager
def in_hub(hub: Hub, home: Path) -> Iterator[Callable[..., Answer]]:
    """A process that runs commands with the stand-in as its hub; the address is read when the client is imported."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", RUNS], stdin=pipe, stdout=pipe, text=True, env=clean | own, cwd=home
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def run(*argv: str, token: str | None = TOKEN) -> Answer:
        print(json.dumps([token, argv]), file=process.stdin, flush=True)
        code = process.stdout.readline()  # type: ignore[union-attr]
        return Answer(int(code), *((home / name).read_text() for name in ("stdout", "stderr")))

    with process:
        yield run
        process.stdin.close()


def test_an_export_goes_to_the_hub_and_comes_back(tmp_path: Path) -> None:
    command = ("export", STUDENT, "--to", "text", "--output", "out", "--prompts", "shapes:5")
    command = (*command, "--pairs", "4", "--push", "tester/student")
    with stand_in() as hub, in_hub(hub, tmp_path) as run:
        refused = run(*command, token=None)
        assert refused.code == 2
        assert "needs a token of the hub; log in with `hf auth login`" in refused.err
        assert not hub.asked
        refused = run(*command, token="hf_wrong")
        assert refused.code == 2
        assert "does not take the token" in refused.err
        assert "Traceback" not in refused.err
        assert not (tmp_path / "out").exists()
        assert not hub.repos
        done = run(*command)
        assert done.code == 0, (done.err, hub.asked)
        assert f"uploaded: {hub.url}/tester/student/commit/" in done.out
        there = hub.repos["tester/student"]
        assert there == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        code = (
            "from litetext.models import MobileClipText\n"
            "student = MobileClipText.from_pretrained('tester/student')\n"
            "student.save_pretrained('again')\n"
            "print(student.push_to_hub('tester/second'))\n"
        )
        done = run("-c", code)
        assert done.code == 0, (done.err, hub.asked)
        assert hub.repos["tester/second"]["model.safetensors"] == there["model.safetensors"]
    again, student = load_text_encoder(tmp_path / "again"), load_text_encoder(STUDENT)
    assert again.config == student.config
    assert all((a == b).all() for a, b in zip(again.parameters(), student.parameters(), strict=True))


def test_a_student_is_saved_and_opened_by_the_hubs_mixin(tmp_path: Path) -> None:
    student = MobileClipText("nano", 8, layers=1, padding="transformers")
    student.save_pretrained(tmp_path)
    again = MobileClipText.from_pretrained(tmp_path)
    assert again.config == student.config
    assert not again.training
    assert ModelCard.load(tmp_path / "README.md").data.library_name == "litetext"
    with pytest.raises(ValueError, match="SAM3's own text encoder"):
        MobileClipText.from_pretrained(Path(load_folder()))


def load_folder() -> str:
    from litetext.shipped import shipped

    return shipped("checkpoints/sam3-tiny")


def test_front_matter_as_the_hub_reads_it(tmp_path: Path) -> None:
    export(checkpoint(tmp_path / "s.ckpt"), "transformers", str(tmp_path / "out"), ["red circle"], pairs=4)
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "transformers", "mask-generation")
    assert data.base_model is None  # the teacher is a folder of ours, which the hub does not have
    assert {"sam3", "knowledge-distillation", "transformers"} <= set(data.tags)
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value) == ("cosine", 0.5)
    assert result.dataset_name == "held-out prompts of a"
    export(str(tmp_path / "out"), "text", str(tmp_path / "small"), ["red circle"], pairs=0)
    assert ModelCard.load(tmp_path / "small" / "README.md").data.pipeline_tag == "feature-extraction"


def test_results_of_a_test_as_the_hub_reads_them(tmp_path: Path, litetext: Any, refused: Any) -> None:
    row = {"CG_F1": 51.25, "IL_MCC": 0.79, "pmF1": 63.6, "retention": 0.959}
    subsets = {name: {"CG_F1": 50.0 + n, "IL_MCC": 0.8, "pmF1": 60.0} for n, name in enumerate(GOLD)}
    entry = {"iou": "segm", "average": row, "subsets": subsets}
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"encoders": {"teacher": entry, "mine": entry}, "partial": True, "left_out": 3}))
    out = tmp_path / "out"
    command = ("export", checkpoint(tmp_path / "s.ckpt"), "--to", "text", "--prompts", "shapes:4", "--output", str(out))
    answer = litetext(*command, "--pairs", "0", "--results", str(results))
    assert answer.code == 0, answer.err
    entries = parse_eval_result_entries(yaml.safe_load((out / ".eval_results/saco_gold.yaml").read_text()))
    assert [(e.dataset_id, e.task_id, e.value) for e in entries[:2]] == [
        ("facebook/SACo-Gold", "default", 51.25),
        ("facebook/SACo-Gold", GOLD[0], 50.0),
    ]
    assert len(entries) == 8
    assert entries[0].notes == "CG_F1 of masks, litetext test; partial: 3 pairs left out"
    card = ModelCard.load(out / "README.md")
    told = {r.metric_type: r.metric_value for r in card.data.eval_results if r.task_type == "mask-generation"}
    assert told == {"cg_f1": 51.25, "il_mcc": 0.79, "pmf1": 63.6}
    assert "| metaclip | 50.000 | 0.800 | 60.000 |" in card.text
    # Numbers of another protocol have no place among the official ones on the hub: the card alone tells of them.
    told = "duplicates above an IoU of 0.5 suppressed (model.nms)"
    results.write_text(json.dumps({"encoders": {"mine": entry}, "unofficial": [told]}))
    answer = litetext(*command, "--overwrite", "--pairs", "0", "--results", str(results))
    assert answer.code == 0, answer.err
    assert not (out / ".eval_results").exists()
    assert f"CG_F1 of masks, litetext test; not the official protocol: {told}" in (out / "README.md").read_text()
    # Neither has another data set.
    results.write_text(json.dumps({"encoders": {"a": {**entry, "subsets": {"common": row}}, "b": entry}}))
    more = ("--overwrite", "--pairs", "0", "--results", str(results))
    assert "holds a, b; name the student with --results_of" in refused(*command, *more)
    assert "--results_of c is not in" in refused(*command, *more, "--results_of", "c")
    assert "no such file" in refused(*command, "--results", str(tmp_path / "none.json"))
    assert "give both" in refused(*command, "--results_of", "c")
    assert litetext(*command, *more, "--results_of", "a").code == 0
    assert not (out / ".eval_results").exists()
    assert "| common | 51.250" in (out / "README.md").read_text()
    results.write_text("[]")
    assert "is no results.json of litetext test" in refused(*command, *more)


@pytest.mark.parametrize(
    ("names", "whole"),
    [
        (SILVER, True),
        (SILVER[:2], False),
        ([f"{domain}_test" for domain in VEVAL_DOMAINS], True),
        (["sav_test"], False),
        ([f"{domain}_{split}" for domain in VEVAL_DOMAINS for split in ("test", "val")], False),
    ],
)
def test_the_average_of_a_part_is_not_that_of_the_benchmark(names: list[str], whole: bool, tmp_path: Path) -> None:
    evaluated = Evaluated("mine", {"CG_F1": 9.0}, {name: {"CG_F1": 9.0} for name in names}, "segm", 0, False)
    path = write_evaluation(evaluated, tmp_path)
    assert path is not None
    tasks = [entry.task_id for entry in parse_eval_result_entries(yaml.safe_load(path.read_text()))]
    assert tasks == [*(["default"] if whole else []), *names]


def test_licenses_and_hub_ids() -> None:
    assert license_of("facebook/sam3")["license_name"] == "sam-license"
    assert license_of("/data/sam3.1_multiplex.pt")["license"] == "other"
    assert license_of("checkpoints/sam3-nouns") == {"license": "apache-2.0"}
    assert license_of("my/teacher") == license_of(None) == {"license": "unknown"}
    assert is_hub_id("facebook/sam3")
    assert not any(map(is_hub_id, ("checkpoints/sam3-tiny", "data/refer", "shapes:9", "a/sam3.pt", "./x", "/a/b")))
