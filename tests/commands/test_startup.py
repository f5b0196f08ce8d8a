"""What a command does not import before it begins; told by modules, since times differ from machine to machine."""

from pathlib import Path

import pytest

from tests.fixtures.imports import HEAVY, imported


def test_a_fit_begins_without_the_metrics_of_others_and_they_are_there_when_asked_for(folder: Path) -> None:
    # The last lines import all of torchmetrics: what was put off is whole, and the same classes.
    found = imported(
        "from litetext.cli import main\n"
        "assert main(['fit', '--config', 'tiny.yaml', '--print_config']) == 0\n"
        f"told = {{'before': [m for m in {HEAVY} if m in sys.modules]}}\n"
        "import torchmetrics\n"
        "few = torchmetrics.Metric\n"
        "assert torchmetrics.__version__ and not hasattr(torchmetrics, '__nothing__')\n"
        "from torchmetrics.classification import BinaryAccuracy\n"
        "assert torchmetrics.Metric is few and issubclass(BinaryAccuracy, few)\n"
        "assert issubclass(torchmetrics.Accuracy, few) and not hasattr(torchmetrics, 'nothing')\n"
        "assert 'AUROC' in dir(torchmetrics) and isinstance(torchmetrics.MeanMetric(), few)\n"
    )
    assert found["before"] == ["torch", "lightning", "torchmetrics"]


@pytest.mark.parametrize(
    ("case", "truth", "number"),
    [("case1", ["gt_a", "gt_b", "gt_c"], "cgF1"), ("video_synth", ["gt"], "demo_cgf1")],
)
def test_scoring_files_needs_no_torch(case: str, truth: list[str], number: str) -> None:
    files = Path(__file__).parent.parent / "fixtures/oracle" / case
    gt = [str(files / f"{name}.json.gz") for name in truth]
    found = imported(
        "import io, contextlib\nfrom litetext.cli import main\nout = io.StringIO()\n"
        f"argv = ['score', '--gt', *{gt!r}, '--predictions', {str(files / 'pred.json.gz')!r}]\n"
        "with contextlib.redirect_stdout(out): code = main(argv)\n"
        "told = {'code': code, 'text': out.getvalue()}\n",
    )
    assert (found["heavy"], found["code"]) == ([], 0)
    assert number in found["text"]
