"""One thread that owns a model: schedule, run, postprocess, over and over."""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future

import numpy as np

from server.engine.batch import Batch, Progress
from server.engine.completion import Completion, FinishReason
from server.engine.errors import (
    EngineError,
    EngineFailedError,
    EngineRequestError,
    EngineStoppedError,
    QueueFullError,
)
from server.engine.estimate import FinishEstimate, RetryHint
from server.engine.guard import GuardedObserver
from server.engine.observer import EngineObserver, Outcome, silent
from server.engine.pace import PATIENCE_SECONDS, USHERED_PATIENCE_SECONDS
from server.engine.primers import SLICE_TOKENS, Primers, primer_of
from server.engine.request import EngineRequest
from server.engine.runner import Runner
from server.engine.scheduler import Scheduler
from server.engine.sequence import Sequence
from server.engine.threads import yield_to_others
from server.engine.ticket import Ticket
from server.engine.usher import Entrant, Usher

_log = logging.getLogger(__name__)
_HINT_SECONDS = 0.1
"""Calls that the full queue refuses within this time share an estimate."""


class Engine:
    """Decodes many sequences at once with one runner, which it owns and closes.

    Threads. The lock guards the scheduler, the table of what is in flight, those who were let in and the flags; it is
    held for microseconds, never while the runner runs or a future resolves. The batch, the primers and the runner
    belong to the engine's thread alone. Where the runner has an opener, the usher's thread gives slots and brings those
    who have one to the engine's, which seats them; else the engine's thread does both. A future resolves through
    `_settle`, which only the first to come may pass: the engine's thread when a sequence finishes or fails, the
    canceller's when it still waited.

    Args:
        runner: executes the model.
        queue_limit: sequences that may wait beyond those that the slots hold, at least 0.
        observer: is told what happens.
        name: the model's name, for messages and the thread.
    """

    def __init__(self, runner: Runner, *, queue_limit: int, observer: EngineObserver = silent, name: str) -> None:
        self.name = name
        self._runner = runner
        self._vocabulary = runner.vocabulary
        self._observer = GuardedObserver(observer)
        self._batch = Batch(runner)
        self._primers = Primers(runner)
        patience = PATIENCE_SECONDS if runner.opener is None else USHERED_PATIENCE_SECONDS
        self._scheduler = Scheduler(runner.slots, queue_limit, runner.chunk_sizes, patience)
        self._estimate = FinishEstimate(runner.width, runner.slots)
        self._retry_hint = RetryHint(_HINT_SECONDS)
        self._in_flight: dict[Future[Completion], Sequence] = {}
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)  # something to do, for the engine's thread
        self._arrival = threading.Condition(self._lock)  # somebody to let in, for the usher's
        self._idle = threading.Condition(self._lock)  # nothing in flight, for those who drain
        self._entrants: list[Entrant] = []
        self._accepting = True
        self._stopping = False
        self._fault: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._usher = self._make_usher()

    @property
    def waiting(self) -> int:
        """Sequences in the queue."""
        return self._scheduler.waiting_count

    @property
    def running(self) -> int:
        """Sequences that hold a slot."""
        return self._scheduler.running_count

    @property
    def slots(self) -> int:
        """Sequences that can be in hand at once."""
        return self._runner.slots

    @property
    def provider(self) -> str:
        """The execution provider that runs the model, such as `CPUExecutionProvider`."""
        return self._runner.provider

    @property
    def precision(self) -> str:
        """The arithmetic that decodes: `float32` or `int8`."""
        return self._runner.precision

    @property
    def accepting(self) -> bool:
        """Whether requests may come: False for good once it drains, stops or breaks."""
        return self._accepting

    def warm_up(self) -> None:
        """Really run every chunk size, with one row and with as many as a run takes, a slice of a primer, an opening.

        All in the calling thread. It comes before `start`.

        Raises:
            EngineFailedError: the model does not run, or gives what it should not.
        """
        assert self._thread is None, "once started, the runner belongs to the engine's thread"
        request = EngineRequest(seed=0, max_tokens=1)
        opener = self._runner.opener
        try:
            for width in sorted({1, self._runner.width}):
                batch = Batch(self._runner)
                for slot in range(width):
                    batch.join(slot, request)
                    self._runner.reset(slot, request.clock_row)
                batch.turn()
                for steps in self._runner.chunk_sizes:
                    tokens = self._runner.decode(batch.chunk(steps))
                    assert tokens.shape == (width, steps), f"tokens came in the shape {tokens.shape}"
                    assert 0 <= tokens.min() <= tokens.max() < self._vocabulary, "no such token"
                    if opener is not None and (width, steps) == (1, self._runner.chunk_sizes[0]):
                        opened = opener.open(np.array([request.clock_row]), batch.chunk(steps))
                        assert opened.tokens.tolist() == tokens.tolist(), "an opener draws something else"
                        self._runner.resume(0, opened.states[0])
            began = time.perf_counter()
            self._runner.decode(batch.chunk(steps))  # again: the first run of a size takes longer
            self._estimate.warmed_up(steps, time.perf_counter() - began)
            self._runner.reset(0, request.clock_row)
            read = sum(self._runner.prefill(0, np.zeros(SLICE_TOKENS, np.int64), SLICE_TOKENS))
            assert read == SLICE_TOKENS, f"{read} tokens of a primer were read"
        except Exception as error:
            raise _failure(self.name, error) from error

    def start(self) -> None:
        """Start the threads, once.

        Raises:
            EngineStoppedError: the engine was stopped before.
        """
        with self._lock:
            if self._stopping:
                raise EngineStoppedError(f"{self.name} is stopped")
            assert self._thread is None, "an engine is started once"
            self._thread = threading.Thread(target=self._loop, name=f"engine-{self.name}", daemon=True)
            if self._usher is not None:
                self._usher.start()
            self._thread.start()

    def submit(self, request: EngineRequest) -> Ticket:
        """Put a request into the queue. It waits there if the engine has not been started yet.

        Raises:
            EngineRequestError: a token of the request is not in the vocabulary.
            QueueFullError: all slots and the whole queue are taken.
            EngineStoppedError: the engine drains or is stopped.
        """
        special = (token for token in (request.end_token, request.stop_token) if token is not None)
        tokens = (*request.forced, *special)
        for token in (min(tokens, default=0), max(tokens, default=0)):  # a primer is long, and this the event loop
            if not 0 <= token < self._vocabulary:
                raise EngineRequestError(f"token {token} is not one of 0 to {self._vocabulary - 1}")
        with self._lock:
            if not self._accepting:
                raise EngineStoppedError(f"{self.name} takes no more requests")
            if not self._scheduler.has_room:
                raise QueueFullError(self.name, self._retry_after_seconds())
            sequence = Sequence(request, submitted_at=time.perf_counter())
            sequence.future.add_done_callback(self._withdraw_if_cancelled)
            self._in_flight[sequence.future] = sequence
            self._observer.admitted()  # before the engine's thread can see it and tell what comes next
            self._scheduler.enqueue(sequence)
            self._call_in()
        return Ticket(sequence.future)

    def expected_tokens(self, request: EngineRequest) -> int:
        """Estimate the tokens of a request: `max_tokens`, or fewer where only the model decides how many it takes."""
        return math.ceil(self._estimate.tokens(request))

    def seconds_left(self, ticket: Ticket) -> float:
        """Estimate when a request's sequence finishes, once it runs; 0 if it is finished or cancelled."""
        with self._lock:
            sequence = self._in_flight.get(ticket.future)
            if sequence is None:
                return 0.0
            return self._estimate.seconds_left(sequence.request, self._taken(sequence), self._sequence_count)

    def drain(self, timeout_seconds: float) -> bool:
        """Take no more requests, and wait until those in flight have left.

        Returns:
            Whether they have, within the time.
        """
        with self._lock:
            self._accepting = False
            return self._idle.wait_for(lambda: not self._in_flight, timeout_seconds)

    def stop(self) -> None:
        """Fail what is in flight with `EngineStoppedError`, end the threads after what they run, close the runner.

        Returns when that is done; at once if it was done before, or if a callback in the thread calls it.
        """
        with self._lock:
            self._accepting = False
            first, self._stopping = not self._stopping, True
            self._work.notify()
            self._arrival.notify()
            thread = self._thread
        if thread is None:
            if first:
                self._shut(lambda: _stopped(self.name))
        elif thread is not threading.current_thread():
            thread.join()

    def _retry_after_seconds(self) -> float:
        """Estimate when the first sequence finishes, which makes room for another one; with the lock."""
        sequences = self._scheduler.running.values() or self._scheduler.waiting
        return self._retry_hint.seconds(lambda: self._seconds_to_first(sequences), time.perf_counter())

    def _seconds_to_first(self, sequences: Collection[Sequence]) -> float:
        """Estimate when the first of some sequences finishes, once they run; with the lock."""
        taken = [(each.request, self._taken(each)) for each in sequences]
        return self._estimate.seconds_to_first(taken, self._sequence_count)

    @property
    def _sequence_count(self) -> int:
        """Sequences that run or wait."""
        return self._scheduler.running_count + self._scheduler.waiting_count

    def _loop(self) -> None:
        yield_to_others()
        try:
            while self._turn():
                pass
        except BaseException as error:
            # A fault of ours. Nobody may hang for it, and nobody may be let in any more.
            _log.critical("the engine of %s broke", self.name, exc_info=True)
            cause = error
            self._shut(lambda: _failure(self.name, cause))
        else:
            self._shut(lambda: _stopped(self.name))

    def _turn(self) -> bool:
        """Schedule, run, postprocess; False when the thread shall end."""
        with self._lock:
            self._work.wait_for(lambda: self._stopping or self._fault is not None or self._has_work)
            if self._fault is not None:
                raise self._fault
            if self._stopping:
                return False
            dropped, entrants = self._scheduler.drop(), self._seated()
            self._call_in()
        turned = time.perf_counter()
        for sequence in dropped:
            self._drop(sequence)
        if not (entrants or self._batch.width or self._primers.count):
            return True
        try:
            for entrant in entrants:
                self._join(entrant)
            self._prefill()
            began = time.perf_counter()
            progress = self._decode() if self._batch.width else Progress(0, 0, [], [], [])
        except Exception as error:
            self._fail_running(error)
        else:
            self._finish(progress)
            if progress.steps:
                now = time.perf_counter()
                self._scheduler.ran(progress.steps, now - began)
                self._estimate.ran(progress.width, progress.steps, now - turned)
        return True

    @property
    def _has_work(self) -> bool:
        """Whether the engine's thread has anything to do; with the lock."""
        return bool(
            self._entrants
            or self._batch.width
            or self._primers.count
            or self._scheduler.must_drop
            or (self._usher is None and self._scheduler.may_admit)
        )

    def _call_in(self) -> None:
        """Wake who gives slots to those who wait, if there is something to give; with the lock."""
        if self._scheduler.may_admit:
            (self._work if self._usher is None else self._arrival).notify()

    def _admit(self, most: int) -> list[Sequence]:
        """Let somebody in, and wait until there is somebody; nobody where the engine stops. The usher's."""
        with self._lock:
            self._arrival.wait_for(lambda: self._stopping or self._scheduler.may_admit)
            return [] if self._stopping else self._scheduler.admit(most, time.perf_counter())

    def _seat(self, entrants: list[Entrant]) -> None:
        """Hear from the usher who was let in."""
        with self._lock:
            self._entrants += entrants
            self._work.notify()

    def _break(self, error: BaseException) -> None:
        """Hear from the usher that it can do no more: nor can the engine then."""
        with self._lock:
            self._fault = error
            self._work.notify()

    def _seated(self) -> list[Entrant]:
        """Take on those who were let in and have not given up since; with the lock."""
        if self._usher is None:
            self._entrants += map(Entrant, self._scheduler.admit(self._runner.slots, time.perf_counter()))
        entrants = [entrant for entrant in self._entrants if self._scheduler.holds_slot(entrant.sequence)]
        self._entrants.clear()
        for entrant in entrants:
            entrant.sequence.seated = True
        return entrants

    def _make_usher(self) -> Usher | None:
        if self._runner.opener is None:
            return None
        return Usher(
            self._runner,
            admit=self._admit,
            seat=self._seat,
            broken=self._break,
            observer=self._observer,
            name=f"usher-{self.name}",
        )

    def _drop(self, sequence: Sequence) -> None:
        """Let go of a sequence that was cancelled while it ran, and whose slot is free already."""
        assert sequence.slot is not None
        tokens = self._taken(sequence)
        if sequence.seated and not self._primers.remove(sequence.slot):
            self._batch.leave(sequence.slot)
        self._settle(sequence, None, tokens)

    def _join(self, entrant: Entrant) -> None:
        sequence, opening = entrant.sequence, entrant.opening
        assert sequence.slot is not None
        assert sequence.started_at is not None
        self._observer.started(sequence.started_at - sequence.submitted_at)
        if entrant.error is not None:
            self._fail([sequence], [0], entrant.error)
            return
        if opening is not None:
            assert sequence.first_token_at is not None
            self._observer.first_token(sequence.first_token_at - sequence.submitted_at)
            self._runner.resume(sequence.slot, opening.state)
            self._batch.join(sequence.slot, sequence.request, taken=opening.tokens)
            return
        self._runner.reset(sequence.slot, sequence.request.clock_row)
        primer = primer_of(sequence.request)
        if len(primer):
            self._primers.add(sequence.slot, primer)
        else:
            self._batch.join(sequence.slot, sequence.request)

    def _prefill(self) -> None:
        """Read on in the primers, a slice each in turn; a sequence whose primer is through joins the batch."""
        awaited = self._batch.awaited
        until = time.perf_counter() + self._scheduler.reading_seconds(self._batch.width, awaited=awaited)
        while self._primers.count:
            began = time.perf_counter()
            part = self._primers.read_slice()
            now = time.perf_counter()
            self._observer.prefill(part.tokens, now - began)
            if part.complete:
                request = self._scheduler.running[part.slot].request
                self._batch.join(part.slot, request, taken=np.array(request.forced[: part.complete], np.int64))
            if part.complete or now + (now - began) > until:  # the next one would take as long again
                return

    def _decode(self) -> Progress:
        self._batch.turn()
        steps = self._scheduler.chunk_steps(self._batch.remaining(), self._batch.until_first_token())
        chunk = self._batch.chunk(steps)
        began = time.perf_counter()
        tokens = self._runner.decode(chunk)
        seconds = time.perf_counter() - began
        self._observer.chunk(chunk.width, steps, seconds)
        return self._batch.take(tokens)

    def _finish(self, progress: Progress) -> None:
        """Pass on what the chunk brought: first tokens and finished sequences."""
        now = time.perf_counter()
        for slot in progress.spoke:
            sequence = self._scheduler.running[slot]
            sequence.first_token_at = now
            self._observer.first_token(now - sequence.submitted_at)
        for slot in progress.ended:
            self._complete(slot, FinishReason.END, now)
        for slot in progress.full:
            self._complete(slot, FinishReason.LENGTH, now)

    def _complete(self, slot: int, reason: FinishReason, now: float) -> None:
        sequence = self._scheduler.running[slot]
        assert sequence.started_at is not None
        assert sequence.first_token_at is not None
        tokens = self._batch.tokens(slot)
        completion = Completion(
            tokens=tokens,
            finish_reason=reason,
            queue_seconds=sequence.started_at - sequence.submitted_at,
            first_token_seconds=sequence.first_token_at - sequence.submitted_at,
            total_seconds=now - sequence.submitted_at,
        )
        self._estimate.finished(sequence.request, len(tokens))
        self._batch.leave(slot)
        with self._lock:
            self._scheduler.retire(sequence)
            self._call_in()
        self._settle(sequence, completion, len(tokens))

    def _fail_running(self, error: Exception) -> None:
        """Fail whoever may have shared the chunk: nobody knows how far the rows' state has come."""
        with self._lock:
            failed = [sequence for sequence in self._scheduler.running.values() if sequence.seated]
        tokens = [self._taken(sequence) for sequence in failed]
        self._batch.clear()
        self._primers.clear()
        self._fail(failed, tokens, error)

    def _fail(self, failed: list[Sequence], tokens: list[int], error: Exception) -> None:
        """Fail sequences that share a run's failure; the batch and the primers know nothing of them."""
        _log.error("the runner of %s failed", self.name, exc_info=error)
        with self._lock:
            for sequence in failed:
                self._scheduler.retire(sequence)
            self._call_in()
        for sequence, taken in zip(failed, tokens, strict=True):
            self._settle(sequence, _failure(self.name, error), taken)

    def _taken(self, sequence: Sequence) -> int:
        """Count the tokens that a sequence has, sampled or told; none before it is seated.

        In another thread than the engine's, the number may be a chunk late.
        """
        if not sequence.seated or sequence.slot is None:
            return 0
        return self._batch.taken(sequence.slot) + self._primers.read(sequence.slot)

    def _withdraw_if_cancelled(self, future: Future[Completion]) -> None:
        """Hear of the future being done: where that is the caller's doing, the work for it ends too."""
        if not future.cancelled():
            return
        with self._lock:
            sequence = self._in_flight.get(future)
            if sequence is None:
                return
            if not self._scheduler.withdraw(sequence, time.perf_counter()):
                self._work.notify()
                return
        self._settle(sequence, None, 0)

    def _shut(self, reason: Callable[[], EngineError]) -> None:
        """Let nobody in any more, fail whoever is in flight, and close the runner: the engine's last act."""
        with self._lock:
            self._accepting, self._stopping = False, True
            self._arrival.notify()
        if self._usher is not None:
            self._usher.join()  # it may be using the runner's model
            self._usher = None  # and would keep it
        with self._lock:
            self._entrants.clear()
            self._scheduler.clear()
            left = list(self._in_flight.values())
        for sequence in left:
            self._settle(sequence, reason(), self._taken(sequence))
        try:
            self._runner.close()
        except Exception:
            _log.exception("the runner of %s did not close", self.name)

    def _settle(self, sequence: Sequence, answer: Completion | EngineError | None, tokens: int) -> None:
        """Resolve the future of a sequence that no longer waits or runs, unless somebody does so already.

        Args:
            sequence: whose slot, if it had one, is free.
            answer: None where the future is known to be cancelled; it may be in the other cases too.
            tokens: how many it has produced.
        """
        with self._lock:
            if sequence.settled:
                return
            sequence.settled = True
        now = time.perf_counter()
        wanted = sequence.future.set_running_or_notify_cancel()  # from here on cancelling it does nothing
        if not wanted:
            outcome = Outcome.CANCELLED
            if sequence.slot is not None:
                self._observer.freed_after_cancel(now - (sequence.cancelled_at or now))
        elif isinstance(answer, Completion):
            outcome = Outcome[answer.finish_reason.name]
        else:
            outcome = Outcome.FAILED
        self._observer.finished(outcome, now - sequence.submitted_at, tokens)
        if wanted:
            assert answer is not None
            if isinstance(answer, Completion):
                sequence.future.set_result(answer)
            else:
                sequence.future.set_exception(answer)
        with self._lock:
            del self._in_flight[sequence.future]
            if not self._in_flight:
                self._idle.notify_all()


def _failure(name: str, cause: BaseException) -> EngineFailedError:
    error = EngineFailedError(f"{name} failed while it ran")
    error.__cause__ = cause
    return error


def _stopped(name: str) -> EngineStoppedError:
    return EngineStoppedError(f"{name} was stopped")
