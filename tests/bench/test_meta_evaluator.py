"""The case that both evaluators are timed on is written as SA-Co's files, and what is no evaluator is refused."""

from pathlib import Path

import pytest

from litetext.bench.meta_evaluator import bench_meta_evaluator, write_case
from litetext.bench.metrics import make_case, plain_counts
from litetext.metrics.counts import official
from litetext.metrics.saco_files import score_files

# Not Meta's: the interface that is timed, with our own plain counts of the same case behind it.
STAND_IN = """
from litetext.bench.metrics import make_case, plain_counts
from litetext.metrics.counts import official

class CGF1Evaluator:
    def __init__(self, gt_path, iou_type):
        self.annotators, self.iou_type = len(gt_path), iou_type

    def evaluate(self, pred_file):
        print("as chatty as Meta's")
        return official(plain_counts(*make_case(20, 32, self.annotators, 0), self.iou_type), self.iou_type)
"""


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_files_of_a_case_give_its_numbers(tmp_path: Path, iou_type: str) -> None:
    case = make_case(20, 32, 2, 0)
    assert score_files(*write_case(tmp_path, *case, 32), iou_type) == official(plain_counts(*case, iou_type), iou_type)


def test_both_are_timed_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cgf1_eval.py").write_text(STAND_IN)
    figures = bench_meta_evaluator(str(tmp_path / "cgf1_eval.py"), 20, 32, 2, rounds=1)
    assert capsys.readouterr().out == ""
    assert figures.pop("largest_difference_meta") == 0
    assert all(value > 0 for value in figures.values())


@pytest.mark.parametrize("content", [None, "x = 1", "x = ", "import no_such_module"])
def test_what_is_no_evaluator_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "it.py").write_text(content)
    with pytest.raises(ValueError, match=r"it\.py.*sam3/eval/cgf1_eval\.py of facebookresearch/sam3"):
        bench_meta_evaluator(str(tmp_path / "it.py"), 4, 32, 1)
