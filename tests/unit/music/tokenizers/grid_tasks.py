"""Random tasks for the grid, and an independent check that a written piece does what its task says."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from music.composition.task import ChordSpan, Constraints, Controls, Length, Region, WritingTask
from music.score import NOTE_ORDER, Meter, Note, Score, ScoreAttributes
from music.tokenizers import GridTokenizer

CHORALE = GridTokenizer(
    voices=4,
    lowest_pitch=36,
    highest_pitch=81,
    ranges=((57, 81), (53, 74), (48, 69), (36, 64)),
    voice_order=(0, 3, 2, 1),
)
DUET = GridTokenizer(voices=2, lowest_pitch=48, highest_pitch=79, steps_per_quarter=2, voice_order=(1, 0))
MELODY = GridTokenizer(voices=1, lowest_pitch=55, highest_pitch=84, meters=(Meter(4, 4), Meter(6, 8), Meter(2, 2)))
TOKENIZERS = (CHORALE, DUET, MELODY)

MAJOR = frozenset((0, 2, 4, 5, 7, 9, 11))


def random_task(rng: np.random.Generator, tokenizer: GridTokenizer) -> WritingTask:
    """A task of any kind. Its parts may exclude each other."""
    step = tokenizer.step_ticks
    meter = (*tokenizer.meters, None, Meter(5, 4))[rng.integers(len(tokenizer.meters) + 2)]
    bar = (meter or Meter()).bar_ticks
    pickup = int(rng.integers(4)) * step if rng.random() < 0.3 else 0
    attributes = ScoreAttributes(meter if rng.random() < 0.9 else None, pickup % bar, 90.0, None, 19)
    tonic = int(rng.integers(12))
    scale = frozenset((tonic + tone) % 12 for tone in MAJOR)
    in_scale = rng.random() < 0.4
    given: Score | None = None
    regions: tuple[Region, ...] = ()
    steps = int(rng.integers(4, 60))
    if rng.random() < 0.75:
        given = random_score(rng, tokenizer, steps, scale if in_scale and rng.random() < 0.9 else frozenset(range(12)))
        given = replace(given, meter=attributes.meter, pickup_ticks=attributes.pickup_ticks)
        added = int(rng.integers(1, 30)) if rng.random() < 0.4 else 0
        if not added or rng.random() < 0.5:
            regions = random_regions(rng, tokenizer, given.length_ticks)
        steps = -(-given.length_ticks // step) + added
    is_open = rng.random() < 0.15
    least = int(rng.integers(0, steps + 1)) * step if is_open else 0
    if given is None and meter not in tokenizer.meters:
        attributes = replace(attributes, meter=None)
    constraints = Constraints(
        pitch_classes=scale if in_scale else None,
        tonic=tonic if in_scale and rng.random() < 0.7 else None,
        chords=random_chords(rng, tokenizer, steps, scale if in_scale else None) if rng.random() < 0.4 else (),
        ranges={
            voice: (int(low + rng.integers(0, 4)), int(high - rng.integers(0, 4)))
            for voice, (low, high) in enumerate(tokenizer.ranges)
            if rng.random() < 0.2
        },
        no_rests=bool(rng.random() < 0.4),
        no_parallels=bool(tokenizer.voices > 1 and rng.random() < 0.4),
        natural_ending=bool(not is_open and rng.random() < 0.3),
    )
    controls = Controls(density=float(rng.choice([1.0, 0.2, 4.0]))) if rng.random() < 0.3 else Controls()
    return WritingTask(attributes, Length(steps * step, is_open, least), given, regions, constraints, controls)


def random_score(rng: np.random.Generator, tokenizer: GridTokenizer, steps: int, scale: frozenset[int]) -> Score:
    """A score that may be off the grid, out of range, and have more voices than the model, or overlapping notes."""
    step, is_wild = tokenizer.step_ticks, rng.random() < 0.4
    notes = []
    for voice in range(tokenizer.voices + int(is_wild)):
        low, high = tokenizer.ranges[min(voice, tokenizer.voices - 1)]
        if is_wild and rng.random() < 0.3:
            low, high = 0, 127
        pitches = [pitch for pitch in range(low, high + 1) if pitch % 12 in scale]
        place = int(rng.integers(0, 3))
        while place < steps:
            length = min(int(rng.integers(1, 7)), steps - place)
            onset, duration = place * step, length * step
            if is_wild and rng.random() < 0.3:
                onset = max(0, onset + int(rng.integers(-step, step)))
                duration = max(1, duration + int(rng.integers(-step, 3 * step)))
            notes.append(Note(onset, duration, int(rng.choice(pitches)), int(rng.integers(1, 128)), voice))
            place += length + int(rng.integers(0, 3)) * int(rng.random() < 0.3)
    ends = [note.end for note in notes]
    length = max([1, *ends]) if is_wild else steps * step
    return Score(tuple(sorted(notes, key=NOTE_ORDER)), length)


def random_regions(rng: np.random.Generator, tokenizer: GridTokenizer, length: int) -> tuple[Region, ...]:
    """Regions on and off the grid, of all voices or some."""
    step = tokenizer.step_ticks
    regions = []
    for _ in range(int(rng.integers(1, 4))):
        voices = None
        if rng.random() < 0.6:
            count = int(rng.integers(1, tokenizer.voices + 1))
            voices = frozenset(rng.choice(tokenizer.voices, count, replace=False).tolist())
        start, end = sorted(int(tick) for tick in rng.integers(0, length + 1, 2))
        if rng.random() < 0.7:
            start, end = start // step * step, end // step * step
        if rng.random() < 0.2:
            start, end = 0, length
        if start < end:
            regions.append(Region(start, end, voices))
    return tuple(regions)


def random_chords(
    rng: np.random.Generator, tokenizer: GridTokenizer, steps: int, scale: frozenset[int] | None
) -> tuple[ChordSpan, ...]:
    """Triads and seventh chords, some with a bass, some with free steps between."""
    chords: list[ChordSpan] = []
    place, step = 0, tokenizer.step_ticks
    tones = sorted(scale) if scale else list(range(12))
    while place < steps and len(chords) < 12:
        length = int(rng.integers(1, 9))
        degree = int(rng.integers(len(tones)))
        chord = [tones[(degree + skip) % len(tones)] for skip in ((0, 2, 4) if scale else (0, 4, 7))]
        bass = int(rng.choice(chord)) if rng.random() < 0.3 else None
        chords.append(ChordSpan(place * step, (place + length) * step, frozenset(chord), bass, f"chord {len(chords)}"))
        place += length + int(rng.integers(0, 4)) * int(rng.random() < 0.3)
    return tuple(chords)


def check_piece(
    tokenizer: GridTokenizer, task: WritingTask, score: Score, tokens: NDArray[np.int64], forced: NDArray[np.bool_]
) -> None:
    """Check everything that a task asks for on the finished piece."""
    step, given_notes = tokenizer.step_ticks, task.given.notes if task.given else ()
    given_steps = -(-task.given.length_ticks // step) if task.given else 0
    writable = _writable(tokenizer, task, given_steps, max(score.length_ticks // step, given_steps))

    def is_replaced(note: Note) -> bool:
        place = min(round(note.onset / step), given_steps - 1)
        return note.voice < tokenizer.voices and place < given_steps and bool(writable[place, note.voice])

    kept = Counter(note for note in given_notes if not is_replaced(note))
    found = Counter(score.notes)
    assert not kept - found, "a given note is missing or changed"
    written = sorted((found - kept).elements())
    if not task.length.is_open:
        assert score.length_ticks == max(task.length.max_ticks, *(note.end for note in score.notes), 0)
    for note in written:
        assert note.onset % step == 0
        assert writable[note.onset // step, note.voice], "a note begins outside the regions"
        assert note.velocity == 80
    occupied = np.zeros_like(writable)
    for note in kept.elements():
        if note.voice < tokenizer.voices:
            first = min(round(note.onset / step), given_steps - 1)
            last = min(max(round(note.end / step), round(note.onset / step) + 1), given_steps)
            occupied[first:last, note.voice] = True
    sounding = np.zeros(writable.shape, np.int64)
    for note in written:
        cells = sounding[note.onset // step : -(-note.end // step), note.voice]
        assert (cells == 0).all(), "written notes overlap"
        assert not occupied[note.onset // step : -(-note.end // step), note.voice].any()
        assert note.end <= min([k.onset for k in kept if k.voice == note.voice and k.onset > note.onset], default=10**9)
        cells[:] = note.pitch
    _check_pitches(tokenizer, task, written)
    if task.constraints.no_rests:
        length = score.length_ticks // step
        assert (sounding | ~writable | occupied)[:length].all(), "a written voice rests"
    if task.constraints.no_parallels:
        check_parallels(tokenizer, tokens, forced)
    if task.constraints.natural_ending:
        _check_ending(tokenizer, task, score)


def _writable(tokenizer: GridTokenizer, task: WritingTask, given_steps: int, steps: int) -> NDArray[np.bool_]:
    """(steps, voices): whether a note may be written."""
    writable = np.ones((steps, tokenizer.voices), np.bool_)
    writable[:given_steps] = False
    for region in task.regions:
        assert task.given is not None
        start, end = round(region.start_ticks / tokenizer.step_ticks), round(region.end_ticks / tokenizer.step_ticks)
        if region.end_ticks >= task.given.length_ticks:
            end = given_steps
        for voice in range(tokenizer.voices) if region.voices is None else region.voices:
            writable[start : min(end, given_steps), voice] = True
    return writable


def _check_pitches(tokenizer: GridTokenizer, task: WritingTask, written: list[Note]) -> None:
    constraints, step = task.constraints, tokenizer.step_ticks
    for note in written:
        low, high = tokenizer.ranges[note.voice]
        assert low <= note.pitch <= high
        low, high = constraints.ranges.get(note.voice, (0, 127))
        assert low <= note.pitch <= high
        assert constraints.pitch_classes is None or note.pitch % 12 in constraints.pitch_classes
        for chord in constraints.chords:
            start, end = round(chord.start_ticks / step) * step, round(chord.end_ticks / step) * step
            if note.onset < end and start < note.end:
                assert note.pitch % 12 in chord.pitch_classes
                is_bass = chord.bass is not None and tokenizer.voices > 1 and note.voice == tokenizer.voices - 1
                assert not is_bass or note.pitch % 12 == chord.bass


def check_parallels(tokenizer: GridTokenizer, tokens: NDArray[np.int64], forced: NDArray[np.bool_]) -> None:
    """Every pair of voices, from each step to the next, where at least one of the four tokens was sampled."""
    voices = tokenizer.voices
    pitches = np.full((-(-len(tokens) // voices), voices), -1)
    written = np.zeros(pitches.shape, np.bool_)
    for index, (token, is_forced) in enumerate(zip(tokens, forced, strict=True)):
        step, place = divmod(index, voices)
        voice = tokenizer.voice_order[place]
        written[step, voice] = not is_forced
        name = tokenizer.token_name(int(token))
        if name == "HOLD":
            pitches[step, voice] = pitches[step - 1, voice]
        elif name.startswith("PITCH"):
            pitches[step, voice] = int(name.removeprefix("PITCH_"))
    for (before, was_written), (after, is_written) in pairwise(zip(pitches, written, strict=True)):
        for upper, lower in combinations(range(voices), 2):
            pair = [upper, lower]
            if -1 in before[pair] or -1 in after[pair] or not (was_written[pair] | is_written[pair]).any():
                continue
            motions = np.sign(after[pair] - before[pair])
            if motions[0] == motions[1] != 0:
                intervals = (before[upper] - before[lower]) % 12, (after[upper] - after[lower]) % 12
                assert intervals not in ((7, 7), (0, 0)), "a parallel"


def _check_ending(tokenizer: GridTokenizer, task: WritingTask, score: Score) -> None:
    end = task.length.max_ticks
    step = tokenizer.step_ticks
    last = [note for note in score.notes if note.voice < tokenizer.voices and round(note.end / step) * step >= end]
    assert sorted(note.voice for note in last) == list(range(tokenizer.voices))
    onset = round(last[0].onset / step) * step
    assert all(round(note.onset / step) * step == onset for note in last)
    assert end - onset >= 480
    tonic = task.constraints.tonic
    bass = last[-1].pitch % 12 if tokenizer.voices == 1 else min(last, key=lambda note: note.pitch).pitch % 12
    assert tonic is None or bass == tonic
    if tokenizer.voices > 1:
        assert max(last, key=lambda note: note.voice).pitch % 12 == bass
        tones = {(note.pitch - bass) % 12 for note in last}
        assert tones <= {0, 4, 7} or tones <= {0, 3, 7}
        assert tokenizer.voices < 3 or {3, 4} & tones
