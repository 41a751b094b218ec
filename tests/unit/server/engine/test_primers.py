import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.primers import SHORTEST_TOKENS, SLICE_TOKENS, Primers, primer_of
from server.engine.request import EngineRequest
from tests.unit.server.engine.fake_runner import FakeRunner


def told(count: int, max_tokens: int = 1000, stop_token: int | None = None, stop_count: int = 0) -> EngineRequest:
    forced = tuple(index % 5 for index in range(count))
    return EngineRequest(seed=1, max_tokens=max_tokens, forced=forced, stop_token=stop_token, stop_count=stop_count)


def test_few_told_tokens_are_no_primer() -> None:
    assert len(primer_of(told(0))) == 0
    assert len(primer_of(told(SHORTEST_TOKENS - 1))) == 0
    assert primer_of(told(SHORTEST_TOKENS)).tolist() == [index % 5 for index in range(SHORTEST_TOKENS)]


def test_the_token_that_makes_the_sequence_full_is_left_to_decode() -> None:
    assert len(primer_of(told(200, max_tokens=200))) == 199
    assert len(primer_of(told(200, max_tokens=201))) == 200
    assert len(primer_of(told(200, stop_token=4, stop_count=30))) == 149  # the 30th 4 is the 150th token
    assert len(primer_of(told(200, stop_token=4, stop_count=41))) == 200
    assert len(primer_of(told(200, stop_token=4, stop_count=2))) == 0


@given(lengths=st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_primers_take_turns_and_each_is_divided_as_if_it_were_alone(lengths: list[int]) -> None:
    runner = FakeRunner(slots=len(lengths), vocabulary=5)
    primers = Primers(runner)
    for slot, length in enumerate(lengths):
        runner.reset(slot, 0)
        primers.add(slot, np.arange(length) % 5)
    through = {}
    while primers.count:
        behind = {slot: primers.read(slot) for slot in range(len(lengths)) if slot not in through}
        part = primers.read_slice()
        assert behind[part.slot] == min(behind.values()), "somebody else has waited longer"
        if part.complete:
            through[part.slot] = part.complete
    assert through == dict(enumerate(lengths))
    for slot, length in enumerate(lengths):
        whole, rest = divmod(length, SLICE_TOKENS)
        assert [tokens for reader, tokens in runner.slices if reader == slot] == [SLICE_TOKENS] * whole + [rest] * (
            rest > 0
        )


def test_a_primer_that_is_dropped_leaves_nothing() -> None:
    runner = FakeRunner(slots=2, vocabulary=5)
    primers = Primers(runner)
    for slot in range(2):
        runner.reset(slot, 0)
        primers.add(slot, np.zeros(100, np.int64))
    primers.read_slice()
    assert primers.read(0) == SLICE_TOKENS
    assert primers.remove(0)
    assert not primers.remove(0)
    assert (primers.read(0), primers.count) == (0, 1)
    assert primers.read_slice().slot == 1
    primers.clear()
    assert primers.count == 0


def test_a_runner_that_reads_more_than_a_slice_is_caught() -> None:
    runner = FakeRunner(slots=1, vocabulary=5)
    runner.prefill = lambda slot, tokens, slice_tokens: iter([slice_tokens + 1])  # type: ignore[method-assign]
    primers = Primers(runner)
    primers.add(0, np.zeros(100, np.int64))
    with pytest.raises(AssertionError, match="at once"):
        primers.read_slice()
