"""Places the notes of a score on the grid of `events`, and fits them into the tokens of their bars."""

from collections import Counter
from collections.abc import Iterable, Sequence

from music.score import Note
from music.tokenizers.event_grammar import note_tokens
from music.tokenizers.event_vocabulary import EventVocabulary

Place = tuple[int, int, int]
"""Step, voice and pitch of a note."""
Sound = tuple[int, int]
"""Duration in steps, and velocity."""
PlacedNote = tuple[Place, Sound]


def place_notes(
    notes: Iterable[Note],
    vocabulary: EventVocabulary,
    step_ticks: int,
    dropped: Counter[str],
    last_step: int | None = None,
) -> dict[Place, Sound]:
    """The notes that are kept, by step, voice and pitch.

    Args:
        notes: to place.
        vocabulary: has the voices and pitches.
        step_ticks: length of a step.
        dropped: counts of notes left out and moved, to which those of these notes are added.
        last_step: later notes move to it; None for no bound.
    """
    placed: dict[Place, Sound] = {}

    def is_off(note: Note) -> bool:
        return note.onset % step_ticks != 0

    def order(note: Note) -> tuple[bool, bool, int, int]:
        return is_off(note), note.end % step_ticks != 0, -note.duration, -note.velocity

    for note in sorted(notes, key=order):
        if not 0 <= note.pitch - vocabulary.lowest_pitch < vocabulary.pitches:
            dropped["out_of_range"] += 1
            continue
        step = round(note.onset / step_ticks)
        if last_step is not None:
            step = min(step, last_step)
        duration = max(round(note.end / step_ticks) - step, 1)
        own = min(note.voice, vocabulary.voices - 1)
        candidates = [own] if is_off(note) else [own, *(set(range(vocabulary.voices)) - {own})]
        voice = next((voice for voice in candidates if (step, voice, note.pitch) not in placed), None)
        if voice is None:
            dropped["doubled"] += 1
            continue
        if is_off(note):
            dropped["off_grid"] += 1
        elif note.end % step_ticks:
            dropped["rounded_duration"] += 1
        elif voice != note.voice:
            dropped["revoiced"] += 1
        placed[step, voice, note.pitch] = duration, note.velocity
    return placed


def fit_bar(
    bar: Sequence[PlacedNote], room: int, longest: int, dropped: Counter[str], *, has_dynamics: bool
) -> list[PlacedNote]:
    """The notes of a bar that fit in `room` tokens: first all notes without their ties, then the ties.

    Args:
        bar: notes in the order of their tokens.
        room: number of tokens.
        longest: steps of the longest DURATION.
        dropped: counts of notes left out and notes shortened, to which this bar's are added.
        has_dynamics: whether the notes have a VELOCITY.
    """
    count = note_tokens(has_dynamics)
    fitting: list[PlacedNote] = []
    now = -1
    for note in bar:
        tokens = count + (note[0][0] != now)
        if tokens > room:
            dropped["too_dense"] += 1
            continue
        room -= tokens
        now = note[0][0]
        fitting.append(note)
    for index, (place, (duration, velocity)) in enumerate(fitting):
        ties = (duration - 1) // longest
        if ties > room:
            dropped["shortened"] += 1
            ties = room
            fitting[index] = place, ((ties + 1) * longest, velocity)
        room -= ties
    return fitting
