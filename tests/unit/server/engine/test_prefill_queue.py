import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.prefill_queue import MIN_PREFILL_TOKENS, SLICE_TOKENS, PrefillQueue, prefill_tokens
from server.engine.request import EngineRequest
from tests.unit.server.engine.fake_runner import FakeRunner


def request(count: int, max_tokens: int = 1000, stop_token: int | None = None, stop_count: int = 0) -> EngineRequest:
    forced = tuple(index % 5 for index in range(count))
    return EngineRequest(seed=1, max_tokens=max_tokens, forced=forced, stop_token=stop_token, stop_count=stop_count)


def test_few_forced_tokens_are_not_prefilled() -> None:
    assert len(prefill_tokens(request(0))) == 0
    assert len(prefill_tokens(request(MIN_PREFILL_TOKENS - 1))) == 0
    assert prefill_tokens(request(MIN_PREFILL_TOKENS)).tolist() == [index % 5 for index in range(MIN_PREFILL_TOKENS)]


def test_the_token_that_completes_the_sequence_is_not_prefilled() -> None:
    assert len(prefill_tokens(request(200, max_tokens=200))) == 199
    assert len(prefill_tokens(request(200, max_tokens=201))) == 200
    assert len(prefill_tokens(request(200, stop_token=4, stop_count=30))) == 149  # the 30th 4 is the 150th token
    assert len(prefill_tokens(request(200, stop_token=4, stop_count=41))) == 200
    assert len(prefill_tokens(request(200, stop_token=4, stop_count=2))) == 0


@given(lengths=st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_prefills_take_turns_and_their_slices_do_not_depend_on_others(lengths: list[int]) -> None:
    runner = FakeRunner(slots=len(lengths), vocabulary=5)
    prefills = PrefillQueue(runner)
    for slot, length in enumerate(lengths):
        runner.reset(slot, 0)
        prefills.add(slot, np.arange(length) % 5)
    complete = {}
    while len(prefills):
        done = {slot: prefills.token_count(slot) for slot in range(len(lengths)) if slot not in complete}
        part = prefills.run_slice()
        assert done[part.slot] == min(done.values()), "another prefill has waited longer"
        if part.complete:
            complete[part.slot] = part.total
    assert complete == dict(enumerate(lengths))
    for slot, length in enumerate(lengths):
        whole, rest = divmod(length, SLICE_TOKENS)
        assert [tokens for reader, tokens in runner.slices if reader == slot] == [SLICE_TOKENS] * whole + [rest] * (
            rest > 0
        )


def test_a_removed_prefill_leaves_nothing() -> None:
    runner = FakeRunner(slots=2, vocabulary=5)
    prefills = PrefillQueue(runner)
    for slot in range(2):
        runner.reset(slot, 0)
        prefills.add(slot, np.zeros(100, np.int64))
    prefills.run_slice()
    assert prefills.token_count(0) == SLICE_TOKENS
    prefills.remove(0)
    with pytest.raises(KeyError):
        prefills.remove(0)
    assert (prefills.token_count(0), len(prefills)) == (0, 1)
    assert prefills.run_slice().slot == 1
    prefills.clear()
    assert len(prefills) == 0


def test_a_runner_that_consumes_more_than_a_slice_is_caught() -> None:
    runner = FakeRunner(slots=1, vocabulary=5)
    runner.prefill = lambda slot, tokens, slice_tokens: iter([slice_tokens + 1])  # type: ignore[method-assign]
    prefills = PrefillQueue(runner)
    prefills.add(0, np.zeros(100, np.int64))
    with pytest.raises(AssertionError, match="one prefill run consumed"):
        prefills.run_slice()
