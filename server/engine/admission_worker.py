"""A thread that admits queued sequences and decodes their first token while the batch runs."""

import threading
import time
from collections import defaultdict
from typing import Final

import numpy as np

from runtime.philox import first_uniforms
from runtime.runner import Chunk, FirstTokenRunner, Runner
from server.engine.admission import Admission, Admitted, FirstStep
from server.engine.bias_table import BiasTable
from server.engine.first_row import FirstRow
from server.engine.nats import NatsSums
from server.engine.observer import EngineObserver, notify
from server.engine.prefill_queue import MIN_PREFILL_TOKENS
from server.engine.request import EngineRequest
from server.engine.scheduler import Scheduler
from server.engine.sequence import Sequence
from server.engine.snapshot import Snapshot

_MAX_ADMITTED: Final = 8
"""Sequences that are admitted at once. When many requests arrive together, the first does not wait for the last."""


class AdmissionWorker(Admission):
    """Admits queued sequences in its own thread, and decodes their first step.

    Every run has a fixed cost, so chunks have many steps. A request that arrives while a chunk runs would get its first
    token only after the end of the next one. This thread decodes the first step at once, with the runner's first-token
    runner: on a free core, or in between, because this thread has a higher priority than the engine's thread. The
    sequence then joins the next chunk at its second step. Its tokens are those that the batch would have sampled,
    because the tokens of a row depend on that row alone. So chunks can be long, and streamed first tokens are early.

    The batch decodes the first token of some sequences: those with a primer to prefill, with several candidates, with a
    snapshot to resume, those whose guide does not reach that far, and those whose first tokens may be their last.

    Args:
        runner: provides the first-token runner and the sizes. Nothing else of it is used.
        scheduler: owns the queue and the slots.
        work: wakes the engine's thread.
        lock: the engine's lock, which is the lock of `work`.
        observer: receives first steps.
        name: of the thread.
    """

    def __init__(
        self,
        runner: Runner,
        scheduler: Scheduler,
        work: threading.Condition,
        lock: threading.RLock,
        observer: EngineObserver,
        name: str,
    ) -> None:
        super().__init__(scheduler, work)
        assert runner.first_token_runner is not None
        self._runner: FirstTokenRunner | None = runner.first_token_runner
        self._chunk_steps = runner.chunk_sizes[0]
        self._limit = min(runner.max_batch_size, _MAX_ADMITTED)
        self._vocabulary = runner.vocabulary
        self._arrival = threading.Condition(lock)
        self._observer = observer
        self._name = name
        self._admitted: list[Admitted] = []
        self._stopping = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    @property
    def has_admitted(self) -> bool:
        """See `Admission`."""
        return bool(self._admitted or self._error)

    def take(self) -> list[Admitted]:
        """See `Admission`. Sequences that lost their slots since, because they were cancelled, are left out.

        Raises:
            BaseException: what ended the thread, if a bug did.
        """
        if self._error is not None:
            raise self._error
        admitted = [each for each in self._admitted if self._scheduler.holds_slot(each.sequence)]
        self._admitted.clear()
        return admitted

    def wake(self) -> None:
        """See `Admission`."""
        if self._scheduler.can_admit:
            self._arrival.notify()

    def start(self) -> None:
        """See `Admission`."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """See `Admission`."""
        self._stopping = True
        self._arrival.notify()
        self._admitted.clear()

    def join(self) -> None:
        """See `Admission`."""
        if self._thread is not None:
            self._thread.join()
        self._runner = None  # it would keep the model in memory

    def _run(self) -> None:
        try:
            while sequences := self._admit():
                self._admit_with_first_tokens(sequences)
        except BaseException as error:
            with self._arrival:
                self._error = error
                self._work.notify()

    def _admit(self) -> list[Sequence]:
        """Wait for sequences to admit, and admit them. Return none when the thread must end."""
        with self._arrival:
            self._arrival.wait_for(lambda: self._stopping or self._scheduler.can_admit)
            return [] if self._stopping else self._scheduler.admit(self._limit, time.perf_counter())

    def _admit_with_first_tokens(self, sequences: list[Sequence]) -> None:
        """Decode first steps and hand the sequences over: first those that need none."""
        by_steps: defaultdict[int, list[Sequence]] = defaultdict(list)
        for sequence in sequences:
            by_steps[self._first_step_count(sequence.request)].append(sequence)
        for steps, group in sorted(by_steps.items()):
            self._hand_over(self._with_first_tokens(steps, group) if steps else [Admitted(each) for each in group])

    def _hand_over(self, admitted: list[Admitted]) -> None:
        with self._arrival:
            if not self._stopping:
                self._admitted += admitted
                self._work.notify()

    def _first_step_count(self, request: EngineRequest) -> int:
        """Count the steps up to the first sampled token, in whole chunks; 0 if the batch decodes it."""
        forced = len(request.forced)
        steps = (forced // self._chunk_steps + 1) * self._chunk_steps
        decodes_first = request.candidates == 1 and request.resume is None and forced < MIN_PREFILL_TOKENS
        return steps if decodes_first and steps < request.max_tokens else 0

    def _with_first_tokens(self, steps: int, sequences: list[Sequence]) -> list[Admitted]:
        rows = {sequence: FirstRow.of(sequence.request, steps, self._vocabulary) for sequence in sequences}
        decodable = {sequence: row for sequence, row in rows.items() if row is not None}
        try:
            first_steps = dict(zip(decodable, self._decode(steps, list(decodable.values())), strict=True))
        except Exception as error:
            return [Admitted(each, error=error if each in decodable else None) for each in sequences]
        now = time.perf_counter()
        for sequence, first_step in first_steps.items():
            if first_step is not None:
                sequence.first_token_at = now
                _report(sequence, first_step)
        return [Admitted(sequence, first_steps.get(sequence)) for sequence in sequences]

    def _decode(self, steps: int, rows: list[FirstRow]) -> list[FirstStep | None]:
        """Decode the first steps of some sequences in one run; None for those that they may complete."""
        if not rows:
            return []
        requests = [row.request for row in rows]
        chunk = self._chunk(steps, rows)
        position_indices = np.array([request.position_index for request in requests], np.int64)
        remaining = np.array([request.remaining for request in requests], np.int64)
        began = time.perf_counter()
        assert self._runner is not None
        decoded = self._runner.decode(position_indices, remaining, chunk)
        notify(self._observer.first_step, chunk.batch_size, steps, time.perf_counter() - began)
        tokens = decoded.tokens
        assert tokens.shape == chunk.forced.shape, f"the tokens have shape {tokens.shape}"
        return [
            None
            if row.may_complete(tokens[place])
            else FirstStep(tokens[place], decoded.log_probabilities[place], row.given, decoded.states[place])
            for place, row in enumerate(rows)
        ]

    def _chunk(self, steps: int, rows: list[FirstRow]) -> Chunk:
        requests = [row.request for row in rows]
        biases = BiasTable(self._vocabulary)
        bias_index = np.array([[biases.add(bias) for bias in row.biases] for row in rows], np.int64)
        return Chunk(
            rows=np.arange(len(rows)),
            uniforms=first_uniforms([request.seed for request in requests], steps),
            forced=np.stack([row.forced for row in rows]),
            temperature=np.array([request.sampling.temperature for request in requests], np.float32),
            top_k=np.array([request.sampling.top_k for request in requests], np.int64),
            top_p=np.array([request.sampling.top_p for request in requests], np.float32),
            bias=biases.rows,
            bias_index=bias_index,
        )


def _report(sequence: Sequence, first_step: FirstStep) -> None:
    """Tell the listener of the first tokens at once: the batch takes over only after the present chunk."""
    if sequence.listener is None:
        return
    tokens, request = first_step.tokens.astype(np.int32), sequence.request
    snapshot = None
    if request.snapshots:
        sums = NatsSums().after(first_step.log_probabilities, first_step.given)
        snapshot = Snapshot(
            tokens, first_step.state, len(tokens), sums.nats, sums.given_nats, sums.started, request.seed
        )
    sequence.reported_tokens = len(tokens)
    notify(sequence.listener.tokens, tokens, snapshot)
