"""The engine of one model: what callers use, and the start and the end of its threads."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import Future

from runtime.runner import Runner
from runtime.threads import let_other_threads_preempt
from server.engine.admission import Admission
from server.engine.admission_worker import AdmissionWorker
from server.engine.chunk_sizer import MAX_CHUNK_SECONDS, MAX_CHUNK_SECONDS_WITH_ADMISSION_WORKER
from server.engine.completion import Completion, RequestHandle
from server.engine.errors import (
    DisplacedError,
    EngineError,
    EngineFailedError,
    EngineRequestError,
    EngineStoppedError,
    QueueFullError,
)
from server.engine.estimate import FinishEstimate, RetryHint, time_until_free
from server.engine.in_flight import InFlightRequests
from server.engine.listener import SequenceListener
from server.engine.observer import EngineObserver, notify
from server.engine.request import EngineRequest
from server.engine.run_loop import RunLoop
from server.engine.scheduler import Scheduler
from server.engine.sequence import Sequence
from server.engine.warm_up import warm_up

_log = logging.getLogger(__name__)
_RETRY_HINT_SECONDS = 0.1
"""How long refused calls share one estimate."""


class Engine:
    """Decodes many sequences at once with one runner, which it owns and closes.

    Threads:

    - Callers submit and cancel. They never touch the runner.
    - The engine's thread runs the `RunLoop`. The batch, the prefill queue and the runner belong to it alone.
    - The admission worker is a second thread, if the runner has a first-token runner. It admits sequences, and hands
      them over to the engine's thread. Otherwise the engine's thread admits them.

    One lock protects the scheduler, the requests in flight, the admitted sequences, the statuses and the flags. A
    thread holds it for microseconds, never while the runner runs or a future resolves.

    Args:
        runner: executes the model.
        queue_limit: maximum number of waiting candidates when all slots are taken, at least 0.
        observer: receives events; None for none.
        name: the model's name, for messages and thread names.
    """

    def __init__(self, runner: Runner, *, queue_limit: int, observer: EngineObserver | None = None, name: str) -> None:
        self.name = name
        self.queue_limit = queue_limit
        self._runner = runner
        self._observer = observer or EngineObserver()
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)  # wakes the engine's thread
        has_worker = runner.first_token_runner is not None
        max_chunk_seconds = MAX_CHUNK_SECONDS_WITH_ADMISSION_WORKER if has_worker else MAX_CHUNK_SECONDS
        self._scheduler = Scheduler(runner.slots, queue_limit, runner.chunk_sizes, max_chunk_seconds)
        self._estimate = FinishEstimate(runner.max_batch_size, runner.slots)
        self._retry_hint = RetryHint(_RETRY_HINT_SECONDS)
        self._in_flight = InFlightRequests(self._lock, self._observer)
        self._admission = (
            AdmissionWorker(runner, self._scheduler, self._work, self._lock, self._observer, f"admission-{name}")
            if has_worker
            else Admission(self._scheduler, self._work)
        )
        self._loop = RunLoop(
            runner,
            scheduler=self._scheduler,
            admission=self._admission,
            in_flight=self._in_flight,
            estimate=self._estimate,
            observer=self._observer,
            work=self._work,
            name=name,
        )
        self._accepting = True
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Number of slots that the requests in the queue wait for: one for each candidate."""
        return self._scheduler.waiting_count

    @property
    def running(self) -> int:
        """Number of slots that are taken."""
        return self._scheduler.running_count

    @property
    def slots(self) -> int:
        """Number of slots: the maximum number of candidates that are written at once."""
        return self._runner.slots

    @property
    def provider(self) -> str:
        """The execution provider that runs the model, such as `CPUExecutionProvider`."""
        return self._runner.provider

    @property
    def precision(self) -> str:
        """The arithmetic of the decode graph: `float32` or `int8`."""
        return self._runner.precision

    @property
    def accepting(self) -> bool:
        """Whether the engine accepts requests. It never does again after it drained, stopped or broke."""
        return self._accepting

    def warm_up(self) -> None:
        """Run everything that the runner can do once, in the calling thread. Call this before `start`.

        Raises:
            EngineFailedError: the model does not run, or gives an impossible result.
        """
        assert self._thread is None, "after the start, the runner belongs to the engine's thread"
        try:
            run_seconds = warm_up(self._runner)
        except Exception as error:
            raise EngineFailedError.caused_by(self.name, error) from error
        now = time.perf_counter()
        for batch_size, seconds in run_seconds.items():
            self._estimate.record_chunk(batch_size, self._runner.chunk_sizes[-1], seconds, now)

    def start(self) -> None:
        """Start the threads. Call this once.

        Raises:
            EngineStoppedError: the engine was stopped before.
        """
        with self._lock:
            if self._stopping:
                raise EngineStoppedError(f"{self.name} is stopped")
            assert self._thread is None, "the engine is started already"
            self._thread = threading.Thread(target=self._run, name=f"engine-{self.name}", daemon=True)
            self._admission.start()
            self._thread.start()

    def submit(
        self, request: EngineRequest, listener: SequenceListener | None = None, *, caller: str = ""
    ) -> RequestHandle:
        """Put a request into the queue. It waits there until the engine is started.

        If the queue is full, it may take the place of requests of callers that have more in it; these fail with
        `DisplacedError`.

        Args:
            request: what to write.
            listener: is told of new tokens while the request runs; None for none.
            caller: whose it is; slots are shared fairly between callers.

        Raises:
            EngineRequestError: a token of the request is not in the vocabulary, or it has more candidates than the
                engine has slots.
            QueueFullError: all slots are taken and the queue is full.
            EngineStoppedError: the engine drains or is stopped.
        """
        request.check_tokens(self._runner.vocabulary)
        if request.candidates > self.slots:
            raise EngineRequestError(
                f"{self.name} has {self.slots} slots, not enough for {request.candidates} candidates"
            )
        if request.guide is not None and self._runner.chunk_sizes[0] > 1:
            raise EngineRequestError(f"{self.name} cannot follow a guide, for it cannot decode a single step")
        cost = self._estimate.expected_tokens(request) * request.candidates
        with self._lock:
            if not self._accepting:
                raise EngineStoppedError(f"{self.name} accepts no more requests")
            displaced = self._scheduler.make_room(caller, request.candidates)
            if displaced is None:
                notify(self._observer.refused)
                raise QueueFullError(self.name, self._retry_after_seconds())
            error = DisplacedError(self.name, self._retry_after_seconds()) if displaced else None
            sequence = Sequence(request, time.perf_counter(), listener, caller=caller, cost=cost)
            sequence.future.add_done_callback(self._on_done)
            self._in_flight.add(sequence)
            notify(self._observer.submitted)  # first, because another thread may report later events at once
            self._scheduler.enqueue(sequence)
            self._admission.wake()
        for each in displaced:
            self._in_flight.resolve(each, error, 0)
        return RequestHandle(sequence.future)

    def expected_tokens(self, request: EngineRequest) -> int:
        """Estimate the tokens of all candidates: `max_tokens` each, or fewer if the model decides the length."""
        return math.ceil(self._estimate.expected_tokens(request)) * request.candidates

    def seconds_left(self, handle: RequestHandle) -> float:
        """Estimate when a request finishes, from the moment that it runs; 0 if it is finished or cancelled."""
        with self._lock:
            sequence = self._in_flight.get(handle.future)
            if sequence is None:
                return 0.0
            tokens, row_count = self._tokens_left(sequence), self._row_count
        return tokens * self._estimate.token_seconds(row_count)

    def seconds_needed(self, request: EngineRequest, *, caller: str = "") -> tuple[float, float]:
        """Estimate how long a caller's request takes at least if submitted now: in the queue, and after that."""
        with self._lock:
            row_count = self._row_count + request.candidates
            held = Counter(self._scheduler.running.values())  # the slots of each sequence
            running = [(self._tokens_left(each), slots) for each, slots in held.items()]
            waiting = [(self._tokens_left(each), each.rows) for each in self._scheduler.ahead_of(caller)]
        queue_tokens = time_until_free(self.slots, running, waiting, request.candidates)
        beside = [(left - queue_tokens, rows) for left, rows in (*running, *waiting) if left > queue_tokens]
        queue_seconds = queue_tokens * self._estimate.token_seconds(row_count, least=True)
        tokens = self._estimate.tokens_left(request, 0)
        return queue_seconds, self._estimate.least_seconds(tokens, request.candidates, beside)

    def confirm_refusal(self) -> bool:
        """Whether a request may be refused because of `seconds_needed`. False for one at times: it must be measured."""
        return self._estimate.confirm_refusal(time.perf_counter())

    def drain(self, timeout_seconds: float) -> bool:
        """Accept no more requests, and wait until those in flight are finished.

        Returns:
            Whether they are, within the time.
        """
        with self._lock:
            self._accepting = False
        return self._in_flight.wait_until_empty(timeout_seconds)

    def stop(self) -> None:
        """Fail the requests in flight with `EngineStoppedError`, end the threads, close the runner.

        A thread ends after its present run. The method returns when all that is done. It returns at once if it was done
        before, or if a callback in the engine's thread calls it.
        """
        with self._lock:
            self._accepting = False
            first, self._stopping = not self._stopping, True
            self._loop.stop()
            self._admission.stop()
            thread = self._thread
        if thread is None:
            if first:
                self._shut_down(self._stopped_error)
        elif thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        """Run the loop; the engine's thread."""
        let_other_threads_preempt()
        try:
            self._loop.run()
        except BaseException as error:
            # A bug of ours. Fail every request, so that no caller waits for ever.
            _log.critical("the engine of %s failed", self.name, exc_info=True)
            cause = error
            self._shut_down(lambda: EngineFailedError.caused_by(self.name, cause))
        else:
            self._shut_down(self._stopped_error)

    def _shut_down(self, make_error: Callable[[], EngineError]) -> None:
        """Fail every request in flight and close the runner: the last act of the engine."""
        with self._lock:
            self._accepting, self._stopping = False, True
            self._admission.stop()
        self._admission.join()  # it may be using the runner's model
        with self._lock:
            self._scheduler.clear()
            sequences = self._in_flight.sequences
        for sequence in sequences:
            self._in_flight.resolve(sequence, make_error(), self._loop.token_count(sequence))
        try:
            self._runner.close()
        except Exception:
            _log.exception("the runner of %s did not close", self.name)

    def _stopped_error(self) -> EngineStoppedError:
        return EngineStoppedError(f"{self.name} was stopped")

    def _on_done(self, future: Future[Completion]) -> None:
        """Stop the work for a request whose caller cancelled its future; a callback of every future."""
        if not future.cancelled():
            return
        with self._lock:
            sequence = self._in_flight.get(future)
            if sequence is None:
                return
            if not self._scheduler.cancel(sequence, time.perf_counter()):
                self._work.notify()
                return
            self._admission.wake()  # the next ones may need fewer slots
        self._in_flight.resolve(sequence, None, 0)

    def _retry_after_seconds(self) -> float:
        """Estimate when a sequence finishes, which makes room for another one. The caller holds the lock."""
        sequences = dict.fromkeys(self._scheduler.running.values()) or self._scheduler.waiting
        return self._retry_hint.seconds(lambda: self._seconds_to_first_finish(sequences), time.perf_counter())

    def _seconds_to_first_finish(self, sequences: Collection[Sequence]) -> float:
        candidates = [(each.request, self._tokens_of_a_row(each)) for each in sequences]
        return self._estimate.seconds_to_first_finish(candidates, self._row_count)

    def _tokens_left(self, sequence: Sequence) -> float:
        return self._estimate.tokens_left(sequence.request, self._tokens_of_a_row(sequence))

    def _tokens_of_a_row(self, sequence: Sequence) -> int:
        """The mean over its candidates."""
        return self._loop.token_count(sequence) // sequence.rows

    @property
    def _row_count(self) -> int:
        return self._scheduler.running_count + self._scheduler.waiting_count
