"""Which tokens make up each note of an encoded piece."""

from functools import singledispatch
from typing import NamedTuple

import numpy as np

from music.score import DEFAULT_VELOCITY, NOTE_ORDER, Note
from music.tokenizers.base import Tokenizer, Tokens
from music.tokenizers.events import EventsTokenizer
from music.tokenizers.grid import GridTokenizer
from music.tokenizers.grid_vocabulary import FIRST_PITCH, HOLD
from music.tokenizers.notechord import NoteChordTokenizer


class NoteTokens(NamedTuple):
    """A note and its tokens."""

    note: Note
    """As the tokens have it."""
    places: list[int]
    """Indices of its tokens: its onset, and that it is held. A token may be shared by notes that begin together."""


@singledispatch
def note_tokens(tokenizer: Tokenizer, tokens: Tokens) -> list[NoteTokens]:
    """The notes of a piece in the order of a score, with their tokens.

    Args:
        tokenizer: of the tokens.
        tokens: (n,), of a whole piece, with or without the end token.
    """
    raise NotImplementedError(tokenizer.name)


@note_tokens.register
def _of_grid(tokenizer: GridTokenizer, tokens: Tokens) -> list[NoteTokens]:
    """A note is its pitch and the HOLD tokens after it."""
    notes: list[NoteTokens] = []
    ids = _without_end(tokenizer, tokens)
    for place, voice in enumerate(tokenizer.voice_order):
        line = ids[place :: tokenizer.voices]
        began = [step for step, token in enumerate(line) if token != HOLD]
        for step, after in zip(began, [*began[1:], len(line)], strict=True):
            if line[step] >= FIRST_PITCH:
                places = [place + each * tokenizer.voices for each in range(step, after)]
                pitch = line[step] - FIRST_PITCH + tokenizer.lowest_pitch
                onset, duration = step * tokenizer.step_ticks, (after - step) * tokenizer.step_ticks
                notes.append(NoteTokens(Note(onset, duration, pitch, voice=voice), places))
    return _in_order(notes)


@note_tokens.register
def _of_events(tokenizer: EventsTokenizer, tokens: Tokens) -> list[NoteTokens]:
    """A note is PITCH, TIE and DURATION, and VELOCITY if the piece has dynamics."""
    v, notes = tokenizer.vocabulary, []
    decoder = tokenizer.decoder()
    places: list[int] = []
    pitch = duration = 0
    has_dynamics = True
    for place, token in enumerate(_without_end(tokenizer, tokens)):
        decoder.feed([token])
        if token >= v.first_pitch:
            pitch, duration, places = token - v.first_pitch, 0, [place]
        elif v.first_dynamics <= token < v.first_meter:
            has_dynamics = v.has_dynamics(token)
        elif places:
            places.append(place)
            velocity = DEFAULT_VELOCITY
            if token >= v.first_velocity:
                velocity = v.velocities[token - v.first_velocity]
            else:
                duration += v.durations if token < v.first_duration else token - v.first_duration + 1
            if token >= (v.first_velocity if has_dynamics else v.first_duration):
                voice, step = divmod(pitch, v.pitches)
                ticks = duration * tokenizer.step_ticks
                note = Note(decoder.length_ticks, ticks, step + tokenizer.lowest_pitch, velocity, voice)
                notes.append(NoteTokens(note, places))
                places = []
    return _in_order(notes)


@note_tokens.register
def _of_notechord(tokenizer: NoteChordTokenizer, tokens: Tokens) -> list[NoteTokens]:
    """All notes of a chord share its token."""
    step = tokenizer.step_ticks
    return [
        NoteTokens(Note(place * step, step, pitch), [place])
        for place, token in enumerate(_without_end(tokenizer, tokens))
        for pitch in tokenizer.pitches(token)
    ]


def _without_end(tokenizer: Tokenizer, tokens: Tokens) -> list[int]:
    ends = np.flatnonzero(tokens == tokenizer.end_token)
    ids: list[int] = tokens[: ends[0] if ends.size else len(tokens)].tolist()
    return ids


def _in_order(notes: list[NoteTokens]) -> list[NoteTokens]:
    return sorted(notes, key=lambda each: NOTE_ORDER(each.note))
