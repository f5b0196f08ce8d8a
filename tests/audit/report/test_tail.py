"""What every context length costs: one pass over the histogram gives what counting anew for each length gives."""

from hypothesis import given
from hypothesis import strategies as st

from litetext.audit.report.figures import tail


@given(st.lists(st.integers(0, 9), min_size=3, max_size=60).filter(lambda counts: sum(counts[1:]) > 0))
def test_the_tail_counts_what_is_cut(histogram: list[int]) -> None:
    prompts, tokens = sum(histogram), sum(n * count for n, count in enumerate(histogram))
    lengths, lost, padding = tail(histogram)
    assert lengths == list(range(2, max(33, len(histogram))))
    for context, cut, empty in zip(lengths, lost, padding, strict=True):
        kept = sum(min(n, context) * count for n, count in enumerate(histogram))
        assert cut == 1 - kept / tokens
        assert empty == 1 - kept / (context * prompts)


def test_one_prompt_of_a_whole_book_takes_no_longer_than_a_corpus() -> None:
    lengths, lost, _ = tail([0] * 200_000 + [1])
    assert len(lengths) == 199_999
    assert lost[-1] == 0
