"""Random given pieces: short, mostly in range and on the grid."""

import random
from collections.abc import Collection
from math import lcm
from typing import Final

from bench.fuzz.facts import TICKS_PER_QUARTER, ModelFacts
from bench.fuzz.midi_files import small_file
from fantasia.v1 import generation_pb2 as pb

MAX_STEPS: Final = 32
"""Maximum length of a given piece in steps of the grid."""
_DURATIONS: Final = (1, 1, 2, 2, 4, 4, 8)
"""Of notes, in steps."""


def random_given(rng: random.Random, model: ModelFacts, pitch_classes: Collection[int]) -> pb.GivenPiece:
    """A piece as notes or MIDI.

    Args:
        rng: decides.
        model: it is for.
        pitch_classes: of its notes, for most pieces.
    """
    given = pb.GivenPiece()
    count = model.voices if rng.random() < 0.6 else rng.randint(1, model.voices)
    places = list(range(model.voices))
    if rng.random() < 0.5:
        places = rng.sample(places, count)
        given.voices.extend(places)
        if rng.random() < 0.2:
            del given.voices[rng.randint(1, count) :]
    if rng.random() < 0.05:
        count += 1  # a voice that the model does not have
    choices = [
        _pitches(rng, model, places[voice] if voice < len(places) else 0, pitch_classes) for voice in range(count)
    ]
    if rng.random() < 0.35:
        given.midi = small_file(rng, pitches=choices)
    else:
        given.notes.CopyFrom(_note_list(rng, model, choices))
    return given


def _pitches(rng: random.Random, model: ModelFacts, voice: int, pitch_classes: Collection[int]) -> list[int]:
    low, high = model.ranges[voice]
    if rng.random() < 0.03:
        low, high = 0, 127
    return [pitch for pitch in range(low, high + 1) if pitch % 12 in pitch_classes]


def _note_list(rng: random.Random, model: ModelFacts, choices: list[list[int]]) -> pb.NoteList:
    notes = pb.NoteList()
    resolution = TICKS_PER_QUARTER
    if rng.random() < 0.2:
        resolution = notes.ticks_per_quarter = rng.choice((96, 120, 480, 960, 1000))
    step = model.step_ticks * resolution / TICKS_PER_QUARTER
    steps = rng.randint(2, MAX_STEPS)
    is_loose = rng.random() < 0.1
    if rng.random() < 0.7:
        numerator, denominator = rng.choice((*model.meters, (4, 4), (5, 4)))
        notes.meter.numerator, notes.meter.denominator = numerator, denominator
    if rng.random() < 0.15:
        unit = lcm(model.step_ticks, TICKS_PER_QUARTER // 8)  # of the grid, and a 32nd
        notes.pickup_ticks = round(unit * resolution / TICKS_PER_QUARTER * rng.randint(1, 3))
    if rng.random() < 0.3:
        notes.tempo_bpm = rng.uniform(40, 200)
    for voice, pitches in enumerate(choices):
        place = 0 if rng.random() < 0.8 else rng.randint(0, 3)
        while place < steps:
            duration = min(rng.choice(_DURATIONS), steps - place)
            start, end = round(place * step), round((place + duration) * step)
            if is_loose:
                start += rng.randint(0, max(round(step) - 1, 0))
                end = max(end + rng.randint(-round(step), round(step)), start + 1)
            velocity = rng.choice((0, 1, 64, 80, 127))
            notes.notes.add(
                onset_ticks=start, duration_ticks=end - start, pitch=rng.choice(pitches), velocity=velocity, voice=voice
            )
            place += duration + (rng.randint(1, 3) if rng.random() < 0.1 else 0)
    if rng.random() < 0.2:
        ends = max((note.onset_ticks + note.duration_ticks for note in notes.notes), default=1)
        notes.length_ticks = ends + rng.randint(0, 3 * round(step))
    return notes
