"""Scores whole pieces: the logits before each token from the score graph, and the tokens' log-probabilities."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.graph_names import NEXT, POSITIONS, REMAINING, VOICE_STATE
from music.remaining_length import UNKNOWN
from runtime.forced_decoding import ForcedDecoder
from runtime.precision import decode_graphs
from runtime.session import open_session
from runtime.state import initial_state, stack_starts

TOKENS_AT_ONCE: Final = 32_768
"""Maximum number of tokens of one run, with padding. It bounds the memory: the logits are 4 bytes x vocabulary a
token."""
_MIN_LOG_PROBABILITY: Final = -1e20
"""A decode graph gives less than this for a token that the grammar forbids."""
_STATE: Final = ("h", "c")


def open_scorer(bundle: Bundle, *, threads: int = 0) -> "Scorer | ForcedScorer":
    """A scorer of a bundle: of its scoring graph, or of its decode graphs if it has none. See both classes."""
    return (Scorer if bundle.manifest.graphs.score else ForcedScorer)(bundle, threads=threads)


class Scorer:
    """The scoring graph: the logits before every token of whole pieces, in float32 on the CPU. Thread-safe.

    Args:
        bundle: a verified bundle.
        threads: threads of one run; 0 for ONNX Runtime's choice.

    Raises:
        BundleIntegrityError: a file has changed since the bundle was loaded.
        BundleMismatchError: the graph does not load.
    """

    tokens_at_once: Final = TOKENS_AT_ONCE

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        assert bundle.manifest.graphs.score is not None
        self._bundle = bundle
        self._session = open_session(bundle, bundle.manifest.graphs.score, provider="cpu", threads=threads)
        self._inputs = {value.name for value in self._session.get_inputs()}

    def logits(
        self,
        pieces: Sequence[NDArray[np.integer[Any]]],
        first_positions: Sequence[int],
        remaining: Sequence[int] | None = None,
    ) -> list[NDArray[np.float32]]:
        """The logits before each token, without the grammar's mask.

        Args:
            pieces: tokens, each (n,), the end token last.
            first_positions: position index of each piece's first token.
            remaining: each piece's remaining length before its first token; None if it is not known, or the network
                does not get it.

        Returns:
            (n, vocabulary) for each piece.
        """
        lengths = np.array([len(piece) for piece in pieces], np.int32)
        inputs = self._piece_inputs(pieces, first_positions, remaining)
        (logits,) = self._session.run(("logits",), {**inputs, **self._start(len(pieces)), "lengths": lengths})
        return [logits[:length, column] for column, length in enumerate(lengths)]

    def log_probabilities(
        self,
        pieces: Sequence[NDArray[np.integer[Any]]],
        first_positions: Sequence[int],
        *,
        tokens_at_once: int = TOKENS_AT_ONCE,
    ) -> list[NDArray[np.float32]]:
        """The natural log-probability of each token, with the grammar's mask, at temperature 1, and an unknown length.

        Pieces of similar lengths run together. A piece of more tokens than `tokens_at_once` takes several runs.

        Args:
            pieces: tokens, each (n,), any number and any lengths.
            first_positions: position index of each piece's first token.
            tokens_at_once: maximum number of tokens of one run.

        Returns:
            (n,) for each piece; -inf for a token that the grammar forbids.
        """
        results = [np.zeros(0, np.float32) for _ in pieces]
        for batch in batches([len(piece) for piece in pieces], tokens_at_once):
            together = [pieces[index] for index in batch]
            starts = [first_positions[index] for index in batch]
            inputs, state = self._piece_inputs(together, starts, None), self._start(len(batch))
            masks = [self._bundle.tokenizer.grammar.masks(piece) for piece in together]
            parts: list[list[NDArray[np.float64]]] = [[] for _ in batch]
            longest = max(map(len, together))
            # Only a piece that runs alone is longer than one run, so no piece of a batch ends before the last run.
            for first in range(0, longest, tokens_at_once):
                window = slice(first, min(first + tokens_at_once, longest))
                lengths = np.array([min(len(piece), window.stop) - first for piece in together], np.int32)
                now = {name: values[window] for name, values in inputs.items()}
                outputs = ("logits", *(name + NEXT for name in _STATE))
                logits, *after = self._session.run(outputs, {**now, **state, "lengths": lengths})
                state = dict(zip(_STATE, after, strict=True))
                for column, piece in enumerate(together):
                    tokens, legal = piece[window], masks[column][window]
                    parts[column].append(log_probabilities(logits[: len(tokens), column], legal, tokens))
            for index, done in zip(batch, parts, strict=True):
                results[index] = np.concatenate(done).astype(np.float32)
        return results

    def _start(self, count: int) -> dict[str, NDArray[np.float32]]:
        network = self._bundle.network
        return dict.fromkeys(_STATE, np.zeros((network.layers, count, network.hidden), np.float32))

    def _piece_inputs(
        self,
        pieces: Sequence[NDArray[np.integer[Any]]],
        first_positions: Sequence[int],
        remaining: Sequence[int] | None,
    ) -> dict[str, NDArray[Any]]:
        """The inputs of the graph that have a row for each token, (longest, pieces, ...)."""
        tokenizer = self._bundle.tokenizer
        shape = (max(map(len, pieces)), len(pieces))
        previous = np.full(shape, tokenizer.start_token, np.int64)
        position_indices = np.zeros(shape, np.int64)
        for column, (piece, start) in enumerate(zip(pieces, first_positions, strict=True)):
            previous[1 : len(piece), column] = piece[:-1]
            position_indices[: len(piece), column] = tokenizer.positions.indices(start, len(piece))
        inputs: dict[str, NDArray[Any]] = {"previous": previous, POSITIONS: position_indices}
        if "grammar" in self._inputs:
            inputs["grammar"] = _pad([tokenizer.grammar.feature_states(piece) for piece in pieces])
        if VOICE_STATE in self._inputs:
            tracker = tokenizer.voice_tracker
            assert tracker is not None  # load_bundle checks it
            inputs[VOICE_STATE] = _pad([tracker.states(piece) for piece in pieces])
            inputs["profile"] = _pad([tracker.profile(piece) for piece in pieces])
        if REMAINING in self._inputs:
            before = tokenizer.remaining_length.before
            lengths = [UNKNOWN] * len(pieces) if remaining is None else remaining
            inputs[REMAINING] = _pad(
                [before(length, piece)[:-1] for length, piece in zip(lengths, pieces, strict=True)]
            )
        return inputs


class ForcedScorer:
    """Scores pieces with decode graphs, in float32 on the CPU, if a bundle has no scoring graph. Thread-safe.

    Arguments and errors are those of `Scorer`.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        graphs = decode_graphs(bundle, "float32")
        sessions = {
            steps: open_session(bundle, graphs[steps], provider="cpu", threads=threads)
            for steps in {min(graphs), max(graphs)}
        }
        self._decoder = ForcedDecoder(bundle, sessions)
        self._start = initial_state(bundle)

    def log_probabilities(
        self,
        pieces: Sequence[NDArray[np.integer[Any]]],
        first_positions: Sequence[int],
        *,
        tokens_at_once: int = TOKENS_AT_ONCE,
    ) -> list[NDArray[np.float32]]:
        """See `Scorer.log_probabilities`."""
        results = [np.zeros(0, np.float32) for _ in pieces]
        for batch in batches([len(piece) for piece in pieces], tokens_at_once):
            # Zeros after the end of a piece have no effect on it.
            tokens = _pad([np.asarray(pieces[index], np.int64) for index in batch]).T
            start = stack_starts(self._start, [first_positions[index] for index in batch])
            _, scored = self._decoder.run(start, tokens)
            for row, index in enumerate(batch):
                found = scored[row, : len(pieces[index])]
                results[index] = np.where(found < _MIN_LOG_PROBABILITY, -np.inf, found).astype(np.float32)
        return results


def batches(lengths: Sequence[int], tokens_at_once: int) -> Iterator[list[int]]:
    """Divide pieces of these lengths into runs, each of pieces of similar lengths and at most `tokens_at_once` tokens.

    A piece that is longer runs alone. Pieces of length 0 are left out.

    Yields:
        The indices of the pieces of a run.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if not lengths[index]:
            continue
        if batch and (len(batch) + 1) * lengths[index] > tokens_at_once:  # the longest so far: the rest is padded
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def log_probabilities(
    logits: NDArray[np.float32], legal: NDArray[np.bool_], tokens: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """The natural log-probability of tokens (n,), from their logits and the grammar's masks, both (n, vocabulary)."""
    masked = np.where(legal, logits.astype(np.float64), -np.inf)
    peak = masked.max(axis=1, keepdims=True)
    totals = peak[:, 0] + np.log(np.exp(masked - peak).sum(axis=1))
    chosen: NDArray[np.float64] = masked[np.arange(len(tokens)), tokens] - totals
    return chosen


def _pad(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays (n, ...) of different n as columns of one array (longest, columns, ...), zero after their ends."""
    padded = np.zeros((max(map(len, columns)), len(columns), *columns[0].shape[1:]), columns[0].dtype)
    for index, column in enumerate(columns):
        padded[: len(column), index] = column
    return padded
