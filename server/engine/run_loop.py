"""The loop of the engine's thread: schedule, run, postprocess."""

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from music.errors import NoTokenLeftError
from runtime.runner import Runner
from server.engine.admission import Admission, Admitted
from server.engine.batch import Batch, Progress
from server.engine.candidate_rows import CandidateRows
from server.engine.completion import Completion
from server.engine.errors import ConstraintError, EngineError, EngineFailedError
from server.engine.estimate import FinishEstimate
from server.engine.in_flight import InFlightRequests
from server.engine.observer import EngineObserver, notify
from server.engine.prefill_queue import PrefillQueue, prefill_tokens
from server.engine.scheduler import Scheduler
from server.engine.sequence import Sequence, SequenceStatus
from server.engine.warm_up import probe

_log = logging.getLogger(__name__)
_NO_TOKENS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Schedule:
    """What changes at the start of a turn."""

    cancelled: list[Sequence]
    """Sequences whose slots were freed because they were cancelled."""
    admitted: list[Admitted]
    """Sequences to activate."""


class RunLoop:
    """Runs the admitted sequences until they are finished.

    The batch, the prefill queue and the runner belong to the engine's thread, without a lock. Changes of the scheduler
    and of a sequence's status hold the engine's lock.

    Args:
        runner: executes the model.
        scheduler: owns the queue and the slots.
        admission: hands over admitted sequences.
        in_flight: resolves the futures.
        estimate: records durations and lengths.
        observer: receives events.
        work: wakes the engine's thread; its lock is the engine's lock.
        name: the engine's name, for messages.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        scheduler: Scheduler,
        admission: Admission,
        in_flight: InFlightRequests,
        estimate: FinishEstimate,
        observer: EngineObserver,
        work: threading.Condition,
        name: str,
    ) -> None:
        self._runner = runner
        self._batch = Batch(runner)
        self._rows = CandidateRows(runner, self._batch)
        self._prefills = PrefillQueue(runner)
        self._scheduler = scheduler
        self._admission = admission
        self._in_flight = in_flight
        self._estimate = estimate
        self._observer = observer
        self._work = work
        self._name = name
        self._stopping = False

    def run(self) -> None:
        """Run turns until `stop` is called.

        Raises:
            Exception: the runner's error, if it fails without requests too, such as on a device that is gone.
        """
        while self._turn():
            pass

    def stop(self) -> None:
        """End `run` after the present turn. The caller holds the engine's lock."""
        self._stopping = True
        self._work.notify()

    def token_count(self, sequence: Sequence) -> int:
        """Return the number of tokens of all rows of a sequence, sampled or forced; 0 before it is activated.

        In another thread than the engine's, the number may be one chunk old.
        """
        if sequence.status is SequenceStatus.PREFILLING:
            return self._prefills.token_count(sequence.slots[0])
        return self._rows.token_count(sequence)

    def _turn(self) -> bool:
        """Schedule, run, postprocess. Return False when the loop must end."""
        schedule = self._schedule()
        if schedule is None:
            return False
        turn_began = time.perf_counter()
        for sequence in schedule.cancelled:
            self._drop(sequence)
        try:
            for admitted in schedule.admitted:
                self._activate(admitted)
            self._prefill()
            decode_began = time.perf_counter()
            progress = self._decode()
            if progress is not None:
                self._postprocess(progress)
        except Exception as error:
            self._fail_active(error, schedule.admitted)
            probe(self._runner)  # if this fails too, the fault is not in the requests: the engine has failed
            return True
        if progress is not None:
            now = time.perf_counter()
            self._scheduler.record_chunk(progress.steps, now - decode_began)
            self._estimate.record_chunk(progress.batch_size, progress.steps, now - turn_began, now)
        return True

    def _schedule(self) -> _Schedule | None:
        """Wait for work; free the slots of cancelled sequences and take the admitted ones. None: the loop must end."""
        with self._work:
            self._work.wait_for(lambda: self._stopping or self._has_work)
            if self._stopping:
                return None
            schedule = _Schedule(self._scheduler.release_cancelled(), self._admission.take())
            self._admission.wake()
            return schedule

    @property
    def _has_work(self) -> bool:
        return bool(
            self._admission.has_admitted or len(self._batch) or len(self._prefills) or self._scheduler.has_cancelled
        )

    def _drop(self, sequence: Sequence) -> None:
        """Finish a cancelled sequence, whose slots are free already."""
        token_count = self.token_count(sequence)
        self._forget(sequence)
        self._in_flight.resolve(sequence, None, token_count)

    def _forget(self, sequence: Sequence) -> None:
        """Remove a sequence from the prefill queue or the batch."""
        if sequence.status is SequenceStatus.PREFILLING:
            self._prefills.remove(sequence.slots[0])
        self._rows.drop(sequence)

    def _activate(self, admitted: Admitted) -> None:
        """Put an admitted sequence into the prefill queue or into the batch."""
        sequence, first_step, resume = admitted.sequence, admitted.first_step, admitted.sequence.request.resume
        notify(self._observer.started, sequence.queue_seconds)
        if admitted.error is not None:
            self._fail_run([sequence], admitted.error, [0])
        elif first_step is not None:
            notify(self._observer.first_token, sequence.first_token_seconds)
            self._runner.resume(sequence.slots[0], first_step.state)
            self._start(sequence, first_step.tokens, first_step.log_probabilities)
        elif resume is not None:
            self._runner.resume(sequence.slots[0], resume.state)
            self._start(sequence, resume.tokens[: resume.state_tokens])
        else:
            for slot in sequence.slots:
                self._runner.reset(slot, sequence.request.position_index, sequence.request.remaining)
            tokens = prefill_tokens(sequence.request)
            if len(tokens):
                self._prefills.add(sequence.slots[0], tokens)
                sequence.prefill_began_at = time.perf_counter()
                self._move(sequence, SequenceStatus.PREFILLING)
            else:
                self._start(sequence)

    def _start(
        self,
        sequence: Sequence,
        tokens: NDArray[np.integer] = _NO_TOKENS,
        log_probabilities: NDArray[np.float32] | None = None,
    ) -> None:
        """Add the rows of a sequence, which have the tokens (n,), to the batch."""
        self._move(sequence, SequenceStatus.RUNNING)
        error = self._rows.start(sequence, tokens, log_probabilities)
        if error is not None:
            self._fail_guided(sequence, error)

    def _prefill(self) -> None:
        """Run prefill slices. A sequence whose prefill is complete joins the batch, and ends this phase."""
        seconds = self._scheduler.prefill_seconds(len(self._batch), awaiting_first=self._batch.awaiting_first)
        deadline = time.perf_counter() + seconds
        while len(self._prefills):
            began = time.perf_counter()
            part = self._prefills.run_slice()
            now = time.perf_counter()
            notify(self._observer.prefill, part.tokens, now - began)
            if part.complete:
                sequence = self._scheduler.running[part.slot]
                sequence.prefill_ended_at = now
                self._rows.fork(sequence)
                self._start(sequence, np.array(sequence.request.forced[: part.total], np.int64))
            if part.complete or now + (now - began) > deadline:  # the next slice takes as long again
                return

    def _decode(self) -> Progress | None:
        """Run one chunk of the batch; None if the batch is empty."""
        batch = self._batch
        if not len(batch):
            return None
        batch.select_rows()
        steps = self._scheduler.chunk_steps(batch.remaining_tokens(), batch.steps_to_first_token(), batch.known_steps())
        chunk = batch.chunk(steps)
        began = time.perf_counter()
        decoded = self._runner.decode(chunk)
        notify(self._observer.chunk, chunk.batch_size, steps, time.perf_counter() - began)
        return batch.append(decoded)

    def _postprocess(self, progress: Progress) -> None:
        """Report first tokens, collect what the chunk ended, and complete sequences without rows."""
        now = time.perf_counter()
        for slot in progress.first_token:
            sequence = self._scheduler.running[slot]
            if sequence.first_token_at is None:
                sequence.first_token_at = now
                notify(self._observer.first_token, sequence.first_token_seconds)
        collected = self._rows.collect(progress)
        self._release(collected.freed)
        for sequence, error in collected.failed:
            self._fail_guided(sequence, error)
        for sequence in collected.finished:
            self._complete(sequence, now)

    def _complete(self, sequence: Sequence, now: float) -> None:
        """Resolve a sequence whose rows have left the batch."""
        for candidate in sequence.candidates:
            self._estimate.record_length(sequence.request, len(candidate.tokens))
        result: Completion | ConstraintError
        if sequence.candidates:
            result = Completion(
                candidates=tuple(sorted(sequence.candidates, key=lambda candidate: candidate.index)),
                queue_seconds=sequence.queue_seconds,
                first_token_seconds=sequence.first_token_seconds,
                total_seconds=now - sequence.submitted_at,
            )
        else:
            assert sequence.constraint_error is not None
            result = ConstraintError(sequence.constraint_error)
        self._in_flight.resolve(sequence, result, sequence.finished_tokens)

    def _fail_guided(self, sequence: Sequence, error: Exception) -> None:
        """Fail a sequence whose guide cannot go on. Others are not concerned."""
        token_count = self.token_count(sequence)
        self._forget(sequence)
        self._release_slots_of([sequence])
        if isinstance(error, NoTokenLeftError):
            result: EngineError = ConstraintError(error)
        else:
            _log.error("the guide of a request to %s failed", self._name, exc_info=error)
            result = EngineFailedError.caused_by(self._name, error)
        self._in_flight.resolve(sequence, result, token_count)

    def _fail_active(self, error: Exception, admitted: Collection[Admitted]) -> None:
        """Fail every sequence that the engine's thread has taken over: the state of their slots is unknown.

        Args:
            error: the runner's error.
            admitted: the sequences of this turn, activated or not.
        """
        active = {SequenceStatus.PREFILLING, SequenceStatus.RUNNING}
        taken = {each.sequence for each in admitted}
        with self._work:
            running = dict.fromkeys(self._scheduler.running.values())  # each once, in the order of their slots
            failed = [each for each in running if each.status in active or each in taken]
        token_counts = [self.token_count(sequence) for sequence in failed]
        self._rows.clear()
        self._prefills.clear()
        self._fail_run(failed, error, token_counts)

    def _fail_run(self, sequences: list[Sequence], error: Exception, token_counts: list[int]) -> None:
        """Fail the sequences of one failed run. They are neither in the batch nor in the prefill queue."""
        _log.error("the runner of %s failed", self._name, exc_info=error)
        self._release_slots_of(sequences)
        for sequence, token_count in zip(sequences, token_counts, strict=True):
            self._in_flight.resolve(sequence, EngineFailedError.caused_by(self._name, error), token_count)

    def _release_slots_of(self, sequences: Collection[Sequence]) -> None:
        held = self._scheduler.running
        self._release([slot for each in sequences for slot in each.slots if held.get(slot) is each])

    def _release(self, slots: Collection[int]) -> None:
        if slots:
            with self._work:
                for slot in slots:
                    self._scheduler.release_slot(slot)
                self._admission.wake()

    def _move(self, sequence: Sequence, status: SequenceStatus) -> None:
        with self._work:
            sequence.move_to(status)
