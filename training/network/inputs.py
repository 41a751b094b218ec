"""What the network sees before each token: one array for each kind of input."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from music.remaining_length import UNKNOWN
from music.tokenizers import Tokenizer
from music.tokenizers.note_tracker import NoteTrace

Array = TypeVar("Array")
_Other = TypeVar("_Other")


class Inputs(NamedTuple, Generic[Array]):
    """Arrays or tensors with the same first axes, such as (time, batch). A network ignores those that it does not use.

    Values that a tokenizer does not have are zeros, or have a last axis of length 0.
    """

    previous: Array
    """(...) int64, the token before each token to predict."""
    position_indices: Array
    """(...) int64, the position index of each token to predict."""
    grammar_states: Array
    """(...) int64, the grammar's state before it (`Grammar.feature_states`)."""
    voice_states: Array
    """(..., size) int64, what the voices sound before it."""
    profile: Array
    """(..., decays, 12) float32, weights of the pitch classes before it."""
    remaining: Array
    """(...) int64, the length of the piece that is left before it (`music.remaining_length`), or `UNKNOWN`."""
    note_indices: Array
    """(..., features) int16. This and what follows is what the notes before it say (`NoteTrace`)."""
    note_words: Array
    """(..., (sets + 1) * words) int16."""
    note_profile: Array
    """(..., decays * 12) float32."""
    note_keys: Array
    """(..., 1 + 2 * voices) int16."""
    note_candidates: Array
    """(..., candidates) int16."""

    def map(self, function: Callable[[Array], _Other]) -> "Inputs[_Other]":
        """Apply a function to each array."""
        return Inputs(*(function(array) for array in self))


def model_inputs(
    tokens: NDArray[np.integer[Any]],
    first_position: int,
    tokenizer: Tokenizer,
    *,
    remaining: int = UNKNOWN,
    notes: NoteTrace | None = None,
) -> Inputs[NDArray[Any]]:
    """The inputs for every token of a piece, with one axis (n,) for the tokens.

    Args:
        tokens: (n,), of the piece.
        first_position: position index of the first token.
        tokenizer: of the piece.
        remaining: the remaining length before the first token.
        notes: what the notes before each token say, if it is known already; by default it is computed.
    """
    notes = notes or _trace(tokens, tokenizer)
    count, tracker = len(tokens), tokenizer.voice_tracker
    return Inputs(
        previous=np.concatenate([[tokenizer.start_token], tokens[:-1]]).astype(np.int64),
        position_indices=tokenizer.positions.indices(first_position, count).astype(np.int64),
        grammar_states=tokenizer.grammar.feature_states(tokens),
        voice_states=np.zeros((count, 0), np.int64) if tracker is None else tracker.states(tokens),
        profile=np.zeros((count, 0), np.float32) if tracker is None else tracker.profile(tokens),
        remaining=tokenizer.remaining_length.before(remaining, tokens)[:-1],
        note_indices=notes.indices,
        note_words=notes.words,
        note_profile=notes.profile,
        note_keys=notes.keys,
        note_candidates=notes.candidates,
    )


def no_notes(*shape: int) -> NoteTrace:
    """Arrays for a network without a note tracker: (*shape, 0)."""
    integers = np.zeros((*shape, 0), np.int16)
    return NoteTrace(integers, integers, np.zeros((*shape, 0), np.float32), integers, integers)


def _trace(tokens: NDArray[np.integer[Any]], tokenizer: Tokenizer) -> NoteTrace:
    if tokenizer.note_tracker is None:
        return no_notes(len(tokens))
    (trace,) = tokenizer.note_tracker.trace([tokens])
    return trace
