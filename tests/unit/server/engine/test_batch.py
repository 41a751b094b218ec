import numpy as np
import pytest
from numpy.typing import NDArray

from music.grammar import FORBIDDEN
from runtime.philox import uniforms
from runtime.runner import Chunk, Decoded
from runtime.sampling import SamplingParams
from server.engine.batch import Batch, Progress
from server.engine.request import EngineRequest
from tests.unit.server.engine.fake_runner import FakeRunner


class SelectingBatch(Batch):
    """Selects its rows in every call."""

    def remaining_tokens(self) -> NDArray[np.int64]:
        self.select_rows()
        return super().remaining_tokens()

    def steps_to_first_token(self) -> NDArray[np.int64]:
        self.select_rows()
        return super().steps_to_first_token()

    def chunk(self, steps: int) -> Chunk:
        self.select_rows()
        return super().chunk(steps)

    def append(self, decoded: Decoded) -> Progress:
        self.chunk(decoded.tokens.shape[1])
        return super().append(decoded)


def decoded(tokens: NDArray[np.int64]) -> Decoded:
    """A result with these tokens, and log-probabilities -0, -1, -2, ... in every row."""
    return Decoded(tokens, np.broadcast_to(-np.arange(tokens.shape[1], dtype=np.float32), tokens.shape))


@pytest.fixture
def batch() -> Batch:
    return SelectingBatch(FakeRunner(slots=4, vocabulary=6, chunk_sizes=(1, 4)))


def test_parameters_reach_the_rows_of_their_slots(batch: Batch) -> None:
    batch.add(3, EngineRequest(seed=1, max_tokens=9, sampling=SamplingParams(0.5, 3, 0.25)))
    batch.add(1, EngineRequest(seed=2, max_tokens=9, end_token=5, may_end=False))
    chunk = batch.chunk(4)
    assert chunk.rows.tolist() == [1, 3]
    assert chunk.temperature.tolist() == [1.0, 0.5]
    assert chunk.top_k.tolist() == [0, 3]
    assert chunk.top_p.tolist() == [1.0, 0.25]
    assert chunk.bias_index.shape == (2, 4)
    for step in range(4):
        assert chunk.bias[chunk.bias_index[0, step]].tolist() == [0] * 5 + [np.float32(FORBIDDEN)]
        assert chunk.bias[chunk.bias_index[1, step]].tolist() == [0] * 6
    seeds, first = np.array([2, 1], np.uint64), np.zeros(2, np.int64)
    assert chunk.uniforms.tolist() == uniforms(seeds, first, 4).tolist()


def test_a_removed_sequence_leaves_nothing_in_its_slot(batch: Batch) -> None:
    batch.add(
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
    batch.append(decoded(np.full((1, 1), 1)))
    batch.remove(0)
    assert batch.token_count(0) == 0
    batch.add(0, EngineRequest(seed=1, max_tokens=2))
    chunk = batch.chunk(4)
    assert chunk.temperature.tolist() == [1.0]
    assert chunk.top_k.tolist() == [0]
    assert chunk.top_p.tolist() == [1.0]
    assert not chunk.bias[chunk.bias_index].any()
    assert (chunk.forced == -1).all()
    assert batch.append(decoded(np.full((1, 4), 5))).length == [0]
    assert batch.tokens(0).tolist() == [5, 5]


def test_arrays_without_steps_are_gathered_once(batch: Batch) -> None:
    batch.add(0, EngineRequest(seed=1, max_tokens=9))
    first = batch.chunk(1)
    batch.append(decoded(np.zeros((1, 1), np.int64)))
    second = batch.chunk(4)
    assert first.bias is second.bias
    assert first.top_k is second.top_k
    assert first.rows is second.rows
    assert not first.bias.flags.writeable
    assert not first.top_k.flags.writeable
    batch.add(1, EngineRequest(seed=2, max_tokens=9))
    assert batch.chunk(1).bias is first.bias, "it has no bias of its own"
    assert batch.chunk(1).top_k is not first.top_k
    batch.add(2, EngineRequest(seed=2, max_tokens=9, end_token=5, may_end=False))
    assert batch.chunk(1).bias is not first.bias


def test_forced_tokens_come_first_and_may_stop_inside_a_chunk(batch: Batch) -> None:
    batch.add(0, EngineRequest(seed=1, max_tokens=20, forced=(1, 2, 3, 4, 5)))
    batch.add(2, EngineRequest(seed=1, max_tokens=20))
    assert batch.steps_to_first_token().tolist() == [6, 1]
    assert batch.chunk(4).forced.tolist() == [[1, 2, 3, 4], [-1] * 4]
    assert batch.append(decoded(np.array([[1, 2, 3, 4], [0, 0, 0, 0]]))).first_token == [2]
    assert batch.steps_to_first_token().tolist() == [2]
    assert batch.chunk(4).forced.tolist() == [[5, -1, -1, -1], [-1] * 4]
    assert batch.append(decoded(np.array([[5, 0, 0, 0], [0, 0, 0, 0]]))).first_token == [0]
    assert (batch.chunk(4).forced == -1).all()


def test_with_all_tokens_forced_the_last_one_counts_as_the_first_token(batch: Batch) -> None:
    batch.add(0, EngineRequest(seed=1, max_tokens=5, forced=(1, 2, 3, 4, 5)))
    assert batch.steps_to_first_token().tolist() == [5]
    progress = batch.append(decoded(np.array([[1, 2, 3, 4]])))
    assert (progress.first_token, progress.length) == ([], [])
    progress = batch.append(decoded(np.array([[5]])))
    assert (progress.first_token, progress.length) == ([0], [0])


def test_tokens_past_an_end_are_dropped(batch: Batch) -> None:
    batch.add(0, EngineRequest(seed=1, max_tokens=2, end_token=5))
    batch.add(1, EngineRequest(seed=1, max_tokens=9, end_token=5))
    batch.add(2, EngineRequest(seed=1, max_tokens=9))
    batch.add(3, EngineRequest(seed=1, max_tokens=2, end_token=5))
    progress = batch.append(decoded(np.array([[1, 2, 5, 0], [1, 5, 2, 5], [1, 5, 5, 5], [1, 5, 0, 0]])))
    assert progress.ended == [1, 3]  # slot 3: its end token is also its last token, and counts as an end
    assert progress.length == [0]  # its end token came after max_tokens
    assert [batch.tokens(slot).tolist() for slot in range(4)] == [[1, 2], [1, 5], [1, 5, 5, 5], [1, 5]]
    assert batch.tokens(0).dtype == np.int32


def test_a_longer_request_enlarges_the_token_array_and_keeps_other_tokens(batch: Batch) -> None:
    batch.add(0, EngineRequest(seed=1, max_tokens=9))
    batch.append(decoded(np.array([[1, 2, 3, 4]])))
    batch.add(1, EngineRequest(seed=1, max_tokens=5001))
    for _ in range(1251):
        progress = (
            batch.append(decoded(np.full((2, 4), 3))) if len(batch) == 2 else batch.append(decoded(np.full((1, 4), 3)))
        )
        for slot in progress.length:
            if slot == 0:
                assert batch.tokens(0).tolist() == [1, 2, 3, 4, 3, 3, 3, 3, 3]
                batch.remove(0)
                batch.chunk(4)
    assert batch.token_count(1) == 5001
    assert progress.length == [1]


def test_log_probabilities_are_kept_beside_the_tokens(batch: Batch) -> None:
    batch.add(0, EngineRequest(seed=1, max_tokens=1030))
    batch.add(2, EngineRequest(seed=1, max_tokens=6), np.array([1, 2]), np.array([-0.5, -0.25], np.float32))
    batch.append(decoded(np.ones((2, 4), np.int64)))
    assert batch.store.log_probabilities(0).tolist() == [0, -1, -2, -3]
    assert batch.store.log_probabilities(2).tolist() == [-0.5, -0.25, 0, -1, -2, -3]
    batch.remove(2)
    batch.add(2, EngineRequest(seed=1, max_tokens=5000), np.array([1, 2]))
    batch.append(decoded(np.ones((2, 1), np.int64)))
    assert batch.store.log_probabilities(0).tolist() == [0, -1, -2, -3, 0], "the arrays have grown"
    assert np.isnan(batch.store.log_probabilities(2)).tolist() == [True, True, False], (
        "of prefilled tokens none is known"
    )
    assert batch.store.log_probabilities(2).dtype == np.float32


def test_tokens_of_a_wrong_shape_are_refused(batch: Batch) -> None:
    batch.add(0, EngineRequest(seed=1, max_tokens=9))
    with pytest.raises(AssertionError):
        batch.append(decoded(np.zeros((2, 4), np.int64)))


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1, 1, 1), (4, 4), (1, 4, 1, 1, 1)])
def test_the_last_stop_token_completes_a_sequence(batch: Batch, sizes: tuple[int, ...]) -> None:
    stream = np.array([[0, 3, 1, 3, 2, 3, 0, 3], [3, 0, 0, 5, 0, 0, 3, 3], [3, 0, 0, 0, 3, 0, 3, 0]])
    batch.add(0, EngineRequest(seed=1, max_tokens=20, stop_token=3, stop_count=3))
    batch.add(1, EngineRequest(seed=2, max_tokens=20, end_token=5, stop_token=3, stop_count=2))
    batch.add(2, EngineRequest(seed=3, max_tokens=5))
    finished: dict[int, list[int]] = {}
    at = 0
    for size in sizes:
        running = [slot for slot in range(3) if slot not in finished]
        if not running:
            break
        progress = batch.append(decoded(stream[running, at : at + size]))
        at += size
        for slot in progress.length + progress.ended:
            assert (slot in progress.ended) == (slot == 1)
            finished[slot] = batch.tokens(slot).tolist()
            batch.remove(slot)
    assert finished == {0: [0, 3, 1, 3, 2, 3], 1: [3, 0, 0, 5], 2: [3, 0, 0, 0, 3]}


def test_the_stop_token_of_a_removed_sequence_has_no_effect(batch: Batch) -> None:
    batch.add(0, EngineRequest(seed=1, max_tokens=9, stop_token=3, stop_count=1))
    assert batch.append(decoded(np.full((1, 1), 3))).length == [0]
    batch.remove(0)
    batch.add(0, EngineRequest(seed=1, max_tokens=9))
    assert batch.append(decoded(np.full((1, 4), 3))).length == []


def test_forced_stop_tokens_may_complete_a_sequence_before_it_samples_one(batch: Batch) -> None:
    batch.add(0, EngineRequest(seed=1, max_tokens=20, forced=(1, 3, 2, 3, 4), stop_token=3, stop_count=2))
    progress = batch.append(decoded(np.array([[1, 3, 2, 3]])))
    assert (progress.first_token, progress.length, progress.ended) == ([0], [0], [])
    assert batch.tokens(0).tolist() == [1, 3, 2, 3]


def test_prefilled_tokens_are_counted(batch: Batch) -> None:
    request = EngineRequest(seed=1, max_tokens=20, forced=(1, 3, 2, 3, 4, 0), stop_token=3, stop_count=3)
    batch.add(1, request, tokens=np.array([1, 3, 2, 3, 4]))
    assert (batch.token_count(1), batch.tokens(1).tolist()) == (5, [1, 3, 2, 3, 4])
    assert (batch.remaining_tokens().tolist(), batch.steps_to_first_token().tolist()) == ([15], [2])
    chunk = batch.chunk(4)
    assert chunk.forced.tolist() == [[0, -1, -1, -1]]
    assert chunk.uniforms.tolist() == uniforms(np.array([1], np.uint64), np.array([5]), 4).tolist()
    progress = batch.append(decoded(np.array([[0, 5, 3, 1]])))
    assert (progress.first_token, progress.length) == ([1], [1])
    assert batch.tokens(1).tolist() == [1, 3, 2, 3, 4, 0, 5, 3]


def test_a_sequence_with_a_first_step_awaits_no_first_token(batch: Batch) -> None:
    request = EngineRequest(seed=1, max_tokens=20, end_token=5, stop_token=3, stop_count=2)
    drawn = uniforms(np.array([1], np.uint64), np.array([0]), 5)
    batch.add(1, request, tokens=np.array([4]))
    assert not batch.awaiting_first
    assert (batch.tokens(1).tolist(), batch.steps_to_first_token().tolist()) == ([4], [])
    assert batch.chunk(4).uniforms.tolist() == drawn[:, 1:5].tolist()
    assert batch.append(decoded(np.array([[0, 3, 3, 5]]))).length == [1]
    assert batch.tokens(1).tolist() == [4, 0, 3, 3]


def test_an_end_token_after_the_last_stop_token_has_no_effect(batch: Batch) -> None:
    batch.add(0, EngineRequest(seed=1, max_tokens=9, end_token=5, stop_token=3, stop_count=1))
    progress = batch.append(decoded(np.array([[0, 3, 5, 5]])))
    assert (progress.length, progress.ended, batch.tokens(0).tolist()) == ([0], [], [0, 3])


def test_sequences_that_await_their_first_token_run_first() -> None:
    batch = SelectingBatch(FakeRunner(slots=4, vocabulary=6, chunk_sizes=(1, 4), max_batch_size=2))
    for slot in range(2):
        batch.add(slot, EngineRequest(seed=slot, max_tokens=9))
    assert batch.chunk(1).rows.tolist() == [0, 1]
    Batch.append(batch, decoded(np.zeros((2, 1), np.int64)))
    batch.add(2, EngineRequest(seed=2, max_tokens=9, forced=(3, 4, 5)))
    batch.add(3, EngineRequest(seed=3, max_tokens=9))
    Batch.select_rows(batch)
    assert Batch.steps_to_first_token(batch).tolist() == [4, 1]
    chunk = Batch.chunk(batch, 1)
    assert chunk.rows.tolist() == [2, 3]
    assert chunk.forced.tolist() == [[3], [-1]]
    assert Batch.append(batch, decoded(np.array([[3], [0]]))).first_token == [3]
    Batch.select_rows(batch)
    chunk = Batch.chunk(batch, 4)
    assert chunk.rows.tolist() == [0, 2], "slot 2 awaits its first token, and of the others slot 0 has waited longest"
    assert chunk.forced.tolist() == [[-1] * 4, [4, 5, -1, -1]]
    Batch.append(batch, decoded(np.zeros((2, 4), np.int64)))
    Batch.select_rows(batch)
    assert Batch.chunk(batch, 1).rows.tolist() == [1, 3]
