"""What tracking costs in memory, measured in processes of their own."""

from collections.abc import Callable

import pytest

from tests.fixtures.runs import Answer


@pytest.mark.usefixtures("copied")
def test_each_setting_has_its_figures(litetext: Callable[..., Answer]) -> None:
    answer = litetext("bench", "video", "--frames", "[4]", "--phrases", "1", "3", "--chunk", "2")
    assert answer.code == 0, answer.err
    told = dict(line.split(maxsplit=1) for line in answer.out.splitlines())
    for asked in (1, 3):
        assert float(told[f"frames_4_phrases_{asked}_mb"]) >= 0
        assert float(told[f"frames_4_phrases_{asked}_seconds"]) > 0
    assert told["chunk"] == "2"
