"""The two small machines that run beside the network: the grammar and the clock.

Both are tables, so that NumPy, PyTorch and an ONNX graph step them with one gather a token.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.errors import UnsupportedMeterError
from music.score import TICKS_PER_QUARTER, Meter


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """A finite automaton over tokens: which may follow, and what state that leads to.

    A second automaton may run `beside` it on the same tokens, and a third beside that one; a token may then come where
    all allow it. A few small tables thus say what one could only say with the product of their states. Where a single
    number stands for the states of all (`joint`), it is `state * beside.joint_size + joint state of beside`; without
    `beside` it is the state.

    Every state, or combination of states that can come about, allows at least one token.
    """

    allowed: NDArray[np.bool_]
    """(states, vocabulary): whether the token may come in the state."""
    successor: NDArray[np.int32]
    """(states, vocabulary): the state after the token; meaningless where it is not allowed."""
    start: int
    """The state before the first token."""
    features: NDArray[np.int32] | None = None
    """(states, features): what the network is told of each state, each feature embedded on its own; None where it
    is told nothing."""
    feature_sizes: tuple[int, ...] = ()
    """Number of values of each feature."""
    beside: "Grammar | None" = None
    """Runs in step with this one; has no features."""

    @property
    def automata(self) -> tuple["Grammar", ...]:
        """This automaton and all that run beside it."""
        return (self,) if self.beside is None else (self, *self.beside.automata)

    @property
    def joint_size(self) -> int:
        """Number of joint states."""
        return math.prod(len(automaton.allowed) for automaton in self.automata)

    @property
    def joint_start(self) -> int:
        """The joint state before the first token."""
        return self.start if self.beside is None else self.start * self.beside.joint_size + self.beside.joint_start

    @property
    def choices(self) -> int:
        """The most tokens that any state leaves to choose from, counted for the strictest of the automata."""
        own = int(self.allowed.sum(axis=1).max())
        return own if self.beside is None else min(own, self.beside.choices)

    def joint_allowed(self, state: int) -> NDArray[np.bool_]:
        """Whether each token may come in a joint state, (vocabulary,)."""
        if self.beside is None:
            row: NDArray[np.bool_] = self.allowed[state]
            return row
        own, other = divmod(state, self.beside.joint_size)
        all_allow: NDArray[np.bool_] = self.allowed[own] & self.beside.joint_allowed(other)
        return all_allow

    def joint_successor(self, state: int, token: int) -> int:
        """The joint state after a token."""
        if self.beside is None:
            return int(self.successor[state, token])
        size = self.beside.joint_size
        own, other = divmod(state, size)
        return int(self.successor[own, token]) * size + self.beside.joint_successor(other, token)

    def states(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """This automaton's own state before each of the tokens, shape (n,)."""
        states = np.empty(len(tokens), np.int32)
        state = self.start
        for index, token in enumerate(tokens):
            states[index] = state
            state = int(self.successor[state, token])
        return states

    def joint_states(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The joint state before each of the tokens, shape (n,)."""
        states = self.states(tokens).astype(np.int64)
        return states if self.beside is None else states * self.beside.joint_size + self.beside.joint_states(tokens)

    def legal(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which tokens might have come in the place of each, (n, vocabulary)."""
        own: NDArray[np.bool_] = self.allowed[self.states(tokens)]
        return own if self.beside is None else own & self.beside.legal(tokens)

    def accepts(self, tokens: NDArray[np.integer[Any]]) -> bool:
        """Whether the sequence, fed from the start, obeys the grammar throughout."""
        state = self.start
        for token in tokens:
            if not 0 <= token < self.allowed.shape[1] or not self.allowed[state, token]:
                return False
            state = int(self.successor[state, token])
        return self.beside is None or self.beside.accepts(tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """A metronome: rows that follow one another whatever the tokens are.

    Each row stands for one place in a bar (and, with voices interleaved, one voice). The network sees a row
    through its features, each embedded on its own.
    """

    successor: NDArray[np.int32]
    """(rows,): the row of the next token."""
    features: NDArray[np.int32]
    """(rows, features): what the network is told of each row."""
    feature_sizes: tuple[int, ...]
    """Number of values of each feature."""
    meters: tuple[Meter, ...]
    """Meters that the clock can count."""
    starts: dict[tuple[Meter | None, int], int]
    """Row of the first token, by (meter, pickup in ticks); meter None where the meter is not known."""

    def start(self, meter: Meter | None, pickup_ticks: int = 0) -> int:
        """The row of a piece's first token.

        Raises:
            UnsupportedMeterError: the clock does not count this meter, or no grid step falls on this pickup.
        """
        row = self.starts.get((meter, pickup_ticks))
        if row is None:
            known = ", ".join(map(str, self.meters))
            if meter is not None and meter not in self.meters:
                raise UnsupportedMeterError(f"meter {meter} is not one this model counts: {known}")
            raise UnsupportedMeterError(f"a pickup of {pickup_ticks} ticks does not fit meter {meter}")
        return row

    @property
    def beat_starts(self) -> list[int]:
        """Every row on a quarter at which a piece may begin, whatever its meter; without the unknown meter."""
        quarter = (key for key in self.starts if key[0] is not None and key[1] % TICKS_PER_QUARTER == 0)
        return sorted({self.starts[key] for key in quarter})

    def rows(self, start: int, count: int) -> NDArray[np.int32]:
        """The rows of `count` tokens from row `start` on, shape (count,)."""
        rows = np.empty(count, np.int32)
        row = start
        for index in range(count):
            rows[index] = row
            row = int(self.successor[row])
        return rows
