"""`litetext score`: the official numbers, from the files of any system."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer

ORACLE = Path(__file__).parent / "data" / "oracle"


def gt(case: str) -> list[str]:
    return [str(path) for path in sorted((ORACLE / case).glob("gt_*"))]


def pred(case: str) -> str:
    return str(next((ORACLE / case).glob("pred*")))


@pytest.mark.parametrize("case", ["case1", "case2", "case3"])
def test_official_numbers(case: str, tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    output = tmp_path / "scores.json"
    answer = litetext("score", "--gt", *gt(case), "--predictions", pred(case), "--output", str(output))
    assert answer.code == 0, answer.err
    scores: dict[str, dict[str, float]] = json.loads(output.read_text())
    expected = json.loads((ORACLE / case / "official.json").read_text())
    compared = 0
    for kind, numbers in scores.items():
        assert len(numbers) == 26
        for name, value in official_numbers(expected, kind).items():
            assert numbers[name] == pytest.approx(value, abs=1e-9), (kind, name)
            compared += 1
        assert f"{numbers['cgF1']:.4f}" in answer.out
    assert compared >= 26


def official_numbers(expected: Any, kind: str) -> dict[str, float]:
    """The oracle's numbers of a kind, by their names without the prefix."""
    prefix, found = f"cgF1_eval_{kind}_", {}
    stack = [expected]
    while stack:
        for name, value in stack.pop().items():
            if isinstance(value, dict):
                stack.append(value)
            elif name.startswith(prefix):
                found[name.removeprefix(prefix)] = value
    return found


def test_plain_and_gzipped_files_and_what_is_absent(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    items = json.loads(gzip.decompress(Path(pred("case1")).read_bytes()))
    plain = tmp_path / "predictions.json"
    plain.write_text(json.dumps(items))
    argv = ("score", "--gt", *gt("case1"), "--predictions")
    assert litetext(*argv, str(plain)).out == litetext(*argv, pred("case1")).out
    plain.write_text(json.dumps([{k: v for k, v in item.items() if k != "bbox"} for item in items]))
    only_masks = litetext(*argv, str(plain))
    assert "bbox is left out" in only_masks.out
    assert "segm is left out" not in only_masks.out
    plain.write_text("[]")
    nothing = litetext(*argv, str(plain))
    assert nothing.code == 0
    assert "left out" not in nothing.out


def test_bad_files_end_in_one_line(tmp_path: Path, refused: Callable[..., str]) -> None:
    truth, good = gt("case1"), pred("case1")
    assert "nothere.json" in refused("score", "--gt", *truth, "--predictions", "nothere.json")
    assert "--gt names 4 files" in refused("score", "--gt", *truth, truth[0], "--predictions", good)
    assert "predictions" in refused("score", "--gt", *truth)
    broken = tmp_path / "broken.json"
    broken.write_text('[{"image_id": 1')
    assert "broken.json cannot be read as JSON" in refused("score", "--gt", *truth, "--predictions", str(broken))
    broken.write_text('[{"image_id": 1, "score": 0.5}]')
    assert "prediction 0 has no category_id" in refused("score", "--gt", *truth, "--predictions", str(broken))
    broken.write_text('[{"image_id": 1, "category_id": 1, "score": 0.5}]')
    assert "no prediction has a segmentation" in refused("score", "--gt", *truth, "--predictions", str(broken))
