"""Random networks, some of them adversarial, with the real grammar: a runner in NumPy, without ONNX."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from music.grammar import FORBIDDEN
from music.remaining_length import UNKNOWN
from music.tokenizers import EventsTokenizer, Tokenizer
from music.tokenizers.event_vocabulary import BAR, FIRST_POSITION, TIE
from runtime.runner import Chunk, Decoded
from tests.no_states import NoStates

_NETWORKS: Final = 256
_STRONG: Final = 1e4


def biases(tokenizer: Tokenizer) -> NDArray[np.float64]:
    """Biases of the logits: none, or a strong preference, (preferences, vocabulary)."""
    size = tokenizer.vocabulary_size
    ascending = np.linspace(-_STRONG, _STRONG, size)
    rows = [np.zeros(size), ascending, -ascending]
    if isinstance(tokenizer, EventsTokenizer):
        v = tokenizer.vocabulary
        kinds = {
            "tie": slice(TIE, TIE + 1),
            "bar": slice(BAR, BAR + 1),
            "position": slice(FIRST_POSITION, v.first_duration),
            "duration": slice(v.first_duration, v.first_velocity),
            "pitch": slice(v.first_pitch, size),
        }
        for kind in kinds.values():
            for sign in (1.0, -1.0):
                row = np.zeros(size)
                row[kind] = sign * _STRONG
                rows.append(row)
        dense = np.zeros(size)  # every position, every pitch from the lowest on, ties as long as they go
        dense[kinds["position"]] = -np.arange(v.first_duration - FIRST_POSITION)
        dense[kinds["pitch"]] = 1e3 - np.arange(size - v.first_pitch)
        dense[TIE], dense[BAR] = 2e3, -_STRONG
        rows.append(dense)
    return np.array(rows)


class RandomNetworks(NoStates):
    """A runner that samples as a decode graph does; every sequence has another network.

    A network's logits depend on the token before. The grammar's tables and the request's mask decide what may come.
    """

    provider = "RandomProvider"
    precision = "exact"
    first_token_runner = None

    def __init__(self, tokenizer: Tokenizer, slots: int, chunk_sizes: tuple[int, ...] = (16,)) -> None:
        random = np.random.default_rng(1)
        self.slots = self.max_batch_size = slots
        self.vocabulary = tokenizer.vocabulary_size
        self.chunk_sizes = chunk_sizes
        self._start_token = tokenizer.start_token
        self._automata = tokenizer.grammar.automata
        self._weights = random.normal(0.0, 4.0, (_NETWORKS, self.vocabulary, self.vocabulary))
        self._biases = biases(tokenizer)
        self._begun = 0
        self._network = np.zeros(slots, np.intp)
        self._bias = np.zeros(slots, np.intp)
        self._previous = np.zeros(slots, np.intp)
        self._states = np.zeros((len(self._automata), slots), np.intp)

    def reset(self, slot: int, position_index: int, remaining: int = UNKNOWN) -> None:
        self._network[slot] = self._begun % _NETWORKS
        self._bias[slot] = self._begun % len(self._biases)
        self._begun += 1
        self._previous[slot] = self._start_token
        self._states[:, slot] = [automaton.start for automaton in self._automata]

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        raise NotImplementedError

    def decode(self, chunk: Chunk) -> Decoded:
        rows = chunk.rows
        tokens = np.empty((len(rows), chunk.steps), np.int64)
        for step in range(chunk.steps):
            allowed = chunk.bias[chunk.bias_index[:, step]] > FORBIDDEN
            for automaton, states in zip(self._automata, self._states, strict=True):
                allowed &= automaton.allowed[states[rows]]
            logits = self._biases[self._bias[rows]] + self._weights[self._network[rows], self._previous[rows]]
            sampled = _drawn(logits, allowed, chunk, step)
            forced = chunk.forced[:, step]
            tokens[:, step] = self._previous[rows] = np.where(forced >= 0, forced, sampled)
            for automaton, states in zip(self._automata, self._states, strict=True):
                states[rows] = automaton.successor[states[rows], tokens[:, step]]
        return Decoded(tokens, np.zeros(tokens.shape, np.float32))

    def close(self) -> None:
        pass


def _drawn(logits: NDArray[np.float64], allowed: NDArray[np.bool_], chunk: Chunk, step: int) -> NDArray[np.intp]:
    assert (allowed.any(axis=1) | (chunk.forced[:, step] >= 0)).all(), "the grammar and the mask leave no token"
    scaled = np.where(allowed, logits / chunk.temperature[:, None], -np.inf)
    greatest = scaled.argmax(axis=1)
    with np.errstate(invalid="ignore"):  # a row whose token is forced may have nothing else
        shares = np.exp(scaled - np.take_along_axis(scaled, greatest[:, None], axis=1))
    reached = np.cumsum(shares, axis=1)
    sampled = (reached > chunk.uniforms[:, step, None] * reached[:, -1:]).argmax(axis=1)
    tokens: NDArray[np.intp] = np.where(chunk.top_k == 1, greatest, sampled)
    return tokens
