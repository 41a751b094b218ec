"""What is heard when a written score is played."""

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Final

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import IN_ORDER, MAX_LENGTH_TICKS, TICKS_PER_QUARTER, Meter, Note, Score, require_length
from training.readers.play_order import MAX_PLAYED_BARS, play_order
from training.readers.reading import Reading, ReadOptions
from training.readers.written import MAX_PART_BARS, WrittenBar, WrittenPart, WrittenScore, bounded

DEFAULT_TEMPO_BPM: Final = 100.0
_SLOWEST_BPM, _FASTEST_BPM = 10.0, 400.0


def reading_of(written: WrittenScore, name: str, options: ReadOptions) -> Reading:
    """Play a written score.

    With `options.parts` given, those whose names begin so become the voices, in that order (a score with exactly as
    many parts and no names is taken as it stands). Otherwise every staff with a note is a voice, the highest (by mean
    pitch) first.

    Raises:
        InvalidScoreError: the score has no such parts or no pitched note, or lasts too long.
    """
    chosen = range(len(written.parts)) if options.parts is None else _named(written.parts, options.parts)
    counts = NoteCounts(changed=Counter(written.changed), other=Counter(written.other))
    order = list(range(len(written.lengths)))
    once = _Performance(written, order)
    require_length(once.length)
    played = once
    if options.play_repeats:
        played = _with_repeats(written, once, counts)
    counts.struck = once.note_heads - once.tied + written.unread.total()
    counts.left_out.update(written.unread)
    counts.repeated = (played.note_heads - played.tied) - (once.note_heads - once.tied)
    counts.left_out.update(played.left_out)
    if played.loose_ties:
        counts.changed["tie_without_start"] += played.loose_ties
    voices = [played.voices[index] for index in chosen]
    for index in set(range(len(written.parts))) - set(chosen):
        counts.left_out["other_parts"] += sum(map(len, played.voices[index].values()))
    lines = _lines(voices, by_part=options.parts is not None)
    notes = [note._replace(voice=voice) for voice, line in enumerate(lines) for note in line]
    if not notes:
        raise InvalidScoreError("no pitched note in it")
    notes.sort(key=IN_ORDER)
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
        length_ticks=max([played.length, options.least_quarters * TICKS_PER_QUARTER, *(note.end for note in notes)]),
        meter=meter,
        pickup_ticks=pickup,
        tempo_bpm=next((bpm for bpm in written.tempos if _SLOWEST_BPM <= bpm <= _FASTEST_BPM), DEFAULT_TEMPO_BPM),
        key_sharps=next((part.keys[0] for part in parts if part.keys and part.keys[0] is not None), None),
        program=next((part.program for part in parts if part.program is not None), 0),
    )
    require_length(score.length_ticks)
    return Reading(name, score, counts)


def _with_repeats(written: WrittenScore, once: "_Performance", counts: NoteCounts) -> "_Performance":
    """Play the source's own order, or all of its signs, or all but its jumps: the first that makes sense."""
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


class _Performance:
    """What is heard when the bars are played in an order."""

    def __init__(self, written: WrittenScore, order: Sequence[int]) -> None:
        self.left_out: Counter[str] = Counter()
        self.note_heads = self.tied = self.loose_ties = 0
        starts = [Fraction()]
        for bar in order:
            starts.append(bounded(starts[-1] + written.lengths[bar]))
        self.length = _ticks(starts[-1])
        self.voices = [
            self._play([(start, part.bars[bar]) for start, bar in zip(starts, order, strict=False)])
            for part in written.parts
        ]
        """Notes by staff, of each part."""

    def _play(self, bars: list[tuple[Fraction, WrittenBar]]) -> dict[int, list[Note]]:
        heads = []
        for start, bar in bars:
            self.note_heads += bar.note_heads
            self.left_out.update(bar.left_out)
            heads += [(start + note.offset, note) for note in bar.notes]
        heads.sort(key=lambda head: head[0])
        notes: dict[int, list[Note]] = {}
        tied: dict[int, list[tuple[int, int]]] = {}  # staff and index of the notes that a tie leads on from, by pitch
        for time, head in heads:
            onset, end = _ticks(time), max(_ticks(time + head.duration), _ticks(time) + 1)
            if not 0 <= head.pitch <= 127:
                self.left_out["out_of_range"] += 1
                continue
            waiting = tied.setdefault(head.pitch, [])
            place = next((at for at in waiting if notes[at[0]][at[1]].end == onset), None) if head.ends_tie else None
            if place is not None:
                waiting.remove(place)
                staff, index = place
                notes[staff][index] = notes[staff][index]._replace(duration=end - notes[staff][index].onset)
                self.tied += 1
            else:
                self.loose_ties += head.ends_tie
                line = notes.setdefault(head.staff, [])
                place = head.staff, len(line)
                line.append(Note(onset, end - onset, head.pitch, head.velocity))
            if head.starts_tie:
                waiting.append(place)
        return notes


def _lines(voices: list[dict[int, list[Note]]], *, by_part: bool) -> list[list[Note]]:
    if by_part:
        return [[note for _, line in sorted(part.items()) for note in line] for part in voices]
    lines = [line for part in voices for _, line in sorted(part.items()) if line]
    lines.sort(key=lambda line: -sum(note.pitch for note in line) / len(line))
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
        return None, 0  # no signature, or one that changes: no clock could follow it
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
