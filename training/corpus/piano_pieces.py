"""Piano pieces as the model trains on them: two hands, one meter, and bars that add up.

The voices of a piece are its hands, 0 the right one and 1 the left one. A piece is cut into sections wherever its meter
changes or a bar is not as long as the meter says, so that every section has a meter, and a pickup, that tell where its
bars begin.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import DEFAULT_VELOCITY, NOTE_ORDER, TICKS_PER_QUARTER, Meter, Note, Score
from training.corpus.pickup import find_pickup
from training.corpus.prepare import FileScores
from training.corpus.sources import Source
from training.corpus.store import CompactScore
from training.readers import MIDI_SUFFIXES, Reading, read_file
from training.readers.reading import PlayedBar

_STEP_TICKS: Final = TICKS_PER_QUARTER // 24
"""Two notes of a hand with one pitch are one if their onsets are nearest to the same multiple of this."""
_PIANO: Final = 0
_HARPSICHORD: Final = 6
_MAX_EQUAL_VELOCITIES: Final = 0.95
"""If more than this part of the notes of a piece have one velocity, its dynamics are unknown."""
_MIN_BARS: Final = 4
"""A section of fewer bars joins the section before."""


@dataclass(slots=True)
class Section:
    """Consecutive bars of one meter, of which only the first and the last may have another length."""

    bars: list[PlayedBar]
    meter: Meter | None
    end: int
    """Ticks from the start of the piece, as in `bars`."""

    @property
    def begin(self) -> int:
        """Its first tick."""
        return self.bars[0].tick

    @property
    def bar_count(self) -> int:
        """Number of its bars, of 4/4 if it has no meter."""
        return len(self.bars) if self.meter else (self.end - self.begin) // Meter().bar_ticks

    @property
    def pickup_ticks(self) -> int:
        """Length of an incomplete first bar; 0 if there is none."""
        if self.meter is None or len(self.bars) == 1:
            return 0
        first = self.bars[1].tick - self.begin
        return first if first < self.meter.bar_ticks else 0


def read_piano_file(source: Source) -> FileScores:
    """Read the sections of one piano file; if there are several, they are named `name#1`, `name#2` and so on.

    Raises:
        InvalidScoreError: the file cannot be read, has more than two staves, or no section of four bars.
    """
    file = read_file(source.path, source.name, source.options)
    scores: list[tuple[str, CompactScore, NoteCounts]] = []
    for reading in file.readings:
        scores += hands_and_sections(reading, states_pickup=source.path.suffix not in MIDI_SUFFIXES)
    return FileScores(scores, file.skipped)


def hands_and_sections(reading: Reading, *, states_pickup: bool) -> list[tuple[str, CompactScore, NoteCounts]]:
    """The sections of a piece: name, score and note counts of each. The first one has the counts of the whole file.

    Args:
        reading: with the staves as voices.
        states_pickup: whether its first bar is as long as the file says. Otherwise the notes have to tell, and a
            section whose notes do not has no meter.

    Raises:
        InvalidScoreError: the piece has more than two staves, or no section of four bars.
    """
    score = reading.score
    if score.voices > 2:
        raise InvalidScoreError(f"has {score.voices} staves with notes; a piano piece has at most 2")
    counts = reading.counts
    score = _with_dynamics(replace(score, program=score.program if score.program == _HARPSICHORD else _PIANO))
    notes = merge_keys(score.notes, counts)
    bars = list(reading.bars) or [PlayedBar(0, None, score.key_sharps, score.tempo_bpm)]
    sections = _join_short(cut_at_changes(bars, score.length_ticks), counts)
    cut = [_cut(score, notes, section, counts) for section in sections]
    pieces = [piece if states_pickup else _with_pickup(piece, counts) for piece in cut if piece.notes]
    if not pieces:
        raise InvalidScoreError(f"no section of at least {_MIN_BARS} bars with one meter in it")
    kept = sum(len(piece.notes) for piece in pieces)
    counts.left_out["short_section"] += len(notes) - kept
    counts.kept = kept
    own = [NoteCounts(written=len(piece.notes), kept=len(piece.notes)) for piece in pieces]
    counts.written -= kept - own[0].kept
    counts.kept = own[0].kept
    own[0] = counts
    names = [reading.name] if len(pieces) == 1 else [f"{reading.name}#{n}" for n in range(1, len(pieces) + 1)]
    return [(name, CompactScore.of(piece), c) for name, piece, c in zip(names, pieces, own, strict=True)]


def _with_dynamics(score: Score) -> Score:
    """The score with dynamics if its velocities really vary, else with equal velocities."""
    velocities = Counter(note.velocity for note in score.notes)
    if max(velocities.values()) <= _MAX_EQUAL_VELOCITIES * len(score.notes):
        return replace(score, has_dynamics=True)
    notes = tuple(note._replace(velocity=DEFAULT_VELOCITY) for note in score.notes)
    return replace(score, notes=notes, has_dynamics=False)


def _with_pickup(score: Score, counts: NoteCounts) -> Score:
    """The score with the pickup that its notes tell, or without a meter if they do not tell."""
    if score.meter is None or score.pickup_ticks:
        return score
    found = find_pickup(score)
    if found is None or not found.sure:
        counts.other["meters_unsure"] += 1
        return replace(score, meter=None)
    counts.other["pickups_found"] += found.ticks > 0
    return replace(score, pickup_ticks=found.ticks)


def merge_keys(notes: Sequence[Note], counts: NoteCounts) -> list[Note]:
    """The notes that two hands can play on one keyboard: in each hand, a key is struck once at a time.

    Of notes with one hand, pitch and onset the longest remains. A note that still sounds when its key is struck again
    ends there.

    Args:
        notes: in the order of a score.
        counts: to which notes left out (`doubled_key`) and changed (`key_struck_again`) are added.
    """
    kept: dict[tuple[int, int, int], Note] = {}
    for note in notes:
        place = note.voice, note.pitch, round(note.onset / _STEP_TICKS)
        other = kept.get(place)
        if other is None:
            kept[place] = note
            continue
        counts.left_out["doubled_key"] += 1
        onset, end = min(other.onset, note.onset), max(other.end, note.end)
        kept[place] = other._replace(onset=onset, duration=end - onset, velocity=max(other.velocity, note.velocity))
    merged: list[Note] = []  # in the order of their onsets
    sounding: dict[tuple[int, int], int] = {}
    for note in sorted(kept.values()):
        key = note.voice, note.pitch
        last = sounding.get(key)
        if last is not None and merged[last].end > note.onset:
            merged[last] = merged[last]._replace(duration=note.onset - merged[last].onset)
            counts.changed["key_struck_again"] += 1
        sounding[key] = len(merged)
        merged.append(note)
    return sorted(merged, key=NOTE_ORDER)


def cut_at_changes(bars: Sequence[PlayedBar], length: int) -> list[Section]:
    """Cut a piece where its meter changes, before a bar that is too short, and after a bar that is too long.

    So a short bar is the pickup of a section, or the end of one if the meter changes after it. Bars that together are
    as long as one bar are one, as before and after a repeat sign within a bar. 4/4 and 2/2 are not different here.

    Args:
        bars: of the whole piece.
        length: ticks of the piece.
    """
    bars = _whole_bars(bars, length)
    ends = [*(bar.tick for bar in bars[1:]), length]
    sections: list[Section] = []
    for index, (bar, end) in enumerate(zip(bars, ends, strict=True)):
        meter = _meter(bar)
        same_meter = index > 0 and _same_bars(meter, _meter(bars[index - 1]))
        goes_on = index + 1 < len(bars) and _same_bars(meter, _meter(bars[index + 1]))
        is_pickup = meter is not None and goes_on and end - bar.tick < meter.bar_ticks
        after_long = index > 0 and meter is not None and bar.tick - bars[index - 1].tick > meter.bar_ticks
        if not same_meter or is_pickup or after_long:
            sections.append(Section([bar], meter, end))
        else:
            sections[-1].bars.append(bar)
            sections[-1].end = end
    return sections


def _whole_bars(bars: Sequence[PlayedBar], length: int) -> list[PlayedBar]:
    """The bars, with successive ones that together are exactly as long as one bar joined; none is empty."""
    ends = [*(bar.tick for bar in bars[1:]), length]
    whole: list[PlayedBar] = []
    index = 0
    while index < len(bars):
        bar, last = bars[index], index
        meter = _meter(bar)
        if meter is not None:
            while (
                last + 1 < len(bars)
                and ends[last] - bar.tick < meter.bar_ticks
                and _same_bars(meter, _meter(bars[last + 1]))
            ):
                last += 1
            if ends[last] - bar.tick != meter.bar_ticks:
                last = index
        if ends[last] > bar.tick:
            whole.append(bar)
        index = last + 1
    return whole


def _meter(bar: PlayedBar) -> Meter | None:
    try:
        return Meter(*bar.meter) if bar.meter else None
    except InvalidScoreError:
        return None


def _same_bars(one: Meter | None, other: Meter | None) -> bool:
    """Whether bars of two meters have the same length and the same halves."""
    if one is None or other is None:
        return one is other
    even = all(meter.numerator in (2, 4) for meter in (one, other))
    return one == other or (even and one.bar_ticks == other.bar_ticks)


def _join_short(sections: Sequence[Section], counts: NoteCounts) -> list[Section]:
    """The sections of enough bars. A shorter one after one of them belongs to its end, if it is not long in ticks."""
    joined: list[Section] = []
    for section in sections:
        last = joined[-1] if joined else None
        if section.bar_count >= _MIN_BARS:
            joined.append(section)
        elif last is not None and last.end == section.begin and _room(last) >= section.end - section.begin:
            last.end = section.end
            counts.other["short_sections_joined"] += 1
        else:
            counts.other["short_sections_left_out"] += 1
    counts.other["cuts"] += len(sections) - 1
    return joined


def _room(section: Section) -> int:
    """Ticks that may join the end of a section."""
    most = _MIN_BARS * (section.meter or Meter()).bar_ticks
    return section.bars[-1].tick + most - section.end


def _cut(score: Score, notes: Sequence[Note], section: Section, counts: NoteCounts) -> Score:
    """The notes that start in a section, cut at its end, with what is in force in its bars."""
    inside = [note for note in notes if section.begin <= note.onset < section.end]
    counts.changed["cut_at_section"] += sum(note.end > section.end for note in inside)
    keys = Counter(bar.key_sharps for bar in section.bars if bar.key_sharps is not None)
    return replace(
        score,
        notes=tuple(
            note._replace(onset=note.onset - section.begin, duration=min(note.end, section.end) - note.onset)
            for note in inside
        ),
        length_ticks=section.end - section.begin,
        meter=section.meter,
        pickup_ticks=section.pickup_ticks,
        tempo_bpm=section.bars[0].tempo_bpm or score.tempo_bpm,
        key_sharps=max(keys, key=lambda key: keys[key], default=None),
    )
