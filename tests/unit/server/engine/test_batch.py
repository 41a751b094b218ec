import numpy as np
import pytest
from numpy.typing import NDArray

from server.engine.batch import Batch, Progress
from server.engine.philox import uniforms
from server.engine.request import EngineRequest, SamplingParams
from server.engine.runner import Chunk
from tests.unit.server.engine.fake_runner import FakeRunner


class Turning(Batch):
    """Settles whose turn it is whenever that is asked for."""

    def remaining(self) -> NDArray[np.int64]:
        self.turn()
        return super().remaining()

    def until_first_token(self) -> NDArray[np.int64]:
        self.turn()
        return super().until_first_token()

    def chunk(self, steps: int) -> Chunk:
        self.turn()
        return super().chunk(steps)

    def take(self, tokens: NDArray[np.int64]) -> Progress:
        self.turn()
        return super().take(tokens)


@pytest.fixture
def batch() -> Batch:
    return Turning(FakeRunner(slots=4, vocabulary=6, chunk_sizes=(1, 4)))


def test_parameters_reach_the_rows_of_their_slots(batch: Batch) -> None:
    batch.join(3, EngineRequest(seed=1, max_tokens=9, sampling=SamplingParams(0.5, 3, 0.25)))
    batch.join(1, EngineRequest(seed=2, max_tokens=9, end_token=5, may_end=False))
    chunk = batch.chunk(4)
    assert chunk.rows.tolist() == [1, 3]
    assert chunk.temperature.tolist() == [1.0, 0.5]
    assert chunk.top_k.tolist() == [0, 3]
    assert chunk.top_p.tolist() == [1.0, 0.25]
    assert chunk.allowed.tolist() == [[True] * 5 + [False], [True] * 6]
    seeds, first = np.array([2, 1], np.uint64), np.zeros(2, np.int64)
    assert chunk.uniforms.tolist() == uniforms(seeds, first, 4).tolist()


def test_a_slot_remembers_nothing_of_who_left_it(batch: Batch) -> None:
    batch.join(
        0,
        EngineRequest(
            seed=1,
            max_tokens=9,
            sampling=SamplingParams(0.5, 3, 0.25),
            forced=(1, 2),
            end_token=5,
            may_end=False,
        ),
    )
    batch.take(np.full((1, 1), 1))
    batch.leave(0)
    assert batch.taken(0) == 0
    batch.join(0, EngineRequest(seed=1, max_tokens=2))
    chunk = batch.chunk(4)
    assert chunk.temperature.tolist() == [1.0]
    assert chunk.top_k.tolist() == [0]
    assert chunk.top_p.tolist() == [1.0]
    assert chunk.allowed.all()
    assert (chunk.forced == -1).all()
    assert batch.take(np.full((1, 4), 5)).full == [0]
    assert batch.tokens(0).tolist() == [5, 5]


def test_what_says_nothing_of_steps_is_gathered_once(batch: Batch) -> None:
    batch.join(0, EngineRequest(seed=1, max_tokens=9))
    first = batch.chunk(1)
    batch.take(np.zeros((1, 1), np.int64))
    second = batch.chunk(4)
    assert first.allowed is second.allowed
    assert first.rows is second.rows
    assert not first.allowed.flags.writeable
    batch.join(1, EngineRequest(seed=2, max_tokens=9))
    assert batch.chunk(1).allowed is not first.allowed


def test_forced_tokens_come_first_and_may_stop_inside_a_chunk(batch: Batch) -> None:
    batch.join(0, EngineRequest(seed=1, max_tokens=20, forced=(1, 2, 3, 4, 5)))
    batch.join(2, EngineRequest(seed=1, max_tokens=20))
    assert batch.until_first_token().tolist() == [6, 1]
    assert batch.chunk(4).forced.tolist() == [[1, 2, 3, 4], [-1] * 4]
    assert batch.take(np.array([[1, 2, 3, 4], [0, 0, 0, 0]])).spoke == [2]
    assert batch.until_first_token().tolist() == [2]
    assert batch.chunk(4).forced.tolist() == [[5, -1, -1, -1], [-1] * 4]
    assert batch.take(np.array([[5, 0, 0, 0], [0, 0, 0, 0]])).spoke == [0]
    assert (batch.chunk(4).forced == -1).all()


def test_all_forced_speaks_with_its_last_token(batch: Batch) -> None:
    batch.join(0, EngineRequest(seed=1, max_tokens=5, forced=(1, 2, 3, 4, 5)))
    assert batch.until_first_token().tolist() == [5]
    progress = batch.take(np.array([[1, 2, 3, 4]]))
    assert (progress.spoke, progress.full) == ([], [])
    progress = batch.take(np.array([[5]]))
    assert (progress.spoke, progress.full) == ([0], [0])


def test_tokens_past_an_end_are_dropped(batch: Batch) -> None:
    batch.join(0, EngineRequest(seed=1, max_tokens=2, end_token=5))
    batch.join(1, EngineRequest(seed=1, max_tokens=9, end_token=5))
    batch.join(2, EngineRequest(seed=1, max_tokens=9))
    batch.join(3, EngineRequest(seed=1, max_tokens=2, end_token=5))
    progress = batch.take(np.array([[1, 2, 5, 0], [1, 5, 2, 5], [1, 5, 5, 5], [1, 5, 0, 0]]))
    assert progress.ended == [1, 3]  # a token may end the sequence and be its last one: then it has ended
    assert progress.full == [0]  # its end token came too late
    assert [batch.tokens(slot).tolist() for slot in range(4)] == [[1, 2], [1, 5], [1, 5, 5, 5], [1, 5]]
    assert batch.tokens(0).dtype == np.int32


def test_the_longest_request_finds_room_and_others_keep_their_tokens(batch: Batch) -> None:
    batch.join(0, EngineRequest(seed=1, max_tokens=9))
    batch.take(np.array([[1, 2, 3, 4]]))
    batch.join(1, EngineRequest(seed=1, max_tokens=5001))
    for _ in range(1251):
        progress = batch.take(np.full((2, 4), 3)) if batch.width == 2 else batch.take(np.full((1, 4), 3))
        for slot in progress.full:
            if slot == 0:
                assert batch.tokens(0).tolist() == [1, 2, 3, 4, 3, 3, 3, 3, 3]
                batch.leave(0)
                batch.chunk(4)
    assert batch.taken(1) == 5001
    assert progress.full == [1]


def test_a_runner_that_gives_the_wrong_shape_is_caught(batch: Batch) -> None:
    batch.join(0, EngineRequest(seed=1, max_tokens=9))
    with pytest.raises(AssertionError):
        batch.take(np.zeros((2, 4), np.int64))


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1, 1, 1), (4, 4), (1, 4, 1, 1, 1)])
def test_a_sequence_is_full_with_the_last_stop_token_it_may_have(batch: Batch, sizes: tuple[int, ...]) -> None:
    stream = np.array([[0, 3, 1, 3, 2, 3, 0, 3], [3, 0, 0, 5, 0, 0, 3, 3], [3, 0, 0, 0, 3, 0, 3, 0]])
    batch.join(0, EngineRequest(seed=1, max_tokens=20, stop_token=3, stop_count=3))
    batch.join(1, EngineRequest(seed=2, max_tokens=20, end_token=5, stop_token=3, stop_count=2))
    batch.join(2, EngineRequest(seed=3, max_tokens=5))
    kept: dict[int, list[int]] = {}
    at = 0
    for size in sizes:
        running = [slot for slot in range(3) if slot not in kept]
        if not running:
            break
        progress = batch.take(stream[running, at : at + size])
        at += size
        for slot in progress.full + progress.ended:
            assert (slot in progress.ended) == (slot == 1)
            kept[slot] = batch.tokens(slot).tolist()
            batch.leave(slot)
    assert kept == {0: [0, 3, 1, 3, 2, 3], 1: [3, 0, 0, 5], 2: [3, 0, 0, 0, 3]}


def test_the_stops_of_who_left_are_forgotten(batch: Batch) -> None:
    batch.join(0, EngineRequest(seed=1, max_tokens=9, stop_token=3, stop_count=1))
    assert batch.take(np.full((1, 1), 3)).full == [0]
    batch.leave(0)
    batch.join(0, EngineRequest(seed=1, max_tokens=9))
    assert batch.take(np.full((1, 4), 3)).full == []


def test_a_sequence_that_told_stop_tokens_fill_speaks_with_the_last_of_them(batch: Batch) -> None:
    batch.join(0, EngineRequest(seed=1, max_tokens=20, forced=(1, 3, 2, 3, 4), stop_token=3, stop_count=2))
    progress = batch.take(np.array([[1, 3, 2, 3]]))
    assert (progress.spoke, progress.full, progress.ended) == ([0], [0], [])
    assert batch.tokens(0).tolist() == [1, 3, 2, 3]


def test_what_a_primer_has_told_is_taken_already(batch: Batch) -> None:
    request = EngineRequest(seed=1, max_tokens=20, forced=(1, 3, 2, 3, 4, 0), stop_token=3, stop_count=3)
    batch.join(1, request, taken=np.array([1, 3, 2, 3, 4]))
    assert (batch.taken(1), batch.tokens(1).tolist()) == (5, [1, 3, 2, 3, 4])
    assert (batch.remaining().tolist(), batch.until_first_token().tolist()) == ([15], [2])
    chunk = batch.chunk(4)
    assert chunk.forced.tolist() == [[0, -1, -1, -1]]
    assert chunk.uniforms.tolist() == uniforms(np.array([1], np.uint64), np.array([5]), 4).tolist()
    progress = batch.take(np.array([[0, 5, 3, 1]]))
    assert (progress.spoke, progress.full) == ([1], [1])
    assert batch.tokens(1).tolist() == [1, 3, 2, 3, 4, 0, 5, 3]


def test_who_has_begun_goes_on_and_awaits_no_first_token(batch: Batch) -> None:
    request = EngineRequest(seed=1, max_tokens=20, end_token=5, stop_token=3, stop_count=2)
    drawn = uniforms(np.array([1], np.uint64), np.array([0]), 5)
    batch.join(1, request, taken=np.array([4]))
    assert not batch.awaited
    assert (batch.tokens(1).tolist(), batch.until_first_token().tolist()) == ([4], [])
    assert batch.chunk(4).uniforms.tolist() == drawn[:, 1:5].tolist()
    assert batch.take(np.array([[0, 3, 3, 5]])).full == [1]
    assert batch.tokens(1).tolist() == [4, 0, 3, 3]


def test_what_comes_past_the_last_stop_token_does_not_end_the_sequence(batch: Batch) -> None:
    batch.join(0, EngineRequest(seed=1, max_tokens=9, end_token=5, stop_token=3, stop_count=1))
    progress = batch.take(np.array([[0, 3, 5, 5]]))
    assert (progress.full, progress.ended, batch.tokens(0).tolist()) == ([0], [], [0, 3])


def test_in_a_crowd_first_tokens_come_first_and_forced_ones_wait_for_their_turn() -> None:
    batch = Turning(FakeRunner(slots=4, vocabulary=6, chunk_sizes=(1, 4), width=2))
    for slot in range(2):
        batch.join(slot, EngineRequest(seed=slot, max_tokens=9))
    assert batch.chunk(1).rows.tolist() == [0, 1]
    Batch.take(batch, np.zeros((2, 1), np.int64))
    batch.join(2, EngineRequest(seed=2, max_tokens=9, forced=(3, 4, 5)))
    batch.join(3, EngineRequest(seed=3, max_tokens=9))
    Batch.turn(batch)
    assert Batch.until_first_token(batch).tolist() == [4, 1]
    chunk = Batch.chunk(batch, 1)
    assert chunk.rows.tolist() == [2, 3]
    assert chunk.forced.tolist() == [[3], [-1]]
    assert Batch.take(batch, np.array([[3], [0]])).spoke == [3]
    Batch.turn(batch)
    chunk = Batch.chunk(batch, 4)
    assert chunk.rows.tolist() == [0, 2], "2 has no token of its own yet, and of the others 0 has sat out longest"
    assert chunk.forced.tolist() == [[-1] * 4, [4, 5, -1, -1]]
    Batch.take(batch, np.zeros((2, 4), np.int64))
    Batch.turn(batch)
    assert Batch.chunk(batch, 1).rows.tolist() == [1, 3]
