"""The features of `NoteTracker`, computed anew from all tokens before: the reference for the code that advances."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from music.tokenizers.event_vocabulary import BAR, FIRST_POSITION, START, TIE, EventVocabulary
from music.tokenizers.note_tracker import (
    BARS_AGO,
    DECAYS,
    MAX_BARS,
    MAX_MATCH,
    ONSETS,
    ORDERS,
    PITCH_CLASSES,
    SYMBOLS,
    NoteTracker,
)


@dataclass
class Onset:
    step: int
    keys: dict[int, list[int]]
    """Of each voice, in order."""
    durations: dict[int, int] = field(default_factory=dict)


@dataclass
class Past:
    """What the tokens say, in plain lists."""

    lines: list[int]
    bar_steps: int
    place: int
    placed: bool
    onsets: list[Onset]
    keys: list[int]
    last_chords: dict[int, list[int]]
    voice: int
    ties: int
    note_duration: int
    voice_durations: dict[int, int]
    voice_velocities: dict[int, int]
    ends: dict[int, int]


def read(v: EventVocabulary, tokens: Sequence[int]) -> Past:
    past = Past([0], 0, 0, False, [], [], {}, 0, 0, 0, {}, {}, {})
    header = True
    for token in tokens:
        if v.first_meter <= token < v.first_pitch:
            past.bar_steps = v.bar_steps[token - v.first_meter]
        elif token == BAR:
            past.lines.append(past.lines[-1] + past.bar_steps)
            past.place, past.placed = 0, False
        elif token >= v.first_pitch:
            past.voice, key = divmod(token - v.first_pitch, v.pitches)
            past.keys.append(key)
            own = past.onsets[-1].keys.setdefault(past.voice, [])
            own.append(key)
            past.last_chords[past.voice] = own
            past.ties = 0
        elif token == TIE:
            past.ties += 1
        elif v.first_duration <= token < v.first_velocity:
            steps = past.ties * v.durations + token - v.first_duration + 1
            past.note_duration = past.voice_durations[past.voice] = steps
            past.onsets[-1].durations.setdefault(past.voice, steps)
            end = past.lines[-1] + past.place + steps
            past.ends[past.keys[-1]] = max(past.ends.get(past.keys[-1], 0), end)
        elif v.first_velocity <= token < v.first_tempo:
            past.voice_velocities[past.voice] = token - v.first_velocity + 1
        elif FIRST_POSITION <= token < v.first_duration:
            past.place = token - FIRST_POSITION
            past.note_duration = 0
            if header:
                header = False
            else:
                past.placed = True
                past.onsets.append(Onset(past.lines[-1] + past.place, {}))
    return past


def symbols_of(v: EventVocabulary, tokens: Sequence[int]) -> list[int]:
    """The symbols of the tokens that matches count: a PITCH by its voice and its interval from the last key."""
    found: list[int] = []
    last = v.pitches
    for token in tokens:
        if token >= v.first_pitch:
            voice, key = divmod(token - v.first_pitch, v.pitches)
            found.append(v.first_pitch + 256 * voice + 128 + key - last)
            last = key
        elif not v.first_velocity <= token < v.first_tempo:
            found.append(token)
    return found


class Matches:
    """The symbol after the latest earlier occurrence of the last ones, followed while it is right.

    A context is known by a polynomial of its symbols. Of the contexts with the same 12 bits the latest is remembered.
    """

    def __init__(self, v: EventVocabulary) -> None:
        self.v = v
        self.seen: list[dict[int, tuple[int, int]]] = [{} for _ in ORDERS]
        self.found = [-1] * len(ORDERS)
        self.lengths = [0] * len(ORDERS)

    def follow(self, symbols: list[int]) -> None:
        """Look at the last symbol."""
        count = len(symbols)
        for index, order in enumerate(ORDERS):
            hit = self.found[index] >= 0 and symbols[self.found[index]] == symbols[-1]
            context = sum(symbol * 1583458089**power for power, symbol in enumerate(symbols[-order:][::-1])) % (
                2**31 - 1
            )
            place, known = self.seen[index].get(context % 4096, (-1, -1))
            self.found[index] = place if known == context // 4096 % 32768 and count - place < SYMBOLS else -1
            self.lengths[index] = min(self.lengths[index] + 1, MAX_MATCH) if hit and self.found[index] >= 0 else 0
            self.seen[index][context % 4096] = count, context // 4096 % 32768

    def token(self, index: int, symbols: list[int], last: int | None) -> int:
        """The token that the match suggests; -1 for none."""
        if self.found[index] < 0:
            return -1
        symbol = symbols[self.found[index]]
        if symbol < self.v.first_pitch:
            return symbol
        voice, interval = divmod(symbol - self.v.first_pitch, 256)
        if last is None or not 0 <= last + interval - 128 < self.v.pitches:
            return -1
        return self.v.pitch(voice, last + interval - 128 + self.v.lowest_pitch)


@dataclass
class Reference:
    indices: list[int]
    sets: list[set[int]]
    """In the order of `NoteTrace.words`."""
    profile: list[float]
    keys: list[int]
    candidates: list[int]


def reference(tracker: NoteTracker, v: EventVocabulary, tokens: Sequence[int], matches: Matches) -> Reference:
    past = read(v, tokens)
    none, voices = v.pitches, range(v.voices)
    line, bars = past.lines[-1], len(past.lines) - 1
    now = line + past.place
    onsets = past.onsets[-ONSETS:]
    chord = onsets[-1].keys if past.placed else {}
    steps: list[int | None] = []
    there: list[Onset | None] = []
    for ago in BARS_AGO:
        if ago > bars:
            steps.append(None)
            there.append(None)
            continue
        begin, end = past.lines[-1 - ago], past.lines[-ago]
        later = [onset.step for onset in onsets if begin + past.place + past.placed <= onset.step < end]
        steps.append(min(later) - begin if later else -1)
        at = [onset for onset in onsets if onset.step == begin + past.place]
        there.append(at[0] if at and past.placed else None)
    past_durations = [0 if onset is None else onset.durations.get(past.voice, 0) for onset in there]
    durations = [*past_durations, *(past.voice_durations.get(voice, 0) for voice in voices), past.note_duration]
    velocity = past.voice_velocities.get(past.voice, 0)
    symbols = symbols_of(v, tokens)
    last = past.keys[-1] if past.keys else None
    matched = [matches.token(index, symbols, last) for index in range(len(ORDERS))]

    candidates = [-1 if step is None else BAR if step < 0 else FIRST_POSITION + step for step in steps]
    for duration in durations:
        rest = duration - past.ties * v.durations
        candidates.append(TIE if rest > v.durations else v.first_duration + rest - 1 if rest > 0 else -1)
    candidates.append(v.first_velocity + velocity - 1 if velocity else -1)
    candidates += matched

    most = max(v.bar_steps)
    low = [min(past.last_chords[voice]) if voice in past.last_chords else none for voice in voices]
    high = [max(past.last_chords[voice]) if voice in past.last_chords else none for voice in voices]
    recent = [none] * 3 + past.keys
    root = recent[-1]
    intervals = [
        0 if none in (root, other) else root - other + v.pitches for other in (recent[-2], recent[-3], *low, *high)
    ]
    indices = [[START, START, *tokens][-2]]
    for step in steps:
        indices.append(2 * most + 2 if step is None else 2 * most + 1 if step < 0 else step - past.place + most)
    indices += [min(duration, v.durations) for duration in durations]
    indices += [velocity, *intervals, root]
    indices += [v.size if token < 0 else token for token in matched]
    indices += [*matches.lengths, min(bars, MAX_BARS)]

    sets = [set(chord.get(voice, ())) for voice in voices]
    sets += [set(past.last_chords.get(voice, ())) for voice in voices]
    sets += [set(onset.keys.get(voice, ()) if onset else ()) for onset in there for voice in voices]
    sets.append({key for key, end in past.ends.items() if end > now})
    profile = np.zeros((len(DECAYS), PITCH_CLASSES), np.float32)
    for key in past.keys:
        profile *= np.array(DECAYS, np.float32)[:, None]
        profile[:, key % PITCH_CLASSES] += 1
    return Reference(indices, sets, profile.reshape(-1).tolist(), [root, *low, *high], candidates)
