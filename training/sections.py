"""A split for those who have one piece, or two: each is cut in time."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from music.score import Meter, Score
from training.corpus import CompactScore, Split
from training.errors import CorpusError

_HELD_OUT: Final = 0.1
_LEAST_BARS: Final = 4


def cut_into_sections(scores: Mapping[str, CompactScore]) -> tuple[dict[str, CompactScore], dict[str, Split]]:
    """Cut each piece at bar lines: the first eight tenths for training, then one for validation, one for test.

    Consecutive sections of one piece resemble each other more than pieces do, so what is measured on them
    flatters; but something is held out, and training knows when to stop. A piece of fewer than four bars is
    for training alone.

    Returns:
        The sections by name, which tells their bars, and their sides of the split.

    Raises:
        CorpusError: there is nothing for one of the sides.
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
            f"too little music to hold any back: {len(scores)} piece(s), and cut into sections of whole bars they give "
            f"no note for {' and '.join(missing)}; {_LEAST_BARS} bars with notes in each part are the least"
        )
    return sections, sides


def _bars(score: Score) -> list[tuple[Split, int, int]]:
    """Side, first bar and the bar after the last; the pickup is bar 0 where there is one."""
    bars = -(-(score.length_ticks + _offset(score)) // _bar_ticks(score))
    if bars < _LEAST_BARS:
        return [(Split.TRAIN, 0, bars)]
    held_out = max(1, round(bars * _HELD_OUT))
    valid, test = bars - 2 * held_out, bars - held_out
    return [(Split.TRAIN, 0, valid), (Split.VALID, valid, test), (Split.TEST, test, bars)]


def _section(score: Score, first: int, last: int) -> Score:
    """Bars `first` up to `last`, the notes that begin there; one that sounds beyond them ends with them."""
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
    """Ticks of bar 0 that are missing before the piece begins."""
    return _bar_ticks(score) - score.pickup_ticks if score.pickup_ticks else 0
