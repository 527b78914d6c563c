"""How bounds in seconds are held where others use the machine too."""

import pytest

from tests.tries import best_within


@pytest.mark.parametrize(("took", "tried"), [([1.9], 1), ([2.0, 5.0, 1.0], 3)])
def test_the_best_of_three_counts(took: list[float], tried: int) -> None:
    """One try below the bound is enough, and after it there is no other."""
    tries = iter([*took, 0.0])
    best_within(2, lambda: next(tries))
    assert len(list(tries)) == len(took) + 1 - tried


def test_what_is_slow_each_time_fails() -> None:
    """Three tries at the bound or over it are a failure that names them."""
    tries = iter([2.0, 2.5, 3.0, 0.0])
    with pytest.raises(AssertionError, match=r"took 2\.0, 2\.5, 3\.0 s, and not less than 2 s"):
        best_within(2, lambda: next(tries))
