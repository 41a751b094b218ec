"""The life of sequences that run to their end."""

import gc
import weakref

import numpy as np
import pytest

from music.grammar import FORBIDDEN
from runtime.runner import Chunk
from runtime.sampling import SamplingParams
from server.engine.completion import Completion, FinishReason
from server.engine.engine import Engine
from server.engine.errors import EngineRequestError
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_runner import FakeRunner, RecordingObserver, eventually


def complete(engine: Engine, request: EngineRequest) -> Completion:
    return engine.submit(request).future.result(10)


def test_a_completion_has_tokens_and_durations(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    engine.start()
    completion = complete(engine, EngineRequest(seed=7, max_tokens=11, position_index=5))
    assert len(completion.tokens) == 11
    assert completion.finish_reason is FinishReason.LENGTH
    assert 0 <= completion.queue_seconds <= completion.first_token_seconds <= completion.total_seconds < 10
    assert runner.resets == [(0, 5)]
    assert (engine.waiting, engine.running) == (0, 0)
    assert observer.outcomes == {Outcome.LENGTH: 1}
    assert (observer.tokens, observer.in_flight, observer.wrong) == (11, 0, [])
    assert observer.chunks == runner.shapes


def test_the_same_seed_gives_the_same_tokens_and_another_seed_other_tokens(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    engine.start()
    pieces = [complete(engine, EngineRequest(seed=seed, max_tokens=50)).tokens.tolist() for seed in (1, 1, 2)]
    assert pieces[0] == pieces[1] != pieces[2]


def test_the_upper_32_bits_of_a_seed_count(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    engine.start()
    one, other = (complete(engine, EngineRequest(seed=seed, max_tokens=50)).tokens.tolist() for seed in (1, 1 + 2**63))
    assert one != other


def test_only_the_engines_thread_touches_the_runner(make_engine: MakeEngine) -> None:
    runner = FakeRunner()
    engine = make_engine(runner)
    engine.start()
    for seed in range(3):
        complete(engine, EngineRequest(seed=seed, max_tokens=9))
    assert len(runner.threads) == 1


def test_the_chunks_of_one_sequence_grow_and_shrink(make_engine: MakeEngine) -> None:
    runner = FakeRunner(chunk_sizes=(1, 4, 8))
    engine = make_engine(runner)
    engine.start()
    complete(engine, EngineRequest(seed=1, max_tokens=30))
    assert [steps for _, steps in runner.shapes] == [1, 8, 8, 8, 4, 1]


def test_a_short_primer_is_decoded_in_long_chunks(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(chunk_sizes=(1, 8)), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    engine.start()
    completion = complete(engine, EngineRequest(seed=1, max_tokens=30, forced=tuple(range(12)) + (3,) * 4))
    assert [steps for _, steps in runner.shapes] == [8, 8, 1, 8, 1, 1, 1, 1, 1]
    assert completion.tokens[:16].tolist() == [*range(12), 3, 3, 3, 3]
    assert len(completion.tokens) == 30
    assert len(observer.first_tokens) == 1
    assert completion.first_token_seconds == observer.first_tokens[0]


def test_forcing_the_sampled_tokens_changes_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    engine.start()
    free = complete(engine, EngineRequest(seed=9, max_tokens=20)).tokens.tolist()
    forced = complete(engine, EngineRequest(seed=9, max_tokens=20, forced=tuple(free[:7]))).tokens.tolist()
    assert forced == free
    whole = complete(engine, EngineRequest(seed=9, max_tokens=20, forced=tuple(free))).tokens.tolist()
    assert whole == free


def test_an_end_token_ends_a_sequence(make_engine: MakeEngine) -> None:
    observer = RecordingObserver()
    engine = make_engine(FakeRunner(vocabulary=4, chunk_sizes=(1, 8)), observer=observer)
    engine.start()
    for seed in range(8):
        free = complete(engine, EngineRequest(seed=seed, max_tokens=60)).tokens.tolist()
        end = free[20]
        completion = complete(engine, EngineRequest(seed=seed, max_tokens=60, end_token=end))
        assert completion.finish_reason is FinishReason.END
        assert completion.tokens.tolist() == free[: free.index(end) + 1]
    assert observer.outcomes == {Outcome.LENGTH: 8, Outcome.END: 8}


def test_without_may_end_no_end_token_is_sampled(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(vocabulary=3))
    engine.start()
    completion = complete(engine, EngineRequest(seed=1, max_tokens=100, end_token=2, may_end=False))
    assert completion.finish_reason is FinishReason.LENGTH
    assert len(completion.tokens) == 100
    assert set(completion.tokens.tolist()) == {0, 1}


def test_an_end_token_as_the_last_token_is_an_end(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    engine.start()
    free = complete(engine, EngineRequest(seed=3, max_tokens=1)).tokens.tolist()
    completion = complete(engine, EngineRequest(seed=3, max_tokens=1, end_token=free[0]))
    assert completion.finish_reason is FinishReason.END


def test_each_row_has_its_own_parameters(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=3)
    engine = make_engine(runner)
    handles = [
        engine.submit(
            EngineRequest(
                seed=slot,
                max_tokens=20,
                position_index=slot + 7,
                sampling=SamplingParams(temperature=slot + 0.5, top_k=slot, top_p=(slot + 1) / 4),
                end_token=slot,
                may_end=False,
            )
        )
        for slot in range(3)
    ]
    engine.start()
    for handle in handles:
        handle.future.result(10)
    assert runner.resets == [(0, 7), (1, 8), (2, 9)]
    for chunk in runner.chunks:
        for index, slot in enumerate(chunk.rows.tolist()):
            assert chunk.temperature[index] == slot + 0.5
            assert chunk.top_k[index] == slot
            assert chunk.top_p[index] == (slot + 1) / 4
            assert np.flatnonzero(chunk.bias[chunk.bias_index[index, 0]] == np.float32(FORBIDDEN)).tolist() == [slot]


def test_sequences_join_and_leave_while_others_run(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=2, chunk_sizes=(1,))
    engine = make_engine(runner)
    handles = [engine.submit(EngineRequest(seed=1, max_tokens=count)) for count in (2, 6, 3, 2)]
    engine.start()
    for handle in handles:
        handle.future.result(10)
    # Slot 0 runs the first for 2 steps, the third for 3 and the fourth for 2; slot 1 the second for 6.
    assert [chunk.rows.tolist() for chunk in runner.chunks] == [[0, 1]] * 6 + [[0]]
    assert [slot for slot, _ in runner.resets] == [0, 1, 0, 0]


def test_a_new_sequence_joins_between_two_chunks(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=2, chunk_sizes=(1, 8))
    engine = make_engine(runner)
    late: list[int] = []

    def arrive(chunk: Chunk) -> None:
        if len(runner.chunks) == 3:
            handle = engine.submit(EngineRequest(seed=2, max_tokens=1))
            handle.future.add_done_callback(lambda future: late.append(len(runner.chunks)))

    runner.before_decode = arrive
    engine.start()
    complete(engine, EngineRequest(seed=1, max_tokens=80))
    assert late == [4]
    assert runner.shapes[3] == (2, 1)


@pytest.mark.parametrize("wrong", [{"forced": (16,)}, {"forced": (-1,)}, {"end_token": 16}])
def test_a_token_outside_the_vocabulary_is_refused(make_engine: MakeEngine, wrong: dict[str, int]) -> None:
    observer = RecordingObserver()
    engine = make_engine(FakeRunner(vocabulary=16), observer=observer)
    with pytest.raises(EngineRequestError, match="0 to 15"):
        engine.submit(EngineRequest(seed=1, max_tokens=4, **wrong))  # type: ignore[arg-type]
    assert observer.submissions == 0


def test_a_finished_request_leaves_nothing_in_memory(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner())
    engine.start()
    gc.disable()  # reference counts alone must let it go
    try:
        handle = engine.submit(EngineRequest(seed=1, max_tokens=5))
        handle.future.result(10)
        trace = weakref.ref(handle.future)
        del handle
        eventually(lambda: trace() is None)
    finally:
        gc.enable()


def test_the_engine_reports_its_provider(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=3))
    assert (engine.name, engine.slots, engine.provider) == ("fake", 3, "FakeExecutionProvider")
