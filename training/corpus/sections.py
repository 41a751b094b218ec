"""Splits a corpus of one or two pieces: each piece is cut in time."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from music.score import Meter, Score
from training.corpus.store import CompactScore, Split
from training.errors import CorpusError

_HELD_OUT: Final = 0.1
_MIN_BARS: Final = 4


def cut_into_sections(scores: Mapping[str, CompactScore]) -> tuple[dict[str, CompactScore], dict[str, Split]]:
    """Cut each piece at bar lines: the first eight tenths for training, one tenth for validation, one for test.

    Sections of one piece resemble each other more than different pieces do, so losses on them are optimistic. They
    still allow early stopping. A piece of fewer than four bars is used for training only.

    Returns:
        The sections by name (the name gives the bars), and the split by name.

    Raises:
        CorpusError: a split is empty.
    """
    sections: dict[str, CompactScore] = {}
    sides: dict[str, Split] = {}
    for name, packed in scores.items():
        score = packed.score()
        for side, first, last in _bars(score):
            section = _section(score, first, last)
            if section.notes:
                label = f"{name} [bars {first + 1} to {last}]"
                sections[label], sides[label] = CompactScore.of(section), side
    missing = [side.name.lower() for side in Split if side not in sides.values()]
    if missing:
        raise CorpusError(
            f"too little music to split: {len(scores)} piece(s), cut into sections of whole bars, leave no note for "
            f"{' and '.join(missing)}; a piece needs at least {_MIN_BARS} bars, with notes in each section"
        )
    return sections, sides


def _bars(score: Score) -> list[tuple[Split, int, int]]:
    """Side, first bar and end bar (exclusive) of each section. A pickup is bar 0."""
    bars = -(-(score.length_ticks + _offset(score)) // _bar_ticks(score))
    if bars < _MIN_BARS:
        return [(Split.TRAIN, 0, bars)]
    held_out = max(1, round(bars * _HELD_OUT))
    valid, test = bars - 2 * held_out, bars - held_out
    return [(Split.TRAIN, 0, valid), (Split.VALID, valid, test), (Split.TEST, test, bars)]


def _section(score: Score, first: int, last: int) -> Score:
    """Bars `first` to `last` (exclusive): the notes that start there, cut at the end of the section."""
    offset, bar = _offset(score), _bar_ticks(score)
    begin = max(first * bar - offset, 0)
    end = min(last * bar - offset, score.length_ticks)
    notes = tuple(
        note._replace(onset=note.onset - begin, duration=min(note.end, end) - note.onset)
        for note in score.notes
        if begin <= note.onset < end
    )
    return replace(score, notes=notes, length_ticks=end - begin, pickup_ticks=score.pickup_ticks if first == 0 else 0)


def _bar_ticks(score: Score) -> int:
    return (score.meter or Meter()).bar_ticks


def _offset(score: Score) -> int:
    """Ticks of bar 0 before the pickup starts."""
    return _bar_ticks(score) - score.pickup_ticks if score.pickup_ticks else 0
