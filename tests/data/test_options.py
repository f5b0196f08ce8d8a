"""Limits of options: which value is refused, and in which words."""

import pytest

from litetext.data.options import check_least


def test_the_first_option_below_its_limit_is_named() -> None:
    check_least(1, data__limit=None, data__batch_size=1)
    check_least(0, seed=0)
    with pytest.raises(ValueError, match=r"^data\.batch_size is 0; it must be at least 1$"):
        check_least(1, data__limit=None, data__batch_size=0)
    with pytest.raises(ValueError, match=r"^seed is -1; it must be 0 or more$"):
        check_least(0, seed=-1)
    with pytest.raises(ValueError, match="nan; it must be 0 or more"):
        check_least(0, rate=float("nan"))
