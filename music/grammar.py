"""Which token may follow which: finite automata over tokens, stored as tables.

NumPy, PyTorch and an ONNX graph advance them with one table lookup a token.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FORBIDDEN: Final = -1e28
"""The bias of a token that a request forbids: it is added to the token's logit. Its exp() is exactly 0, and unlike -inf
it never gives NaN."""
GRAMMAR_PENALTY: Final = 100 * FORBIDDEN
"""The same for a token that the grammar forbids. At any temperature below 100 it outweighs `FORBIDDEN`: where a request
forbids all legal tokens, the sampled token is still legal."""


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """A finite automaton over tokens: the tokens that each state allows, and the state after each token.

    A `parallel` automaton runs on the same tokens, and may have a parallel automaton of its own. A token is legal if
    all automata allow it. A few small tables thus replace one table over the product of their states. A single number
    stands for the states of all (`joint`): `state * parallel.joint_size + joint state of parallel`. Without `parallel`
    it is the state.

    Every state, and every combination of states that can occur, allows at least one token.
    """

    allowed: NDArray[np.bool_]
    """(states, vocabulary): whether the token is legal in the state."""
    successor: NDArray[np.int32]
    """(states, vocabulary): the state after the token; undefined where the token is not legal."""
    start: int
    """The state before the first token."""
    features: NDArray[np.int32] | None = None
    """(states, features): what each state adds to the inputs of the network. A feature is the sum over all automata,
    and is embedded on its own. None if this automaton adds nothing; then the ones after it do not either."""
    feature_sizes: tuple[int, ...] = ()
    """Number of values of each feature; empty if this automaton adds nothing."""
    parallel: "Grammar | None" = None
    """Advances with this automaton."""

    @property
    def automata(self) -> tuple["Grammar", ...]:
        """This automaton and all parallel ones."""
        return (self,) if self.parallel is None else (self, *self.parallel.automata)

    @property
    def feature_tables(self) -> tuple[NDArray[np.int32], ...]:
        """`features` of the automata that have some."""
        return tuple(automaton.features for automaton in self.automata if automaton.features is not None)

    @property
    def joint_size(self) -> int:
        """Number of joint states."""
        return math.prod(len(automaton.allowed) for automaton in self.automata)

    @property
    def joint_start(self) -> int:
        """The joint state before the first token."""
        return (
            self.start if self.parallel is None else self.start * self.parallel.joint_size + self.parallel.joint_start
        )

    @property
    def max_allowed(self) -> int:
        """Upper bound of the number of legal tokens in any joint state: the largest of the strictest automaton."""
        own = int(self.allowed.sum(axis=1).max())
        return own if self.parallel is None else min(own, self.parallel.max_allowed)

    def joint_allowed(self, state: int) -> NDArray[np.bool_]:
        """Whether each token is legal in a joint state: (vocabulary,)."""
        if self.parallel is None:
            row: NDArray[np.bool_] = self.allowed[state]
            return row
        own, other = divmod(state, self.parallel.joint_size)
        all_allow: NDArray[np.bool_] = self.allowed[own] & self.parallel.joint_allowed(other)
        return all_allow

    def joint_successor(self, state: int, token: int) -> int:
        """The joint state after a token."""
        if self.parallel is None:
            return int(self.successor[state, token])
        size = self.parallel.joint_size
        own, other = divmod(state, size)
        return int(self.successor[own, token]) * size + self.parallel.joint_successor(other, token)

    def own_states(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """This automaton's own state before each of the tokens, shape (n,)."""
        states = np.empty(len(tokens), np.int32)
        state = self.start
        for index, token in enumerate(tokens):
            states[index] = state
            state = int(self.successor[state, token])
        return states

    def feature_states(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The joint state of the automata with features before each of the tokens, shape (n,); 0 if none has any."""
        states = np.zeros(len(tokens), np.int64)
        for automaton in self.automata[: len(self.feature_tables)]:
            states = states * len(automaton.allowed) + automaton.own_states(tokens)
        return states

    def joint_states(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The joint state before each of the tokens, shape (n,)."""
        states = self.own_states(tokens).astype(np.int64)
        return (
            states if self.parallel is None else states * self.parallel.joint_size + self.parallel.joint_states(tokens)
        )

    def masks(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """The tokens that are legal in the place of each token: (n, vocabulary)."""
        own: NDArray[np.bool_] = self.allowed[self.own_states(tokens)]
        return own if self.parallel is None else own & self.parallel.masks(tokens)

    def accepts(self, tokens: NDArray[np.integer[Any]]) -> bool:
        """Whether every token of the sequence is legal, from the start."""
        state = self.start
        for token in tokens:
            if not 0 <= token < self.allowed.shape[1] or not self.allowed[state, token]:
                return False
            state = int(self.successor[state, token])
        return self.parallel is None or self.parallel.accepts(tokens)
