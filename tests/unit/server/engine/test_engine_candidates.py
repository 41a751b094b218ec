"""Requests with several rows: slots, the primer, cancellation, estimates."""

from dataclasses import replace

import numpy as np
import pytest

from runtime.philox import derive_seed
from server.engine.completion import RequestHandle
from server.engine.errors import ConstraintError, EngineStoppedError, QueueFullError
from server.engine.observer import Outcome
from server.engine.request import EngineRequest
from tests.unit.server.engine.conftest import MakeEngine
from tests.unit.server.engine.fake_guide import FakeGuide
from tests.unit.server.engine.fake_runner import FakeRunner, Gate, RecordingObserver, eventually

VOCABULARY = 8
SHORT = EngineRequest(seed=2, max_tokens=3)


def test_a_candidate_is_what_its_seed_gives_alone(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=5))
    engine.start()
    request = EngineRequest(seed=11, max_tokens=30, candidates=4)
    candidates = engine.submit(request).future.result(10).candidates
    assert [each.seed for each in candidates] == [derive_seed(11, index) for index in range(4)]
    assert len({tuple(each.tokens.tolist()) for each in candidates}) == 4
    for each in candidates:
        alone = engine.submit(replace(request, seed=each.seed, candidates=1)).future.result(10)
        assert alone.tokens.tolist() == each.tokens.tolist()


def test_the_primer_of_a_group_is_prefilled_once(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=3, vocabulary=VOCABULARY), RecordingObserver()
    engine = make_engine(runner, observer=observer)
    engine.start()
    primer = tuple(index % 5 for index in range(70))
    request = EngineRequest(seed=1, max_tokens=80, forced=primer, candidates=3, particles=True)
    completion = engine.submit(request).future.result(10)
    assert [tokens for _, tokens in runner.slices] == [32, 32, 6]
    assert len(completion.candidates) == 3
    assert all(each.tokens[:70].tolist() == list(primer) for each in completion.candidates)
    assert (observer.starts, len(observer.first_tokens), observer.submissions) == (1, 1, 1)
    assert observer.tokens == 3 * 80


def test_an_independent_candidate_without_a_token_is_left_out(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=8, vocabulary=VOCABULARY))
    engine.start()
    guide = FakeGuide(VOCABULARY, period=4, unlucky=3)
    request = EngineRequest(seed=1, max_tokens=12, guide=guide, candidates=8)
    candidates = engine.submit(request).future.result(10).candidates
    indices = [each.index for each in candidates]
    assert indices == sorted(indices)
    assert 0 < len(indices) < 8
    assert all(len(each.tokens) == 12 for each in candidates)
    assert engine.running == 0


def test_a_request_without_any_token_left_fails_alone(make_engine: MakeEngine) -> None:
    observer = RecordingObserver()
    engine = make_engine(FakeRunner(slots=8, vocabulary=VOCABULARY), observer=observer)
    hopeless = FakeGuide(VOCABULARY, period=4, unlucky=1)
    handles = [
        engine.submit(EngineRequest(seed=1, max_tokens=40, guide=hopeless, candidates=2, particles=particles))
        for particles in (False, True)
    ]
    fine = engine.submit(SHORT)
    engine.start()
    for handle in handles:
        with pytest.raises(ConstraintError, match="no token is left") as caught:
            handle.future.result(10)
        assert caught.value.error.field == "constraints"
    assert len(fine.future.result(10).tokens) == 3
    assert observer.outcomes == {Outcome.CONSTRAINTS: 2, Outcome.LENGTH: 1}
    assert engine.running == 0


def test_the_slot_of_a_finished_candidate_is_free_before_the_others_finish(make_engine: MakeEngine) -> None:
    runner = FakeRunner(slots=2, vocabulary=VOCABULARY, chunk_sizes=(1,))
    engine = make_engine(runner)
    request = EngineRequest(seed=3, max_tokens=400, candidates=2, end_token=7)
    handle, waits = engine.submit(request), engine.submit(replace(SHORT, seed=5))
    engine.start()
    lengths = [len(each.tokens) for each in handle.future.result(10).candidates]
    assert lengths[0] != lengths[1]
    assert len(waits.future.result(10).tokens) == 3
    resets = [slot for slot, _ in runner.resets]
    assert resets == [0, 1, lengths.index(min(lengths))]


def test_a_waiting_group_that_is_cancelled_lets_the_next_one_in(make_engine: MakeEngine) -> None:
    for first_steps in (False, True):
        runner = FakeRunner(slots=2, first_steps=first_steps)
        gate = Gate(runner)
        engine = make_engine(runner)
        running = engine.submit(EngineRequest(seed=1, max_tokens=100_000))
        engine.start()
        gate.wait_until_reached()
        group, single = engine.submit(replace(SHORT, candidates=2)), engine.submit(SHORT)
        assert (engine.running, engine.waiting) == (1, 3)
        group.cancel()
        gate.open()
        assert len(single.future.result(10).tokens) == 3
        running.cancel()


def test_a_group_waits_in_a_queue_that_counts_rows(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=2), queue_limit=3)
    engine.submit(replace(SHORT, candidates=2))
    engine.submit(replace(SHORT, candidates=2))
    with pytest.raises(QueueFullError):
        engine.submit(replace(SHORT, candidates=2))
    engine.submit(SHORT)
    assert engine.waiting == 5


def test_a_stopped_engine_fails_whole_groups(make_engine: MakeEngine) -> None:
    runner, observer = FakeRunner(slots=3), RecordingObserver()
    gate = Gate(runner)
    engine = make_engine(runner, observer=observer)
    handles = [engine.submit(EngineRequest(seed=1, max_tokens=99, candidates=3)) for _ in range(2)]
    engine.start()
    gate.wait_until_reached()
    gate.open()
    engine.stop()
    for handle in handles:
        with pytest.raises(EngineStoppedError):
            handle.future.result(10)
    assert observer.outcomes == {Outcome.FAILED: 2}


def test_a_failed_copy_of_states_fails_the_running_sequences(make_engine: MakeEngine) -> None:
    class Broken(FakeRunner):
        def copy_states(self, *arguments: object) -> None:
            raise RuntimeError("out of memory")

    observer = RecordingObserver()
    engine = make_engine(Broken(slots=6, vocabulary=VOCABULARY), observer=observer)
    guide = FakeGuide(VOCABULARY, period=2)
    handle = engine.submit(EngineRequest(seed=1, max_tokens=200, guide=guide, candidates=5, particles=True))
    engine.start()
    with pytest.raises(Exception, match="fake failed while it ran"):
        handle.future.result(10)
    assert engine.running == 0
    assert len(engine.submit(SHORT).future.result(10).tokens) == 3


def test_random_cancels_leak_no_slot(make_engine: MakeEngine) -> None:
    draw = np.random.default_rng(1)
    observer = RecordingObserver()
    runner = FakeRunner(slots=6, vocabulary=VOCABULARY, max_batch_size=4, first_steps=True)
    engine = make_engine(runner, queue_limit=40, observer=observer)
    engine.start()
    guide = FakeGuide(VOCABULARY, period=3, unlucky=7)
    waiting: list[RequestHandle] = []
    for number in range(600):
        request = EngineRequest(
            seed=number,
            max_tokens=int(draw.integers(1, 31)),
            candidates=int(draw.integers(1, 7)),
            particles=bool(draw.random() < 0.5),
            guide=guide if draw.random() < 0.5 else None,
        )
        try:
            waiting.append(engine.submit(request))
        except QueueFullError:
            waiting.pop(int(draw.integers(len(waiting)))).cancel()
        if draw.random() < 0.6:
            waiting[int(draw.integers(len(waiting)))].cancel()
    eventually(lambda: observer.in_flight == 0)
    assert (engine.running, engine.waiting) == (0, 0)
    assert engine._scheduler._slots.free_count == 6
    assert engine._loop._rows._sequences == {}
    assert len(engine._loop._batch._biases) == 1
    assert observer.outcomes[Outcome.FAILED] == 0
    assert observer.outcomes[Outcome.CANCELLED] > 50
    assert observer.wrong == []


def test_expected_tokens_count_all_candidates(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=4))
    assert engine.expected_tokens(EngineRequest(seed=1, max_tokens=30, candidates=4)) == 120


def test_the_seconds_needed_are_those_of_the_queue_and_of_the_run(make_engine: MakeEngine) -> None:
    engine = make_engine(FakeRunner(slots=4))
    engine._estimate.record_chunk(4, 1, 0.5, 0.0)
    request = EngineRequest(seed=1, max_tokens=10, candidates=2)
    assert engine.seconds_needed(request) == (0.0, 5.0)
    engine.submit(replace(request, max_tokens=20, candidates=3))  # it waits, and is admitted first
    assert engine.seconds_needed(request) == (10.0, 5.0)
    assert engine.seconds_needed(replace(request, candidates=1)) == (0.0, 5.0)
    primer = replace(request, forced=(1,) * 6, candidates=1)
    assert engine.seconds_needed(primer) == (0.0, 2.0)
