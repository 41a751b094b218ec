"""The order in which bars are played: repeats, endings, jumps and parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from music.errors import InvalidScoreError
from training.readers.abc.bars import Marks

_MOST_BARS: Final = 20_000


def played_order(marks: Sequence[Marks], part_order: str = "") -> list[int]:
    """Indices of the bars in the order in which they are played.

    A repeat sign without its beginning goes back to the last double bar line or repeat sign, else to the beginning
    (ABC 2.1, section 4.8). An ending is played in the passes that it names. After a jump back (D.C., D.S.) the last
    endings are taken, no section is repeated, and `fine` ends the piece or the first coda sign leads to the last one.
    With a part order, the parts that it names are played in that order, each with its own repeats, after the bars
    before the first part.

    Args:
        marks: of every bar.
        part_order: labels of parts; empty for the order as written.

    Raises:
        InvalidScoreError: more than 20,000 bars would be played.
    """
    begins = [index for index, mark in enumerate(marks) if mark.part]
    if not part_order or not begins:
        return _play(marks, range(len(marks)))
    order = _play(marks, range(begins[0]))
    parts: dict[str, range] = {}
    for first, last in zip(begins, [*begins[1:], len(marks)], strict=True):
        parts.setdefault(marks[first].part, range(first, last))
    played = {label: _play(marks, bars) for label, bars in parts.items()}
    for label in part_order:
        order += played.get(label, [])
        _require(order)
    return order


def _play(marks: Sequence[Marks], bars: range) -> list[int]:
    """The order within consecutive bars."""
    endings = _endings(marks, bars)
    order: list[int] = []
    index = start = bars.start
    passing, jumped, opened = 1, False, False
    while index < bars.stop:
        mark = marks[index]
        if mark.repeat_start and index != start:
            start, passing, opened = index, 1, True
        opened = opened or mark.repeat_start
        ending = endings.get(index)
        total = mark.plays
        if ending is not None:
            total = max(total, ending.total)
            if (ending.total if jumped else passing) not in ending.passes:
                index = ending.stop
                if index == ending.group_stop:
                    start, passing, opened = index, 1, False
                continue
        order.append(index)
        _require(order)
        ending_over = ending is not None and index + 1 == ending.stop
        if not jumped and passing < total and (ending_over or mark.plays > 1):
            passing += 1
            index = start
            continue
        if mark.jump and not jumped:
            jumped, passing = True, 1
            index = start = _sign(marks, bars) if mark.jump == "ds" else bars.start
            continue
        if jumped and mark.fine:
            break
        if jumped and mark.coda and (target := _coda(marks, bars)) > index:
            index = start = target
            continue
        index = ending.group_stop if ending is not None and ending_over else index + 1
        if ending_over or (ending is None and (mark.plays > 1 or (mark.double and not opened))):
            start, passing, opened = index, 1, False
    return order


@dataclass(frozen=True, slots=True)
class _Ending:
    passes: frozenset[int]
    stop: int
    """The bar after it."""
    group_stop: int
    """The bar after it and its alternatives."""
    total: int
    """The last pass of any of them."""


def _endings(marks: Sequence[Marks], bars: range) -> dict[int, _Ending]:
    """The ending that a bar is in, for bars that are in one.

    An ending lasts until the next one or a double bar line. Where no sign ends the last one at a place, it lasts as
    long as music follows, which does not matter since it is the last.
    """
    groups: list[list[tuple[frozenset[int], int, int]]] = []  # passes, first bar, bar after the last
    passes: frozenset[int] = frozenset()
    for index in bars:
        mark = marks[index]
        if mark.ending:
            last = groups[-1] if groups else []
            goes_on = last and last[-1][2] == index and not any(mark.ending & earlier for earlier, _, _ in last)
            if not goes_on:
                groups.append([])  # the first ending of another section
            passes = mark.ending
            groups[-1].append((passes, index, index))
        elif mark.repeat_start or mark.part:
            passes = frozenset()
        if passes:
            earlier, first, _ = groups[-1][-1]
            groups[-1][-1] = (earlier, first, index + 1)
        if mark.double or mark.plays > 1:
            passes = frozenset()
    found: dict[int, _Ending] = {}
    for group in groups:
        total = max(number for numbers, _, _ in group for number in numbers)
        for numbers, first, stop in group:
            ending = _Ending(numbers, stop, group[-1][2], total)
            found.update(dict.fromkeys(range(first, stop), ending))
    return found


def _sign(marks: Sequence[Marks], bars: range) -> int:
    return next((index for index in bars if marks[index].segno), bars.start)


def _coda(marks: Sequence[Marks], bars: range) -> int:
    """The bar of the last coda sign, where there are two."""
    signs = [index for index in bars if marks[index].coda]
    return signs[-1] if len(signs) > 1 else -1


def _require(order: Sequence[int]) -> None:
    if len(order) > _MOST_BARS:
        raise InvalidScoreError(f"more than {_MOST_BARS} bars with repeats played out")
