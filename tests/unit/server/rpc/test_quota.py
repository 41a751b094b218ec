"""The limits of what one caller has in flight, and of its tokens in a minute."""

from contextlib import ExitStack
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access.callers import Caller
from server.engine.completion import Completion, RequestHandle
from server.engine.engine import Engine
from server.errors import InFlightLimitError
from server.rpc.quota import CallerQuota


class Estimates:
    """An engine that knows when every piece finishes."""

    def __init__(self) -> None:
        self.seconds: dict[RequestHandle, float] = {}
        self.asked = 0

    def handle(self, seconds: float) -> RequestHandle:
        handle = RequestHandle(Completion)  # type: ignore[arg-type]  # only who it is matters
        self.seconds[handle] = seconds
        return handle

    def seconds_left(self, handle: RequestHandle) -> float:
        self.asked += 1
        return self.seconds[handle]


@pytest.fixture
def estimates() -> Estimates:
    return Estimates()


@pytest.fixture
def engine(estimates: Estimates) -> Engine:
    return cast(Engine, estimates)


A, B = Caller.of_connection("a"), Caller.of_connection("b")
ENGINE = cast(Engine, Estimates())


def test_each_caller_has_its_own_limits(engine: Engine) -> None:
    quota = CallerQuota(max_pieces=2, max_tokens=100)
    with quota.hold(A, 50, engine), quota.hold(A, 50, engine), quota.hold(B, 100, engine):
        assert quota.pieces == 3
        with pytest.raises(InFlightLimitError, match=r"has 2 pieces in flight, and 1 more would exceed .* 2 pieces"):
            quota.hold(A, 0, engine).__enter__()
        with pytest.raises(
            InFlightLimitError, match=r"has 100 tokens in flight, and 1 more would exceed .* 100 tokens"
        ):
            quota.hold(B, 1, engine).__enter__()
        assert quota.pieces == 3
    with quota.hold(A, 100, engine):
        pass
    assert quota.pieces == 0


def test_the_only_piece_may_have_any_length(engine: Engine) -> None:
    quota = CallerQuota(max_pieces=2, max_tokens=100)
    with quota.hold(A, 10**6, engine), pytest.raises(InFlightLimitError, match="tokens"):
        quota.hold(A, 1, engine).__enter__()
    with quota.hold(A, 1, engine), pytest.raises(InFlightLimitError, match="tokens"):
        quota.hold(A, 10**6, engine).__enter__()


def test_an_error_releases_the_piece(engine: Engine) -> None:
    quota = CallerQuota(max_pieces=1, max_tokens=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), quota.hold(A, 1, engine):
            raise ZeroDivisionError
    assert quota.pieces == 0


@pytest.mark.parametrize(
    ("tokens", "seconds"),
    [
        (1, 20.0),  # one of the three must finish: the first does so in 20 s
        (40, 20.0),
        (41, 30.0),
        (100, 50.0),
        (10**6, 50.0),  # alone, it may come
    ],
)
def test_a_refused_call_gets_the_time_until_enough_has_finished(
    estimates: Estimates, engine: Engine, tokens: int, seconds: float
) -> None:
    quota = CallerQuota(max_pieces=3, max_tokens=100)
    with ExitStack() as stack:
        for held, left in ((30, 50.0), (40, 20.0), (30, 30.0)):
            stack.enter_context(quota.hold(A, held, engine)).handle = estimates.handle(left)
        with pytest.raises(InFlightLimitError) as caught:
            quota.hold(A, tokens, engine).__enter__()
        assert caught.value.retry_after_seconds == pytest.approx(seconds)
        for _ in range(100):
            with pytest.raises(InFlightLimitError):
                quota.hold(A, tokens, engine).__enter__()
    assert estimates.asked == 3, "in a flood of refusals the estimate is shared"


@given(
    moves=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60), st.booleans(), st.integers(0, 9)), max_size=60)
)
def test_no_caller_exceeds_its_limits_and_nothing_leaks(moves: list[tuple[str, int, bool, int]]) -> None:
    quota = CallerQuota(max_pieces=3, max_tokens=100)
    held: dict[str, list[tuple[int, ExitStack]]] = {peer: [] for peer in "abc"}
    for peer, tokens, comes, index in moves:
        pieces = held[peer]
        if comes:
            stack = ExitStack()
            fits = not pieces or (len(pieces) < 3 and sum(count for count, _ in pieces) + tokens <= 100)
            try:
                stack.enter_context(quota.hold(Caller.of_connection(peer), tokens, ENGINE))
            except InFlightLimitError:
                assert not fits
            else:
                assert fits
                pieces.append((tokens, stack))
        elif pieces:
            pieces.pop(index % len(pieces))[1].close()
        assert quota.pieces == sum(map(len, held.values()))
    for pieces in held.values():
        for _, stack in pieces:
            stack.close()
    assert quota.pieces == 0
