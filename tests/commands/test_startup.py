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


def test_segment_begins_without_lightning_and_the_compiler_which_is_there_when_asked_for() -> None:
    # The inputs are read before the model. Then all that has stand-ins is asked for.
    found = imported(
        "from litetext.cli import main\n"
        "assert main(['segment', 'nothing.png', '--phrases', 'cup', '--output', 'nothing']) == 2\n"
        "compiler = 'torch._dynamo.convert_frame'\n"
        f"told = {{'before': [m for m in (*{HEAVY}, compiler) if m in sys.modules]}}\n"
        "import torch\n"
        "from transformers.integrations import deepgemm\n"
        "@torch.compiler.disable(recursive=False)\n"
        "def plain(x):\n"
        "    return x + 1 + torch.compiler.is_compiling()\n"
        "marked = torch._dynamo.assume_constant_result(lambda: 3)\n"
        "one = torch.ones(1)\n"
        "assert plain(one) == 2 and compiler not in sys.modules\n"
        "import torch._dynamo.config as config\n"
        "assert config is sys.modules['torch._dynamo.config'] is torch._dynamo.config and compiler in sys.modules\n"
        "assert all(f._dynamo_marked_constant for f in (marked, deepgemm.is_sm100)) and torch._dynamo.__file__\n"
        "whole = torch.compile(lambda x: plain(x) * marked(), backend='eager')\n"
        "assert whole(one) == 6 and plain(one) == 2\n"
        "from torchvision.ops import roi_align\n"
        "assert roi_align(torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]), 2).mean() == 1\n"
    )
    assert found["before"] == ["torch", "torchvision", "transformers"]


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
