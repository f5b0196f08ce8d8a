"""The benchmark of segmenting with several text encoders: it runs, and both ways find the same."""

import pytest

from litetext.bench.segment import bench_segment


def test_one_pass_finds_what_separate_runs_find() -> None:
    figures = bench_segment(images=2, phrases=2, rounds=1, chunk=3, heavy_layers=1, heavy_width=64)
    for case in ("tiny", "heavy"):
        assert figures[f"{case}_largest_difference"] < 1.1e-5
        assert figures[f"{case}_one_pass_ms"] > figures[f"{case}_vision_ms"] > 0
        assert figures[f"{case}_speedup"] > 0
        assert figures[f"{case}_over_bound"] > 0


def test_sizes_that_measure_nothing() -> None:
    with pytest.raises(ValueError, match="rounds=0 must be at least 1"):
        bench_segment(rounds=0)
    with pytest.raises(ValueError, match="heavy_width=100 must be a multiple of 64"):
        bench_segment(heavy_width=100)
