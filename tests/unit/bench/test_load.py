import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.callers import Call, Target
from bench.errors import BenchError
from bench.load import Round, play_round, tokens_within


def call(began: float, ended: float, tokens: int = 100) -> Call:
    return Call(began, ended, tokens)


@pytest.mark.parametrize(
    ("began", "ended", "tokens"),
    [
        (1.0, 2.0, 100.0),  # inside
        (-1.0, 1.0, 50.0),  # half before
        (3.0, 7.0, 25.0),  # three quarters after
        (-3.0, 7.0, 40.0),  # around it
        (-2.0, -1.0, 0.0),  # before
        (5.0, 6.0, 0.0),  # after
    ],
)
def test_a_call_counts_by_its_part_inside_the_window(began: float, ended: float, tokens: float) -> None:
    assert tokens_within(0.0, 4.0, [call(began, ended)]) == pytest.approx(tokens)


@given(st.floats(0.5, 3.0), st.floats(0.0, 1.0), st.floats(1.0, 20.0))
def test_a_client_that_is_always_busy_has_its_own_rate_in_any_window(
    seconds: float, opened: float, width: float
) -> None:
    calls = [call(index * seconds, (index + 1) * seconds) for index in range(50)]

    assert tokens_within(opened, opened + width, calls) / width == pytest.approx(100 / seconds)


def test_a_round_knows_its_rate_and_which_calls_ended_in_it() -> None:
    played = Round(0.0, 4.0, (call(-1.0, 1.0), call(1.0, 3.0), call(3.0, 7.0)))

    assert played.rate == pytest.approx((50 + 100 + 25) / 4)
    assert [call.ended for call in played.finished] == [1.0, 3.0]


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(BenchError, match="a call failed: "):
        play_round(Target("grpc", "127.0.0.1:1"), 2, 4, 0)
