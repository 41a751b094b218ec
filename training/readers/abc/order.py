"""Converts ABC's repeat signs and part orders to the common `BarMarks`."""

from collections.abc import Sequence

from music.errors import InvalidScoreError
from training.readers.abc.bars import Marks
from training.readers.play_order import MAX_PLAYED_BARS, BarMarks, play_order


def shared_marks(marks: Sequence[Marks]) -> list[BarMarks]:
    """The marks of every bar, including the implicit ones of ABC.

    A repeat sign without its beginning goes back to the last double bar line or repeat sign (ABC 2.1, section 4.8). An
    ending lasts until the next one, a double bar line or the beginning of a repeat. One that another follows ends with
    a repeat sign, written or not. The first coda sign is where the jump leaves, the last one where it leads.
    """
    shared = [
        BarMarks(
            repeat_start=mark.repeat_start,
            repeat_times=mark.plays if mark.plays > 1 else 0,
            segno="" if mark.segno else None,
            dal_segno="" if mark.jump == "ds" else None,
            da_capo=mark.jump == "dc",
            fine=mark.fine,
        )
        for mark in marks
    ]
    if not any(mark.segno for mark in marks):
        for bar in shared:
            bar.da_capo |= bar.dal_segno is not None
            bar.dal_segno = None
    codas = [index for index, mark in enumerate(marks) if mark.coda]
    if len(codas) > 1:
        shared[codas[0]].to_coda = shared[codas[-1]].coda = ""
    _add_endings(marks, shared)
    _add_starts(marks, shared)
    return shared


def parts_order(marks: Sequence[Marks], shared: Sequence[BarMarks], order: str) -> list[int] | None:
    """Indices of bars in the order of a `P:` field; None if no part is marked.

    Each part is played with its own repeats, after the bars before the first part.

    Raises:
        InvalidScoreError: more than `MAX_PLAYED_BARS` would be played.
    """
    begins = [index for index, mark in enumerate(marks) if mark.part]
    if not order or not begins:
        return None
    parts: dict[str, range] = {}
    for first, last in zip(begins, [*begins[1:], len(marks)], strict=True):
        parts.setdefault(marks[first].part, range(first, last))
    played = {label: _played(shared, bars) for label, bars in parts.items()}
    indices = _played(shared, range(begins[0]))
    for label in order:
        indices += played.get(label, [])
        if len(indices) > MAX_PLAYED_BARS:
            raise InvalidScoreError(f"more than {MAX_PLAYED_BARS:,} bars with its parts played out")
    return indices


def _played(shared: Sequence[BarMarks], bars: range) -> list[int]:
    order = play_order(shared[bars.start : bars.stop])
    return list(bars) if order is None else [bars.start + index for index in order]


def _add_endings(marks: Sequence[Marks], shared: Sequence[BarMarks]) -> None:
    passes: frozenset[int] = frozenset()
    for index, mark in enumerate(marks):
        if mark.ending:
            before = shared[index - 1] if index else BarMarks()
            if before.endings and max(mark.ending) > max(before.endings):
                before.repeat_times = max(before.repeat_times, 2)
            passes = mark.ending
            shared[index].ending_start = True
        elif mark.repeat_start or mark.part:
            passes = frozenset()
        shared[index].endings = passes
        if mark.double or mark.plays > 1:
            passes = frozenset()


def _add_starts(marks: Sequence[Marks], shared: Sequence[BarMarks]) -> None:
    """Start of a section without a repeat sign: after the last double bar line."""
    start: int | None = None  # behind a double bar line; the bar of a written sign needs nothing
    opened = False
    for index, bar in enumerate(shared):
        if bar.repeat_start:
            start, opened = None, True
        if bar.endings and start is not None:
            shared[start].repeat_start = True
            start = None
        if bar.repeat_times:
            if start is not None:
                shared[start].repeat_start = True
            start, opened = None, False
        elif marks[index].double and not opened and not bar.endings and index + 1 < len(shared):
            start = index + 1
