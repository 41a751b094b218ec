"""What the engine asks of whatever executes the model: the protocol alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """What one run of K steps needs beside the state: a row for each running sequence.

    The arrays are read only. Those that say nothing about steps are the same objects from one chunk to the
    next while the same rows run, so a runner may keep what it derived from them.
    """

    rows: NDArray[np.intp]
    """(width,): the slots that run, ascending, each once; at least 1, and at most as many as the runner takes."""
    uniforms: NDArray[np.float32]
    """(width, steps): one draw in [0, 1) for each token."""
    forced: NDArray[np.int64]
    """(width, steps): the token to take, or -1 to sample one."""
    temperature: NDArray[np.float32]
    """(width,): divides the logits; above 0."""
    top_k: NDArray[np.int64]
    """(width,): how many of the likeliest tokens may be drawn; 0 for no limit."""
    top_p: NDArray[np.float32]
    """(width,): probability of the likeliest tokens that may be drawn; above 0, 1 for no limit."""
    allowed: NDArray[np.bool_]
    """(width, vocabulary): which tokens the request lets be sampled, on top of the grammar."""

    @property
    def width(self) -> int:
        """Number of sequences that run."""
        return int(self.forced.shape[0])

    @property
    def steps(self) -> int:
        """Number of tokens that each of them decodes."""
        return int(self.forced.shape[1])


State = Mapping[str, Any]
"""A sequence's state, by name; only the runner whose it is knows what is in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """The first tokens of some sequences."""

    tokens: NDArray[np.int64]
    """(width, steps), as `Runner.decode` gives them."""
    states: Sequence[State]
    """What each has come to after them, for `Runner.resume`."""


class Opener(Protocol):
    """Decodes the first tokens of sequences beside whatever its runner does, in a thread of its own."""

    def open(self, clock_rows: NDArray[np.int64], chunk: Chunk) -> Opened:
        """Run sequences from their beginning.

        Args:
            clock_rows: (width,), clock row of each one's first token.
            chunk: its steps are a multiple of the runner's smallest size; its `rows` are of no account.

        Raises:
            Exception: as in `Runner.decode`.
        """


class Runner(Protocol):
    """Owns the model and its state.

    A slot's state is the LSTM's h and c, the previous token, the clock row and the state of the grammar.
    A row of a result depends on nothing but that row's own state and inputs: neither on the other rows, nor
    on the slot it lies in, nor on how its steps are divided into chunks; only how a primer is divided into slices
    may show in the last bits. One thread at a time calls a runner; another one may call its opener meanwhile.
    """

    @property
    def slots(self) -> int:
        """Rows of state: how many sequences can be in hand at once."""

    @property
    def width(self) -> int:
        """The most rows that one run may have, at least 1 and at most `slots`."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """Numbers of steps that one run can take, ascending and distinct, such as (1, 8)."""

    @property
    def provider(self) -> str:
        """The execution provider that runs the model, such as `CPUExecutionProvider`."""

    @property
    def precision(self) -> str:
        """The arithmetic that decodes: `float32` or `int8`."""

    @property
    def opener(self) -> Opener | None:
        """Who finds first tokens beside a run; None where the runner can do but one thing at a time."""

    def reset(self, slot: int, clock_row: int) -> None:
        """Begin a sequence: zero h and c, the start token, the grammar's start, the clock at `clock_row`."""

    def resume(self, slot: int, state: State) -> None:
        """Go on with a sequence where this runner's opener has left it; instead of `reset`."""

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        """Read a primer in few runs: advance a slot past told tokens, from where `reset` has put it.

        Until the last token is read, the slot is in no chunk; its state then is what decode would have left, but for
        rounding. Reset frees a slot whose primer nobody reads on.

        Args:
            slot: whose state advances.
            tokens: (n,), n at least 1.
            slice_tokens: tokens that one run takes; the last takes what is left.

        Yields:
            After each run, the number of tokens that it took.

        Raises:
            Exception: as in `decode`.
        """

    def decode(self, chunk: Chunk) -> NDArray[np.int64]:
        """Run the chunk's rows for its steps.

        Whoever is in no chunk stays as it is. Where all slots fit into one run, nobody sits out a chunk but those that
        were reset or resumed, or whose primer is read, until their first, and those to whom this happens before they
        run again: such a runner need keep the state of no others.

        Returns:
            (width, steps): the tokens, forced or sampled. The state of the rows has advanced past them all.

        Raises:
            Exception: any, when the model cannot run; the engine then fails what was running.
        """

    def close(self) -> None:
        """Let go of the model; nothing is called afterwards."""
