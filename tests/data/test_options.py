"""Limits of options: which value is refused, and in which words."""

import pytest

from litetext.data.options import check_minimum, check_share


def test_the_first_option_below_its_limit_is_named() -> None:
    check_minimum(1, data__limit=None, data__batch_size=1)
    check_minimum(0, seed=0)
    with pytest.raises(ValueError, match=r"^data\.batch_size is 0; it must be at least 1$"):
        check_minimum(1, data__limit=None, data__batch_size=0)
    with pytest.raises(ValueError, match=r"^seed is -1; it must be 0 or more$"):
        check_minimum(0, seed=-1)
    with pytest.raises(ValueError, match="nan; it must be 0 or more"):
        check_minimum(0, rate=float("nan"))


def test_a_share_is_below_one() -> None:
    check_share(model__ema=0.0, model__threshold=0.999)
    for wrong in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=rf"^model\.ema is {wrong}; choose a number from 0 to below 1$"):
            check_share(model__ema=wrong)
