"""The state of a sequence, by name of the decode graphs' inputs, and how arrays of it hold many slots.

`h` and `c` are the LSTM's state. The other values advance with every token by table lookups: the position index, the
joint state of the grammar, the remaining length if the network gets it, and either the previous token or, if the
network gets voice states, the row of `music.linear_voice_tracker`, which contains the previous token. A network that
sees the notes of `events` adds the state of `music.tokenizers.note_tracker`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.graph_names import NOTE_PROFILE, NOTE_STATE, POSITION, REMAINING, VOICE_STATE
from music.linear_voice_tracker import LinearVoiceTracker
from music.remaining_length import UNKNOWN

StateArrays = Mapping[str, NDArray[Any]]
"""State by name: of one slot, h and c (layers, hidden), or of several, h and c (layers, slots, hidden) and the others
(slots, ...)."""

_LAYERED: Final = ("h", "c")
"""Arrays with the layers on the first axis and the slots on the second."""


def linear_voice_tracker(bundle: Bundle) -> LinearVoiceTracker | None:
    """The voice tracker in row form; None if the network gets no voice states."""
    tracker = bundle.tokenizer.voice_tracker
    return LinearVoiceTracker(tracker) if tracker is not None and bundle.network.voice_state_size else None


def initial_state(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """A slot's state before the first token: position index 0, an unknown length; h and c (layers, hidden) are zero."""
    network, tokenizer, linear = bundle.network, bundle.tokenizer, linear_voice_tracker(bundle)
    zeros = np.zeros((network.layers, network.hidden), np.float32)
    state: dict[str, NDArray[Any]] = {
        **dict.fromkeys(_LAYERED, zeros),
        POSITION: np.zeros((), np.int64),
        "grammar": np.array(tokenizer.grammar.joint_start, np.int64),
    }
    if network.length_input:
        state[REMAINING] = np.array(UNKNOWN, np.int64)
    if network.note_state_size:
        tracker = tokenizer.note_tracker
        assert tracker is not None  # load_bundle checks it
        state[NOTE_STATE], state[NOTE_PROFILE] = tracker.initial_row, tracker.initial_profile
    if linear is None:
        return state | {"token": np.array(tokenizer.start_token, np.int64)}
    return state | {VOICE_STATE: linear.initial(tokenizer.start_token)}


def start_values(start: StateArrays, position_index: int, remaining: int) -> dict[str, NDArray[Any]]:
    """The values of a slot's initial state that differ from sequence to sequence.

    Args:
        start: what `initial_state` returned.
        position_index: of the first token.
        remaining: the remaining length, or `UNKNOWN`; ignored if the network does not get it.
    """
    values = {POSITION: position_index, REMAINING: remaining}
    return {name: np.array(value, np.int64) for name, value in values.items() if name in start}


def stack_starts(
    start: StateArrays, first_positions: Sequence[int], remaining: Sequence[int] | None = None
) -> dict[str, NDArray[Any]]:
    """Arrays of several slots before their first tokens.

    Args:
        start: what `initial_state` returned.
        first_positions: position index of each slot's first token.
        remaining: each slot's remaining length; None if it is not known, or the network does not get it.
    """
    count = len(first_positions)
    known = [UNKNOWN] * count if remaining is None else remaining
    starts = [start_values(start, position, left) for position, left in zip(first_positions, known, strict=True)]
    return stack_slots(start, count) | {name: np.array([values[name] for values in starts]) for name in starts[0]}


def slot_axis(name: str) -> int:
    """The axis of an array of this name that counts the slots."""
    return int(name in _LAYERED)


def by_slot(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """A view of an array with the slots on the first axis."""
    return values.swapaxes(0, slot_axis(name))


def stack_slots(rows: Mapping[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
    """Arrays of `count` slots that all have one slot's state."""
    return {name: np.ascontiguousarray(np.stack([value] * count, axis=slot_axis(name))) for name, value in rows.items()}
