"""Random tasks for `events`, a sampler that follows a plan, and an independent check of the finished piece."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from music.composition.guide import NO_BIAS, SAMPLED
from music.composition.task import ChordSpan, Constraints, Controls, Length, Region, WritingTask
from music.grammar import FORBIDDEN
from music.score import DEFAULT_VELOCITY, Meter, Note, Score, ScoreAttributes
from music.tokenizers import EventsTokenizer
from music.tokenizers.event_plan import EventPlan
from music.tokenizers.event_vocabulary import BAR, END

METERS = (Meter(4, 4), Meter(3, 4))
PIANO = EventsTokenizer(
    lowest_pitch=48, highest_pitch=72, positions_per_quarter=4, longest_quarters=1, velocity_bins=4, tempo_bins=3,
    meters=METERS, bar_tokens=64,
)  # fmt: skip
FLUTE = EventsTokenizer(
    lowest_pitch=60, highest_pitch=67, voices=1, positions_per_quarter=3, longest_quarters=2, velocity_bins=1,
    tempo_bins=1, meters=METERS, bar_tokens=96, dynamics=("unknown", "known"),
)  # fmt: skip
TRIO = EventsTokenizer(
    lowest_pitch=40, highest_pitch=60, voices=3, positions_per_quarter=12, longest_quarters=4, velocity_bins=2,
    tempo_bins=1, meters=METERS, bar_tokens=128,
)  # fmt: skip
TOKENIZERS = (PIANO, FLUTE, TRIO)


def random_score(random: Generator, tokenizer: EventsTokenizer, attributes: ScoreAttributes) -> Score:
    """A piece of up to three bars, on the grid or not, some of its notes out of range or in unknown voices."""
    bar_ticks = (attributes.meter or Meter()).bar_ticks
    step = tokenizer.step_ticks if random.random() < 0.6 else 1
    length = int(random.integers(1, 3 * bar_ticks // step + 1)) * step
    low, high = tokenizer.lowest_pitch, tokenizer.highest_pitch
    if random.random() < 0.3:
        low, high = low - 3, high + 3
    voices = tokenizer.voices + (random.random() < 0.1)
    notes = {}
    for _ in range(int(random.choice([0, 1, 3, 10, 40], p=[0.1, 0.1, 0.2, 0.5, 0.1]))):
        onset = int(random.integers(0, -(-length // step))) * step
        duration = int(random.choice([1, 2, 4, 40], p=[0.4, 0.3, 0.25, 0.05])) * tokenizer.step_ticks
        duration = max(duration - int(random.integers(0, 2)) * (step == 1), 1)
        note = Note(
            onset, duration, int(random.integers(low, high + 1)), int(random.integers(1, 128)),
            int(random.integers(0, voices)),
        )  # fmt: skip
        if random.random() < 0.8:
            note = note._replace(duration=max(min(note.end, length) - onset, 1))
        notes[onset, note.voice, note.pitch, random.random() if random.random() < 0.1 else 0] = note
    ordered = tuple(sorted(notes.values(), key=lambda note: (note.onset, note.voice, note.pitch)))
    return Score(ordered, length, attributes.meter, attributes.pickup_ticks, attributes.tempo_bpm)


def random_regions(random: Generator, tokenizer: EventsTokenizer, length: int, bar_ticks: int) -> tuple[Region, ...]:
    """Up to two regions, of bars or steps, of all or some voices."""
    regions = []
    for _ in range(int(random.integers(1, 3))):
        step = tokenizer.step_ticks if random.random() < 0.5 else bar_ticks
        start = int(random.integers(0, max(-(-length // step), 1))) * step
        end = start + int(random.integers(1, 4 if step == bar_ticks else 20)) * step
        if random.random() < 0.2:
            start, end = 0, -(-length // tokenizer.step_ticks) * tokenizer.step_ticks
        elif random.random() < 0.2:  # off the grid
            start, end = start + int(random.integers(0, step)), end + int(random.integers(0, step))
        chosen = frozenset(np.flatnonzero(random.random(tokenizer.voices) < 0.6).tolist())
        regions.append(Region(start, end, chosen if chosen and random.random() < 0.7 else None))
    return tuple(regions)


def random_constraints(random: Generator, tokenizer: EventsTokenizer, max_ticks: int) -> Constraints:
    """Any of scale, chords and ranges, often none."""
    if random.random() < 0.3:
        return Constraints()
    classes = frozenset(random.choice(12, 7, replace=False).tolist()) if random.random() < 0.3 else None
    chords: list[ChordSpan] = []
    if random.random() < 0.5:
        at = int(random.integers(0, 2)) * int(random.integers(0, max_ticks))
        while at < max_ticks + 500 and len(chords) < 12:
            length = int(random.choice([tokenizer.step_ticks, 480, 777, 1920]))
            tones = frozenset(random.choice(12, int(random.integers(3, 6)), replace=False).tolist())
            bass = int(random.choice(sorted(tones))) if random.random() < 0.4 else None
            chords.append(ChordSpan(at, at + length, tones, bass))
            at += length + int(random.integers(0, 2)) * int(random.integers(0, 500))
    ranges = {}
    for voice in range(tokenizer.voices):
        if random.random() < 0.3:
            low = int(random.integers(tokenizer.lowest_pitch, tokenizer.highest_pitch - 2))
            ranges[voice] = (low, low + int(random.integers(2, 14)))
    return Constraints(pitch_classes=classes, chords=tuple(chords), ranges=ranges)


def random_controls(random: Generator, tokenizer: EventsTokenizer) -> Controls:
    """Densities, often 1."""
    density = float(np.exp(random.normal())) if random.random() < 0.3 else 1.0
    chosen = np.flatnonzero(random.random(tokenizer.voices) < 0.2).tolist() if tokenizer.voices > 1 else ()
    return Controls(density, {voice: float(np.exp(random.normal())) for voice in chosen})


def random_task(random: Generator, tokenizer: EventsTokenizer) -> WritingTask:
    """A task of any kind; it may be a contradiction."""
    meter = (*METERS, None)[int(random.integers(0, 3))]
    step, bar_ticks = tokenizer.step_ticks, (meter or Meter(1, 4)).bar_ticks
    pickup = int(random.integers(0, bar_ticks // step)) * step if random.random() < 0.4 else 0
    tempo, has_dynamics = float(random.integers(20, 300)), bool(random.integers(0, 2))
    attributes = ScoreAttributes(meter, pickup, tempo, has_dynamics=has_dynamics)
    given = random_score(random, tokenizer, attributes) if random.random() < 0.8 else None
    length = 0 if given is None else max([given.length_ticks, *(note.onset + 1 for note in given.notes)])
    regions = (
        random_regions(random, tokenizer, length, bar_ticks) if given is not None and random.random() < 0.7 else ()
    )
    added = int(random.integers(1, 3 * bar_ticks // step)) if not regions or random.random() < 0.3 else 0
    max_ticks = (-(-length // step) + added) * step
    is_open = added > 0 and random.random() < 0.3
    minimum = int(random.integers(0, max_ticks + 1)) if is_open else 0
    return WritingTask(
        attributes, Length(max_ticks, is_open, minimum), given, regions,
        random_constraints(random, tokenizer, max_ticks), random_controls(random, tokenizer),
    )  # fmt: skip


@dataclass
class Run:
    """What a plan was followed to."""

    tokens: list[int] = field(default_factory=list)
    resampled_after: list[int] = field(default_factory=list)
    """Numbers of tokens after which particles may be resampled."""
    forced: int = 0
    reason: str = "max_tokens"

    @property
    def array(self) -> NDArray[np.int64]:
        return np.array(self.tokens)


def follow(
    plan: EventPlan, tokenizer: EventsTokenizer, seed: int, limit: Callable[[], int], spread: float = 2.0
) -> Run:
    """Follow a plan to its end as the engine does, with random logits that depend on seed and number of the token."""
    run, grammar, state = Run(), tokenizer.grammar, tokenizer.grammar.joint_start
    cursor = None if plan.guide is None else plan.guide.cursor()
    stops = 0
    while len(run.tokens) < plan.max_tokens:
        if cursor is None:
            forced = np.array([plan.primer[len(run.tokens)] if len(run.tokens) < len(plan.primer) else SAMPLED])
            rows, biases, resample = np.array([NO_BIAS]), np.zeros((1, tokenizer.vocabulary_size)), False
        else:
            assert plan.guide is not None
            if cursor.complete:
                run.reason = "complete"
                return run
            told = cursor.instructions(limit())
            forced, rows, resample = told.forced, told.bias, told.resample
            biases = np.concatenate([plan.guide.biases, *(row[None] for row in told.extra)])
            assert len(forced) == len(rows) >= 1
        new: list[int] = []
        for token, row in zip(forced.tolist(), rows.tolist(), strict=True):
            legal = grammar.joint_allowed(state).copy()
            if token == SAMPLED:
                legal[END] &= plan.may_end
                legal &= biases[row] > FORBIDDEN / 2
                assert legal.any(), "no token is left"
                noise = np.random.default_rng((seed, len(run.tokens) + len(new)))
                logits = noise.gumbel(size=len(legal)) + spread * noise.normal(size=len(legal))
                logits[BAR] += 3 * noise.normal()
                token = int(np.argmax(np.where(legal, logits + biases[row], -np.inf)))
            else:
                assert legal[token], f"{tokenizer.token_name(token)} is forced and not legal"
                assert token != END
                run.forced += 1
            new.append(token)
            state = grammar.joint_successor(state, token)
            stops += token == plan.stop_token
            if token == END or stops == plan.stop_count or len(run.tokens) + len(new) == plan.max_tokens:
                run.reason = "end" if token == END else "stop" if stops == plan.stop_count else "max_tokens"
                break
        run.tokens += new
        if len(new) < len(forced) or run.reason != "max_tokens":
            return run
        if cursor is not None:
            cursor = cursor.copy()
            cursor.advance(np.array(new))
        if resample:
            run.resampled_after.append(len(run.tokens))
    if cursor is not None and cursor.complete:
        run.reason = "complete"
    return run


def in_regions(task: WritingTask, step_ticks: int, onset: int, voice: int) -> bool:
    """Whether the step nearest to an onset is in a region of the voice; regions end at the nearest steps too."""
    given = task.given
    if given is None:
        return False
    length = max([given.length_ticks, *(note.onset + 1 for note in given.notes)])
    steps = -(-length // step_ticks)
    step = min(round(onset / step_ticks), steps - 1)
    return any(
        round(region.start_ticks / step_ticks) <= step
        and (step < round(region.end_ticks / step_ticks) or region.end_ticks >= given.length_ticks)
        and (region.voices is None or voice in region.voices)
        for region in task.regions
    )


def check_piece(task: WritingTask, tokenizer: EventsTokenizer, score: Score) -> list[Note]:
    """Check a finished piece against its task; return the written notes."""
    given = () if task.given is None else task.given.notes
    kept = Counter(note for note in given if not in_regions(task, tokenizer.step_ticks, note.onset, note.voice))
    notes = Counter(score.notes)
    assert kept <= notes, f"given notes are missing: {kept - notes}"
    assert list(score.notes) == sorted(score.notes, key=lambda note: (note.onset, note.voice, note.pitch))
    length = task.length
    last = max((note.end for note in kept), default=0)
    if length.is_open:
        assert length.min_ticks <= score.length_ticks <= max(length.max_ticks, last)
    else:
        assert score.length_ticks == max(length.max_ticks, last)
    written = sorted((notes - kept).elements())
    assert score.has_dynamics == task.attributes.has_dynamics
    assert score.has_dynamics or all(note.velocity == DEFAULT_VELOCITY for note in written)
    step = tokenizer.step_ticks
    given_end = 0 if task.given is None else max([task.given.length_ticks, *(note.onset + 1 for note in given)])
    given_places = {(note.onset, note.voice, note.pitch) for note in kept}
    for note in written:
        assert note.onset % step == 0
        assert note.end <= min(score.length_ticks, length.max_ticks)
        assert note.end % step == 0
        in_added = note.onset >= -(-given_end // step) * step
        assert in_added or in_regions(task, step, note.onset, note.voice), f"{note} is outside of all regions"
        assert (note.onset, note.voice, note.pitch) not in given_places
        check_note(task.constraints, tokenizer, note)
    check_basses(task.constraints, tokenizer, written)
    return written


def check_note(constraints: Constraints, tokenizer: EventsTokenizer, note: Note) -> None:
    low, high = constraints.ranges.get(note.voice, (0, 127))
    assert max(low, tokenizer.lowest_pitch) <= note.pitch <= min(high, tokenizer.highest_pitch)
    assert 0 <= note.voice < tokenizer.voices
    assert constraints.pitch_classes is None or note.pitch % 12 in constraints.pitch_classes
    for chord in constraints.chords:
        if note.onset < chord.end_ticks and chord.start_ticks < note.end:
            assert note.pitch % 12 in chord.pitch_classes, f"{note} sounds during {chord}"


def check_basses(constraints: Constraints, tokenizer: EventsTokenizer, written: list[Note]) -> None:
    for chord in constraints.chords:
        if chord.bass is None or tokenizer.voices == 1:
            continue
        lowest_voice = [
            (note.onset, note.pitch)
            for note in written
            if note.voice == tokenizer.voices - 1 and chord.start_ticks <= note.onset < chord.end_ticks
        ]
        if lowest_voice:
            assert min(lowest_voice)[1] % 12 == chord.bass
            assert min(pitch for _, pitch in lowest_voice) % 12 == chord.bass
