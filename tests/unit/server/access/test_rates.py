import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access import rates
from server.access.rates import RateLimit


def test_a_minute_can_be_used_at_once_and_comes_back_steadily() -> None:
    limit = RateLimit()
    for _ in range(60):
        assert limit.seconds_to_wait("a", 60, 1, now=0.0) == 0
        limit.use("a", 60, 1, now=0.0)
    assert limit.seconds_to_wait("a", 60, 1, now=0.0) == pytest.approx(1.0)
    assert limit.seconds_to_wait("a", 60, 5, now=2.0) == pytest.approx(3.0)
    assert limit.seconds_to_wait("a", 60, 1, now=1.0) == 0
    assert limit.seconds_to_wait("b", 60, 60, now=0.0) == 0


def test_more_than_a_minute_allows_may_be_used_by_a_caller_that_used_nothing() -> None:
    limit = RateLimit()
    assert limit.seconds_to_wait("a", 100, 1000, now=0.0) == 0
    limit.use("a", 100, 1000, now=0.0)
    assert limit.seconds_to_wait("a", 100, 1, now=0.0) == pytest.approx(0.6 * 901)
    assert limit.seconds_to_wait("a", 100, 1, now=600.0) == 0


def test_what_was_counted_too_much_is_given_back() -> None:
    limit = RateLimit()
    limit.use("a", 100, 100, now=0.0)
    limit.use("a", 100, -60, now=0.0)
    assert limit.seconds_to_wait("a", 100, 60, now=0.0) == 0
    limit.use("a", 100, -99, now=0.0)
    assert limit.seconds_to_wait("a", 100, 101, now=0.0) == 0, "it never has more than a minute's amount"


def test_callers_whose_minute_is_over_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_MAX_KEPT", 10)
    limit = RateLimit()
    for number in range(100):
        limit.use(str(number), 60, 1, now=float(number))
    assert len(limit._uses) <= 12
    assert limit.seconds_to_wait("99", 60, 60, now=99.0) > 0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 30)), max_size=60), st.integers(1, 100))
def test_no_minute_allows_more_than_two_limits(moves: list[tuple[float, int]], per_minute: int) -> None:
    """A bucket that is full at the start of a minute is filled once more during it."""
    limit, now, used = RateLimit(), 0.0, 0.0
    for pause, amount in moves:
        now += pause
        wanted = min(amount, per_minute)
        if limit.seconds_to_wait("a", per_minute, wanted, now) == 0:
            limit.use("a", per_minute, wanted, now)
            used += wanted
        assert used <= per_minute * (1 + now / 60) + 1e-6
