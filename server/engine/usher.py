"""Shows those who come to their slots, and has their first token found while everybody else's run goes on."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.engine.philox import uniforms
from server.engine.runner import Chunk, Opener, State
from server.engine.sequence import Sequence

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """How a sequence begins."""

    tokens: NDArray[np.int64]
    """(n,): its first tokens."""
    state: State
    """What it has come to after them, for `Runner.resume`."""
    draws: NDArray[np.float32]
    """(draws,): the first of its stream."""


@dataclass(frozen=True, slots=True, eq=False)
class Entrant:
    """A sequence that has a slot, for the engine's thread to let in."""

    sequence: Sequence
    opening: Opening | None = None
    """None: its first token is found in a chunk, with everybody else's next."""


class Usher:
    """A thread that lets in whoever there is a slot for.

    A chunk is many steps long, and who comes while it runs would wait for its end to hear the first note. So the first
    step is run here, at once, by the runner's opener: beside the chunk where there is a core for it, else in between,
    since this thread goes before the engine's. The sequence then joins the next chunk at its second step. The tokens
    are those that it would have drawn there, since a row's depend on nothing but the row.

    Left to chunks are sequences that begin with forced tokens, and those whose opening might finish them.

    Args:
        opener: the runner's.
        steps: its smallest chunk.
        width: rows that it may open at once.
        vocabulary: number of token ids.
        draws: how many draws of a stream to draw at once, at least `steps`.
        admit: gives slots to those who have waited longest and says who they are, so many at most; waits until there is
            somebody; nobody means that the thread shall end.
        seat: takes on those who were let in.
        broken: hears what ended the thread otherwise than that.
        name: of the thread.
    """

    def __init__(
        self,
        opener: Opener,
        *,
        steps: int,
        width: int,
        vocabulary: int,
        draws: int,
        admit: Callable[[int], list[Sequence]],
        seat: Callable[[list[Entrant]], None],
        broken: Callable[[BaseException], None],
        name: str,
    ) -> None:
        self._opener = opener
        self._steps = steps
        self._width = width
        self._vocabulary = vocabulary
        self._draws = draws
        self._admit = admit
        self._seat = seat
        self._broken = broken
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
            while admitted := self._admit(self._width):
                self._seat(self._entrants(admitted))
        except BaseException as error:
            self._broken(error)

    def _entrants(self, admitted: list[Sequence]) -> list[Entrant]:
        plain = [
            sequence
            for sequence in admitted
            if not sequence.request.forced and sequence.request.max_tokens > self._steps
        ]
        try:
            openings = self._opened(plain) if plain else {}
        except Exception:
            # Whatever it is, the engine's thread meets it too, and knows what to do about it.
            _log.warning("first tokens could not be found beside a run", exc_info=True)
            openings = {}
        return [Entrant(sequence, openings.get(sequence)) for sequence in admitted]

    def _opened(self, sequences: list[Sequence]) -> dict[Sequence, Opening]:
        requests = [sequence.request for sequence in sequences]
        seeds = np.array([request.seed for request in requests], np.uint64)
        draws = uniforms(seeds, np.zeros(len(sequences), np.int64), self._draws)
        chunk = Chunk(
            rows=np.array([sequence.slot for sequence in sequences], np.intp),
            uniforms=np.ascontiguousarray(draws[:, : self._steps]),
            forced=np.full((len(sequences), self._steps), -1, np.int64),
            temperature=np.array([request.sampling.temperature for request in requests], np.float32),
            top_k=np.array([request.sampling.top_k for request in requests], np.int64),
            top_p=np.array([request.sampling.top_p for request in requests], np.float32),
            allowed=np.stack([request.allowed(self._vocabulary) for request in requests]),
        )
        opened = self._opener.open(np.array([request.clock_row for request in requests], np.int64), chunk)
        assert opened.tokens.shape == (len(sequences), self._steps), f"tokens came in the shape {opened.tokens.shape}"
        now = time.perf_counter()
        openings = {}
        for row, sequence in enumerate(sequences):
            tokens = opened.tokens[row]
            if sequence.request.end_token in tokens or sequence.request.stop_token in tokens:
                continue
            sequence.first_token_at = now
            openings[sequence] = Opening(tokens, opened.states[row], draws[row])
        return openings
