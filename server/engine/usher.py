"""Shows those who come to their slots, and has their first token found while everybody else's run goes on."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.engine.observer import EngineObserver
from server.engine.philox import first_uniforms
from server.engine.primers import SHORTEST_TOKENS
from server.engine.request import EngineRequest
from server.engine.runner import Chunk, Runner, State
from server.engine.sequence import Sequence

_AT_ONCE: Final = 8  # so that of many who come together the first need not wait for the last


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """How a sequence begins."""

    tokens: NDArray[np.int64]
    """(n,): its first tokens, told or sampled; the last is sampled, and they do not finish it."""
    state: State
    """What it has come to after them, for `Runner.resume`."""


@dataclass(frozen=True, slots=True, eq=False)
class Entrant:
    """A sequence that has a slot, for the engine's thread to seat."""

    sequence: Sequence
    opening: Opening | None = None
    """None: its first token is left to a chunk."""
    error: Exception | None = None
    """Why it has no opening, where that is a failure."""


class Usher:
    """A thread that lets in whoever there is a slot for.

    A chunk is many steps long, since every chunk has its price, and who comes while it runs would get a first token
    only after its end. So the first step is run here, at once, by the runner's opener: beside the chunk where there is
    a core for it, else in between, since this thread goes before the engine's. The sequence then joins the next chunk
    at its second step. Its tokens are those that it would have drawn there, since a row's depend on nothing but the
    row. Callers who get whole pieces gain that chunks may be long for everybody; who is told of tokens as they come,
    that the first one comes early.

    Left to chunks are sequences with a primer, and those whose first tokens might be their last.

    Args:
        runner: only its opener is run, and what never changes is read.
        admit: gives slots to those who have waited longest and says who they are, so many at most; waits until there is
            somebody; nobody means that the thread shall end.
        seat: hands on those who were let in.
        broken: hears what ended the thread otherwise than that.
        observer: is told of openings.
        name: of the thread.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        admit: Callable[[int], list[Sequence]],
        seat: Callable[[list[Entrant]], None],
        broken: Callable[[BaseException], None],
        observer: EngineObserver,
        name: str,
    ) -> None:
        assert runner.opener is not None
        self._opener = runner.opener
        self._steps = runner.chunk_sizes[0]
        self._most = min(runner.width, _AT_ONCE)
        self._vocabulary = runner.vocabulary
        self._admit = admit
        self._seat = seat
        self._broken = broken
        self._observer = observer
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Begin, once."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended; at once if it was never started."""
        if self._thread.ident is not None:
            self._thread.join()

    def _loop(self) -> None:
        try:
            while self._let_in():
                pass
        except BaseException as error:
            self._broken(error)

    def _let_in(self) -> bool:
        """Let some in who wait, those first who are not opened; False when the thread shall end."""
        admitted = self._admit(self._most)
        by_steps: defaultdict[int, list[Sequence]] = defaultdict(list)
        for sequence in admitted:
            by_steps[self._steps_of(sequence.request)].append(sequence)
        for steps, sequences in sorted(by_steps.items()):
            self._seat(self._opened(steps, sequences) if steps else [Entrant(sequence) for sequence in sequences])
        return bool(admitted)

    def _steps_of(self, request: EngineRequest) -> int:
        """Count the steps of its opening: up to the first sampled token, in whole chunks; 0 if it is left to chunks."""
        told = len(request.forced)
        steps = (told // self._steps + 1) * self._steps
        return steps if told < SHORTEST_TOKENS and steps < request.max_tokens else 0

    def _opened(self, steps: int, sequences: list[Sequence]) -> list[Entrant]:
        try:
            openings = self._open(steps, [sequence.request for sequence in sequences])
        except Exception as error:
            return [Entrant(sequence, error=error) for sequence in sequences]
        now = time.perf_counter()
        for sequence, opening in zip(sequences, openings, strict=True):
            if opening is not None:
                sequence.first_token_at = now
        return [Entrant(sequence, opening) for sequence, opening in zip(sequences, openings, strict=True)]

    def _open(self, steps: int, requests: list[EngineRequest]) -> list[Opening | None]:
        forced = np.full((len(requests), steps), -1, np.int64)
        for row, request in enumerate(requests):
            forced[row, : len(request.forced)] = request.forced
        chunk = Chunk(
            rows=np.arange(len(requests)),
            uniforms=first_uniforms([request.seed for request in requests], steps),
            forced=forced,
            temperature=np.array([request.sampling.temperature for request in requests], np.float32),
            top_k=np.array([request.sampling.top_k for request in requests], np.int64),
            top_p=np.array([request.sampling.top_p for request in requests], np.float32),
            allowed=np.stack([request.allowed(self._vocabulary) for request in requests]),
        )
        clock_rows = np.array([request.clock_row for request in requests], np.int64)
        began = time.perf_counter()
        opened = self._opener.open(clock_rows, chunk)
        self._observer.opening(chunk.width, steps, time.perf_counter() - began)
        tokens = opened.tokens
        assert tokens.shape == forced.shape, f"tokens came in the shape {tokens.shape}"
        return [
            None if _may_finish(request, tokens[row]) else Opening(tokens[row], opened.states[row])
            for row, request in enumerate(requests)
        ]


def _may_finish(request: EngineRequest, tokens: NDArray[np.int64]) -> bool:
    """Whether these first tokens are, or may be, the last that it wants."""
    stopped = request.stop_token is not None and np.count_nonzero(tokens == request.stop_token) >= request.stop_count
    return bool(stopped or request.end_token in tokens)
