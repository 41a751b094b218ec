"""The rows of running requests in the batch: one for each candidate, from its start to the finished candidate."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from music.errors import NoTokenLeftError
from runtime.runner import Runner
from server.engine.batch import Batch, Progress
from server.engine.completion import Candidate, FinishReason
from server.engine.nats import NatsSums
from server.engine.observer import notify
from server.engine.particle_group import ParticleGroup
from server.engine.sequence import Sequence
from server.engine.snapshot import Snapshot

_NO_TOKENS = np.zeros(0, np.int64)


@dataclass(slots=True, eq=False)
class Collected:
    """What a chunk ended."""

    freed: list[int] = field(default_factory=list)
    """Slots whose row is no longer in the batch."""
    finished: list[Sequence] = field(default_factory=list)
    """Sequences without rows: their candidates are complete, or ran out of tokens."""
    failed: list[tuple[Sequence, Exception]] = field(default_factory=list)
    """Sequences whose guide raised an error that no guide should; they keep their rows."""


class CandidateRows:
    """Starts rows, resamples particles, reports new tokens and collects finished candidates.

    It belongs to the engine's thread.

    Args:
        runner: owns the state of the rows.
        batch: owns their tokens.
    """

    def __init__(self, runner: Runner, batch: Batch) -> None:
        self._runner = runner
        self._batch = batch
        self._sequences: dict[int, Sequence] = {}  # by slot, only rows in the batch

    def start(
        self,
        sequence: Sequence,
        tokens: NDArray[np.integer] = _NO_TOKENS,
        log_probabilities: NDArray[np.float32] | None = None,
    ) -> Exception | None:
        """Add the rows of a sequence to the batch.

        Args:
            sequence: its slots have a state.
            tokens: (n,), what each row already has.
            log_probabilities: (n,), of these tokens; None if they are not known.

        Returns:
            Why its guide cannot start; no row is added then.
        """
        for index, slot in enumerate(sequence.slots):
            error = self._batch.add(slot, sequence.request, tokens, log_probabilities, index=index)
            if error is not None:
                self.drop(sequence)
                return error
            self._sequences[slot] = sequence
            sequence.running_slots += (slot,)
        if sequence.request.has_particles:
            sequence.group = ParticleGroup(sequence.request.seed)
        return None

    def fork(self, sequence: Sequence) -> None:
        """Give all slots of a sequence the state of its first slot."""
        first, *others = sequence.slots
        if others:
            self._runner.copy_states(np.full(len(others), first, np.intp), np.array(others, np.intp))

    def token_count(self, sequence: Sequence) -> int:
        """Return the number of tokens of all rows of a sequence. Any thread may call this."""
        return sequence.finished_tokens + sum(self._batch.token_count(slot) for slot in sequence.running_slots)

    def drop(self, sequence: Sequence) -> None:
        """Remove the rows of a sequence that are in the batch."""
        for slot in sequence.running_slots:
            self._remove(slot)

    def clear(self) -> None:
        """Remove all rows."""
        for sequence in self._sequences.values():
            sequence.running_slots = ()
        self._sequences.clear()
        self._batch.clear()

    def collect(self, progress: Progress) -> Collected:
        """Handle the rows that a chunk changed."""
        if progress.rejected:
            self._runner.rewind(np.array(progress.rejected, np.intp))
        collected = Collected()
        changed: dict[Sequence, None] = {}  # an ordered set
        for slots, reason in ((progress.ended, FinishReason.END), (progress.length, FinishReason.LENGTH)):
            for slot in slots:
                changed[self._finish(slot, reason, progress.steps, collected)] = None
        for slot, error in progress.stuck:
            changed[self._give_up(slot, error, collected)] = None
        for slot in progress.arrived:
            sequence = self._sequences[slot]
            assert sequence.group is not None
            sequence.group.arrived.add(slot)
            changed[sequence] = None
        for sequence in changed:
            if sequence.group is not None:
                self._resample(sequence, sequence.group, progress.arrived, collected)
        collected.finished += [sequence for sequence in changed if not sequence.running_slots]
        self._report()
        return collected

    def _finish(self, slot: int, reason: FinishReason, steps: int, collected: Collected) -> Sequence:
        """Turn a complete row into a candidate."""
        sequence = self._sequences[slot]
        request, store = sequence.request, self._batch.store
        index = sequence.slots.index(slot)
        before, count = self._batch.token_count_before(slot), self._batch.token_count(slot)
        snapshot = None
        if request.snapshots and reason is FinishReason.END:
            snapshot = self._snapshot(sequence, slot, before, count - 1)
        elif request.snapshots:  # a row that ends in the middle of a chunk has run past its end
            snapshot = self._snapshot(sequence, slot, before if before + steps > count else count, count)
        candidate = Candidate(
            index=index,
            seed=request.random_stream(index)[0],
            tokens=store.tokens(slot),
            log_probabilities=store.log_probabilities(slot),
            forced=store.given(slot),
            finish_reason=reason,
            snapshot=snapshot,
            resumed=request.resume,
        )
        sequence.candidates.append(candidate)
        self._report_tokens(sequence, candidate.tokens[sequence.reported_tokens :], snapshot)
        self._release(slot, collected)
        return sequence

    def _give_up(self, slot: int, error: Exception, collected: Collected) -> Sequence:
        """Handle a row whose guide has no next step."""
        sequence = self._sequences[slot]
        if not isinstance(error, NoTokenLeftError):
            collected.failed.append((sequence, error))
            return sequence
        sequence.constraint_error = error
        if sequence.group is None:
            self._release(slot, collected)
        else:
            sequence.group.stuck.add(slot)
            self._batch.pause(slot)
        return sequence

    def _resample(
        self, sequence: Sequence, group: ParticleGroup, just_arrived: list[int], collected: Collected
    ) -> None:
        """Resample the particles of a sequence if all that can go on have arrived; else pause the new arrivals."""
        slots = list(sequence.running_slots)
        if all(slot in group.stuck for slot in slots):
            for slot in slots:
                self._release(slot, collected)
        elif group.is_ready(slots):
            copied = group.resample(slots, self._batch.log_weights(slots))
            if copied is not None:
                self._runner.copy_states(*copied)
                self._batch.copy(*copied)
                self._batch.begin_weights(slots)
            for slot in slots:
                if slot not in group.stuck:
                    self._batch.unpause(slot)
        else:
            for slot in just_arrived:
                if slot in group.arrived:
                    self._runner.hold(slot)
                    self._batch.pause(slot)

    def _report(self) -> None:
        """Report the new tokens of rows that are not complete."""
        for slot, sequence in self._sequences.items():
            if sequence.listener is None or sequence.request.candidates > 1 or self._batch.awaits_first(slot):
                continue
            tokens = self._batch.store.tokens(slot, sequence.reported_tokens)
            if len(tokens):
                count = self._batch.token_count(slot)
                snapshot = self._snapshot(sequence, slot, count, count) if sequence.request.snapshots else None
                self._report_tokens(sequence, tokens, snapshot)

    def _report_tokens(self, sequence: Sequence, tokens: NDArray[np.int32], snapshot: Snapshot | None) -> None:
        if sequence.listener is not None and sequence.request.candidates == 1 and len(tokens):
            sequence.reported_tokens += len(tokens)
            notify(sequence.listener.tokens, tokens, snapshot)

    def _snapshot(self, sequence: Sequence, slot: int, state_tokens: int, tokens: int) -> Snapshot:
        """Return the snapshot of a row.

        Args:
            sequence: of the row.
            slot: of the row.
            state_tokens: number of tokens of the state: all, or those before the last chunk.
            tokens: number of tokens of the snapshot.
        """
        store, resume = self._batch.store, sequence.request.resume
        at_end = state_tokens == self._batch.token_count(slot)
        state = self._runner.state(slot) if at_end else self._runner.state_before_last_chunk(slot)
        begin = 0 if resume is None else resume.state_tokens
        sums = NatsSums() if resume is None else resume.sums
        part = slice(state_tokens - begin)
        sums = sums.after(store.log_probabilities(slot, begin)[part], store.given(slot, begin)[part])
        seed, stream = sequence.request.random_stream(sequence.slots.index(slot))
        return Snapshot(
            store.tokens(slot)[:tokens], state, state_tokens, sums.nats, sums.given_nats, sums.started, seed, stream
        )

    def _release(self, slot: int, collected: Collected) -> None:
        self._remove(slot)
        collected.freed.append(slot)

    def _remove(self, slot: int) -> None:
        sequence = self._sequences.pop(slot)
        sequence.finished_tokens += self._batch.token_count(slot)
        sequence.running_slots = tuple(other for other in sequence.running_slots if other != slot)
        if sequence.group is not None:
            sequence.group.leave(slot)
        self._batch.remove(slot)
