"""The running sequences as arrays with one row for each slot, so that a chunk needs no Python work per sequence."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import SAMPLED
from runtime.runner import Chunk, Decoded, Runner
from server.engine.bias_table import BiasTable
from server.engine.guided_rows import GuidedRows, RowOutcome
from server.engine.request import EngineRequest
from server.engine.round_robin import RoundRobin
from server.engine.row_ends import RowEnds
from server.engine.sampling_rows import SamplingRows
from server.engine.token_store import TokenStore
from server.engine.uniform_streams import UniformStreams

_NO_TOKENS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """What one chunk changed."""

    batch_size: int
    """Number of rows in the chunk."""
    steps: int
    """Number of steps of the chunk."""
    first_token: list[int]
    """Slots that got their first token after those known at the start; or their last one of these, if they get no
    more."""
    ended: list[int]
    """Slots that got their end token."""
    length: list[int]
    """Slots that got `max_tokens` tokens, or all their stop tokens, or whose guide is complete, and no end token."""
    arrived: list[int] = field(default_factory=list)
    """Particles whose last token is one after which they may be resampled."""
    rejected: list[int] = field(default_factory=list)
    """Slots for which the chunk does not count, because a step was guided by a wrong guess."""
    stuck: list[tuple[int, Exception]] = field(default_factory=list)
    """Slots whose guide has no next step, and why, such as a `NoTokenLeftError`."""


class Batch:
    """The state and the tokens of every running row. A request for several candidates has a row for each.

    A row that has k tokens is at step k: its next token uses draw k of its random stream. If more rows are active than
    one run takes, they take turns; those that await their first token run first.

    A chunk takes three calls: `select_rows`, `chunk`, `append`.

    Args:
        runner: only its sizes are read.
    """

    def __init__(self, runner: Runner) -> None:
        slots, longest_chunk = runner.slots, runner.chunk_sizes[-1]
        self._vocabulary = runner.vocabulary
        self.store = TokenStore(slots, longest_chunk)
        """The rows' tokens. A row must not be removed yet to be read."""
        self._biases = BiasTable(runner.vocabulary)
        self._sampling = SamplingRows(slots, self._biases)
        self._guided = GuidedRows(self._biases, runner.vocabulary, longest_chunk)
        self._uniforms = UniformStreams(slots, longest_chunk)
        self._known: dict[int, NDArray[np.int64]] = {}  # tokens known at the start; only slots that have not all
        self._given_count = np.zeros(slots, np.int64)  # of these, the ones that were not sampled earlier
        self._count_before = np.zeros(slots, np.int64)  # tokens before the last chunk
        self._weighed_count = np.zeros(slots, np.int64)  # tokens before the present weight of a particle
        self._before_first = np.zeros(slots, np.int64)  # tokens before the first one that is not known at the start
        self._ends = RowEnds(slots)
        self._round_robin = RoundRobin(runner.max_batch_size)
        self._selected: list[int] = []  # the slots of the next chunk
        self._awaiting_first: set[int] = set()
        self._paused: set[int] = set()
        self._particles: set[int] = set()
        self._given: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)  # of the next chunk, (rows, steps)
        self._plain: dict[int, tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}  # by number of steps
        self._gather()

    def __len__(self) -> int:
        """Number of active rows, in the next chunk or not, without paused ones."""
        return len(self._round_robin)

    @property
    def awaiting_first(self) -> bool:
        """Whether a row awaits its first token."""
        return bool(self._awaiting_first)

    def add(
        self,
        slot: int,
        request: EngineRequest,
        tokens: NDArray[np.integer] = _NO_TOKENS,
        log_probabilities: NDArray[np.float32] | None = None,
        *,
        index: int = 0,
    ) -> Exception | None:
        """Add a row in a free slot.

        Args:
            slot: its slot.
            request: its request.
            tokens: (n,), the tokens that it already has, forced or sampled; they do not complete it.
            log_probabilities: (n,), of these tokens; None if they are not known.
            index: which candidate of the request it is.

        Returns:
            Why the guide cannot start; the row is not added then.
        """
        count = len(tokens)
        assert count < request.max_tokens
        known = _known_tokens(request, count)
        given: NDArray[np.bool_] | Exception = np.arange(count) < len(request.forced)
        if request.guide is not None:
            given = self._guided.start(
                slot,
                request.guide,
                request.banned_token,
                tokens,
                known[count:],
                resampling=request.has_particles,
            )
        if isinstance(given, Exception):
            return given
        self._round_robin.add(slot)
        self._uniforms.start(slot, *request.random_stream(index))
        self.store.start(slot, request.max_tokens, tokens, log_probabilities, given)
        self._count_before[slot] = self._weighed_count[slot] = count
        self._ends.start(slot, request, tokens)
        self._before_first[slot] = min(request.known_count, request.max_tokens - 1)
        self._given_count[slot] = 0 if request.guide is not None else len(request.forced)
        self._sampling.start(slot, request.sampling, request.bias(self._vocabulary))
        if count < len(known):
            self._known[slot] = known
        if count <= self._before_first[slot]:
            self._awaiting_first.add(slot)
        if request.has_particles:
            self._particles.add(slot)
        return None

    def remove(self, slot: int) -> None:
        """Remove the row of a slot. It must be there."""
        if slot in self._paused:
            self._paused.remove(slot)
        else:
            self._round_robin.remove(slot)
        if slot in self._guided:
            self._guided.remove(slot)
        self._awaiting_first.discard(slot)
        self._particles.discard(slot)
        self._sampling.remove(slot)
        self.store.count[slot] = 0
        self._known.pop(slot, None)

    def clear(self) -> None:
        """Remove every row."""
        for slot in [*self._round_robin, *self._paused]:
            self.remove(slot)

    def pause(self, slot: int) -> None:
        """Leave an active row out of the next chunks."""
        self._round_robin.remove(slot)
        self._paused.add(slot)

    def unpause(self, slot: int) -> None:
        """Let a row take part in chunks again, if it is paused."""
        if slot in self._paused:
            self._paused.remove(slot)
            self._round_robin.add(slot)

    def copy(self, sources: NDArray[np.intp], targets: NDArray[np.intp]) -> None:
        """Give the targets (n,) the tokens and the places in the guide of the sources (n,), none of which is a target.

        They are particles of one request. Each keeps its own random stream.
        """
        self.store.copy(sources, targets)
        self._ends.copy(sources, targets)
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            self._guided.copy(source, target)

    def log_weights(self, slots: Collection[int]) -> NDArray[np.float64]:
        """Return the sum of the log-probabilities of given tokens of each slot since its weight began, (n,)."""
        places = np.array(list(slots), np.intp)
        return self.store.given_sums(places, self._weighed_count[places])

    def begin_weights(self, slots: Collection[int]) -> None:
        """Let the weights of some slots begin after their present tokens."""
        places = list(slots)
        self._weighed_count[places] = self.store.count[places]

    def token_count(self, slot: int) -> int:
        """Return the number of tokens of the slot's row; 0 if none runs in it."""
        return int(self.store.count[slot])

    def token_count_before(self, slot: int) -> int:
        """Return the number of tokens of the slot's row before the last chunk that it was in."""
        return int(self._count_before[slot])

    def tokens(self, slot: int) -> NDArray[np.int32]:
        """Copy the tokens of the slot's row, (n,). It must not be removed yet."""
        return self.store.tokens(slot)

    def awaits_first(self, slot: int) -> bool:
        """Whether the slot's row awaits its first token."""
        return slot in self._awaiting_first

    def select_rows(self) -> None:
        """Choose the slots of the next chunk. At least one row must be active."""
        selected = self._round_robin.next_slots(self._awaiting_first)
        if selected is not self._selected:
            self._selected = selected
            self._gather()

    def remaining_tokens(self) -> NDArray[np.int64]:
        """Return how many tokens each selected row may still get, (rows,), each at least 1."""
        return self._ends.remaining(self.store.count[self._rows])

    def steps_to_first_token(self) -> NDArray[np.int64]:
        """Return the steps to the first token of each selected row that awaits it, (n,), from 1."""
        if not self._awaiting_first:  # the usual case
            return _NO_TOKENS
        slots = [slot for slot in self._selected if slot in self._awaiting_first]
        steps: NDArray[np.int64] = self._before_first[slots] + 1 - self.store.count[slots]
        return steps

    def known_steps(self) -> int | None:
        """Return for how many steps every selected row has instructions; None if none of them has a guide."""
        return min((self._guided.known_steps(slot) for _, slot in self._guided_rows), default=None)

    def chunk(self, steps: int) -> Chunk:
        """Return the runner's inputs for the next `steps` steps of the selected rows."""
        forced, self._given = self._nothing_forced(steps)
        bias_index = self._sampling.bias_index(steps)
        if self._guided_rows or self._known:
            forced, bias_index = forced.copy(), bias_index.copy()
            for row, slot in self._guided_rows:
                self._guided.fill(slot, forced[row], bias_index[row])
            self._given = forced != SAMPLED
            self._fill_known(forced)
        return Chunk(
            rows=self._rows,
            uniforms=self._uniforms.take(self._rows, self.store.count[self._rows], steps),
            forced=forced,
            temperature=self._sampling.temperature,
            top_k=self._sampling.top_k,
            top_p=self._sampling.top_p,
            bias=self._biases.rows,
            bias_index=bias_index,
        )

    def append(self, decoded: Decoded) -> Progress:
        """Append the tokens (rows, steps) of the chunk that just ran, up to the end of each row."""
        tokens = decoded.tokens
        rows = self._rows
        assert tokens.shape == self._given.shape, f"the tokens have shape {tokens.shape}"
        self._count_before[rows] = self.store.count[rows]
        columns = self.store.write(rows, decoded, self._given)
        self.store.count[rows], ended, length = self._ends.find(tokens, columns)
        progress = Progress(len(rows), tokens.shape[1], [], ended, length)
        if self._guided_rows:
            self._advance_guides(tokens, progress)
        if self._awaiting_first:
            self._find_first_tokens(progress)
        return progress

    def _advance_guides(self, tokens: NDArray[np.int64], progress: Progress) -> None:
        """Move the cursors past the tokens (rows, steps) of the chunk, up to the end of each row."""
        befores, afters = self._count_before[self._rows].tolist(), self.store.count[self._rows].tolist()
        over = {*progress.ended, *progress.length}
        for row, slot in self._guided_rows:
            taken = tokens[row]
            if slot in over:
                taken = taken[: afters[row] - befores[row] - (slot in progress.ended)]  # no guide sees the end token
            outcome = self._guided.advance(slot, taken, goes_on=slot not in over)
            if outcome is RowOutcome.REJECTED:
                self._take_back(slot, tokens[row], progress)
            elif outcome is RowOutcome.COMPLETE:
                self._complete_by_guide(slot, taken, progress)
            elif slot in over or outcome is RowOutcome.GOES_ON:
                continue
            elif isinstance(outcome, Exception):
                progress.stuck.append((slot, outcome))
            elif slot in self._particles:
                progress.arrived.append(slot)

    def _take_back(self, slot: int, tokens: NDArray[np.int64], progress: Progress) -> None:
        """Take back the tokens (steps,) of the chunk from a row."""
        self.store.count[slot] = self._count_before[slot]
        self._ends.take_back(slot, tokens)
        for ended in (progress.ended, progress.length):
            if slot in ended:
                ended.remove(slot)
        progress.rejected.append(slot)

    def _complete_by_guide(self, slot: int, taken: NDArray[np.int64], progress: Progress) -> None:
        """End a row at the token of the chunk that completes its piece. It may have another end after that."""
        before = self._count_before[slot]
        self.store.count[slot] = before + self._guided.completing_tokens(slot, self.store.tokens(slot)[:before], taken)
        if slot in progress.ended:
            progress.ended.remove(slot)
        if slot not in progress.length:
            progress.length.append(slot)

    def _find_first_tokens(self, progress: Progress) -> None:
        # Forced stop tokens may complete a row before it samples a token.
        progress.first_token.extend(
            slot
            for slot in sorted(self._awaiting_first)
            if self.store.count[slot] > self._before_first[slot] or slot in progress.length
        )
        self._awaiting_first.difference_update(progress.first_token)

    def _nothing_forced(self, steps: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The forced tokens of a chunk without any, and which of them are given, both (rows, steps) and read-only."""
        if steps not in self._plain:
            shape = len(self._rows), steps
            arrays = np.full(shape, SAMPLED, np.int64), np.zeros(shape, np.bool_)
            for array in arrays:
                array.setflags(write=False)
            self._plain[steps] = arrays
        return self._plain[steps]

    def _fill_known(self, forced: NDArray[np.int64]) -> None:
        """Write the tokens that are known since the start into the forced tokens (rows, steps) of the next chunk."""
        for row, slot in enumerate(self._selected):
            known = self._known.get(slot)
            if known is None:
                continue
            count = self.store.count[slot]
            tokens = known[count : count + forced.shape[1]]
            if len(tokens):
                forced[row, : len(tokens)] = tokens
                self._given[row, : max(self._given_count[slot] - count, 0)] = True
            else:
                del self._known[slot]

    def _gather(self) -> None:
        """Gather the values that change only with the selected slots."""
        self._rows = np.array(self._selected, np.intp)
        self._guided_rows = [(row, slot) for row, slot in enumerate(self._selected) if slot in self._guided]
        self._plain.clear()
        self._rows.setflags(write=False)
        self._sampling.select(self._rows)
        self._ends.select(self._rows)


def _known_tokens(request: EngineRequest, count: int) -> NDArray[np.int64]:
    """Return the tokens (n,) that a row with `count` tokens knows from its start."""
    if request.resume is not None:
        return request.resume.tokens.astype(np.int64)
    if count >= len(request.forced):  # they are prefilled, and there may be many
        return _NO_TOKENS
    return np.array(request.forced, np.int64)
