"""Plays a written score: note heads, ties and repeats become notes in ticks."""

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Final, NamedTuple

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import (
    DEFAULT_VELOCITY,
    MAX_LENGTH_TICKS,
    NOTE_ORDER,
    TICKS_PER_QUARTER,
    Meter,
    Note,
    Score,
    check_length,
)
from training.readers.play_order import MAX_PLAYED_BARS, play_order
from training.readers.reading import PlayedBar, Reading, ReadOptions
from training.readers.written import MAX_PART_BARS, WrittenBar, WrittenPart, WrittenScore, limit_denominator

DEFAULT_TEMPO_BPM: Final = 100.0
_SLOWEST_BPM, _FASTEST_BPM = 10.0, 400.0


def play_score(written: WrittenScore, name: str, options: ReadOptions) -> Reading:
    """Play a written score.

    If `options.parts` is given, the parts whose names begin with these names become the voices, in that order (a score
    with as many parts and no names is used as it is). If `options.by_staff` is set, every part is a voice, in the order
    of the score. Otherwise every staff with a note is a voice, the highest by mean pitch first. The score has dynamics
    if any note has another velocity than one without marks.

    Raises:
        InvalidScoreError: the score has no such parts or no pitched note, or lasts too long.
    """
    chosen = range(len(written.parts)) if options.parts is None else _named(written.parts, options.parts)
    counts = NoteCounts(changed=Counter(written.changed), other=Counter(written.other))
    order = list(range(len(written.lengths)))
    once = _Performance(written, order)
    check_length(once.length)
    played = once
    if options.play_repeats:
        played = _with_repeats(written, once, counts)
    counts.written = once.note_heads - once.tied + written.unread.total()
    counts.left_out.update(written.unread)
    counts.repeated = (played.note_heads - played.tied) - (once.note_heads - once.tied)
    counts.left_out.update(played.left_out)
    if played.loose_ties:
        counts.changed["tie_without_start"] += played.loose_ties
    voices = [played.voices[index] for index in chosen]
    for index in set(range(len(written.parts))) - set(chosen):
        counts.left_out["other_parts"] += sum(map(len, played.voices[index].values()))
    lines = _lines(voices, by_part=options.parts is not None or options.by_staff)
    sounding = [(note._replace(voice=voice), grace) for voice, line in enumerate(lines) for note, grace in line]
    if not sounding:
        raise InvalidScoreError("no pitched note in it")
    sounding.sort(key=lambda played_note: NOTE_ORDER(played_note[0]))
    notes = [note for note, _ in sounding]
    counts.kept = len(notes)
    parts = [written.parts[index] for index in chosen]
    meter, pickup = _meter_and_pickup(written)
    counts.other["tempo_changes"] += _changes(written.tempos)
    counts.other["meter_changes"] += max((_changes(part.meters) for part in written.parts), default=0)
    counts.other["key_changes"] += max((_changes(part.keys) for part in written.parts), default=0)
    if meter is not None:
        counts.other["irregular_bars"] += sum(_ticks(length) != meter.bar_ticks for length in written.lengths[1:-1])
    score = Score(
        notes=tuple(notes),
        length_ticks=max([played.length, options.min_quarters * TICKS_PER_QUARTER, *(note.end for note in notes)]),
        meter=meter,
        pickup_ticks=pickup,
        tempo_bpm=next((bpm for bpm in written.tempos if _SLOWEST_BPM <= bpm <= _FASTEST_BPM), DEFAULT_TEMPO_BPM),
        key_sharps=next((part.keys[0] for part in parts if part.keys and part.keys[0] is not None), None),
        program=next((part.program for part in parts if part.program is not None), 0),
        has_dynamics=any(note.velocity != DEFAULT_VELOCITY for note in notes),
    )
    check_length(score.length_ticks)
    graces = frozenset(index for index, (_, grace) in enumerate(sounding) if grace)
    return Reading(name, score, counts, played.bars, graces)


def _with_repeats(written: WrittenScore, once: "_Performance", counts: NoteCounts) -> "_Performance":
    """Play the order that the source states, else all repeat signs, else all but jumps: the first valid order."""
    jumps = sum(mark.jumps for mark in written.marks)
    orders: list[tuple[Callable[[], list[int] | None], int]] = [
        (lambda: play_order(written.marks), 0),
        (lambda: play_order([mark.without_jumps() for mark in written.marks]), jumps),
    ]
    if written.order is not None:
        orders = [(lambda: written.order, 0)]
    for find, not_played in orders:
        order = find()
        if order is None or len(set(order)) < len(written.lengths) or len(order) > MAX_PLAYED_BARS:
            continue
        if len(order) * len(written.parts) > MAX_PART_BARS:
            continue
        if _ticks(sum((written.lengths[bar] for bar in order), Fraction())) > MAX_LENGTH_TICKS:
            continue
        counts.other["repeats_not_played"] += not_played
        return once if order == list(range(len(written.lengths))) else _Performance(written, order)
    counts.other["repeats_not_played"] += sum(not mark.plain for mark in written.marks)
    return once


class _PlayedNote(NamedTuple):
    note: Note
    grace: bool


class _Performance:
    """The notes of a score when its bars are played in an order."""

    def __init__(self, written: WrittenScore, order: Sequence[int]) -> None:
        self.left_out: Counter[str] = Counter()
        self.note_heads = self.tied = self.loose_ties = 0
        starts = [Fraction()]
        for bar in order:
            starts.append(limit_denominator(starts[-1] + written.lengths[bar]))
        self.length = _ticks(starts[-1])
        signatures = written.signatures
        self.bars = tuple(
            PlayedBar(_ticks(start), *signatures[bar])
            for start, bar in zip(starts, order if signatures else (), strict=False)
        )
        self.voices = [
            self._play([(start, part.bars[bar]) for start, bar in zip(starts, order, strict=False)])
            for part in written.parts
        ]
        """Notes by staff, of each part."""

    def _play(self, bars: list[tuple[Fraction, WrittenBar]]) -> dict[int, list[_PlayedNote]]:
        heads = []
        for start, bar in bars:
            self.note_heads += bar.note_heads
            self.left_out.update(bar.left_out)
            heads += [(start + note.offset, note) for note in bar.notes]
        heads.sort(key=lambda head: head[0])
        notes: dict[int, list[_PlayedNote]] = {}
        tied: dict[int, list[tuple[int, int]]] = {}  # staff and index of the notes that a tie leads on from, by pitch
        for time, head in heads:
            onset, end = _ticks(time), max(_ticks(time + head.duration), _ticks(time) + 1)
            if not 0 <= head.pitch <= 127:
                self.left_out["out_of_range"] += 1
                continue
            waiting = tied.setdefault(head.pitch, [])
            ending = (at for at in waiting if notes[at[0]][at[1]].note.end == onset)
            place = next(ending, None) if head.ends_tie else None
            if place is not None:
                waiting.remove(place)
                staff, index = place
                first = notes[staff][index].note
                notes[staff][index] = _PlayedNote(first._replace(duration=end - first.onset), head.grace)
                self.tied += 1
            else:
                self.loose_ties += head.ends_tie
                line = notes.setdefault(head.staff, [])
                place = head.staff, len(line)
                line.append(_PlayedNote(Note(onset, end - onset, head.pitch, head.velocity), head.grace))
            if head.starts_tie:
                waiting.append(place)
        return notes


def _lines(voices: list[dict[int, list[_PlayedNote]]], *, by_part: bool) -> list[list[_PlayedNote]]:
    if by_part:
        return [[note for _, line in sorted(part.items()) for note in line] for part in voices]
    lines = [line for part in voices for _, line in sorted(part.items()) if line]
    lines.sort(key=lambda line: -sum(played.note.pitch for played in line) / len(line))
    return lines


def _named(parts: list[WrittenPart], names: tuple[str, ...]) -> list[int]:
    found = [next((index for index, part in enumerate(parts) if part.name.startswith(name)), None) for name in names]
    chosen = [index for index in found if index is not None]
    if len(chosen) == len(names):
        return chosen
    if len(parts) == len(names) and not any(part.name for part in parts):
        return list(range(len(parts)))
    raise InvalidScoreError(f"has no parts called {', '.join(names)}")


def _meter_and_pickup(written: WrittenScore) -> tuple[Meter | None, int]:
    meters = {meter for part in written.parts for meter in part.meters}
    if len(meters) != 1:
        return None, 0  # no signature, or one that changes
    try:
        meter = Meter(*meters.pop())
    except InvalidScoreError:
        return None, 0
    if len(written.lengths) < 2:
        return meter, 0
    first = _ticks(written.lengths[0])
    return meter, first if 0 < first < meter.bar_ticks else 0


def _changes(values: Sequence[object]) -> int:
    return sum(after != before for before, after in pairwise(values))


def _ticks(quarters: Fraction) -> int:
    return round(quarters * TICKS_PER_QUARTER)
