"""The order in which bars are played: repeats, endings and jumps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

MAX_PLAYED_BARS: Final = 20_000
"""A score that plays more bars than this is refused."""


@dataclass(slots=True)
class BarMarks:
    """The signs of one bar that decide what is played after it."""

    repeat_start: bool = False
    """A repeat begins with the bar."""
    repeat_times: int = 0
    """How often the section that ends with the bar is played; 0 if no repeat ends there."""
    endings: frozenset[int] = frozenset()
    """Numbers of the bracket over the bar; empty if there is none."""
    ending_start: bool = False
    """A bracket begins with the bar."""
    segno: str | None = None
    """Label of the sign at the bar's start that D.S. leads to; None if there is none."""
    coda: str | None = None
    """Label of the coda that begins with the bar."""
    to_coda: str | None = None
    """Label of the coda that the bar's end leads to, once a D.C. or D.S. was followed."""
    dal_segno: str | None = None
    """Label of the sign that the bar's end leads to."""
    da_capo: bool = False
    """The bar's end leads to the beginning."""
    fine: bool = False
    """The piece ends with the bar, once a D.C. or D.S. was followed."""

    @property
    def plain(self) -> bool:
        """Whether the next bar follows in any case."""
        return not (self.repeat_times or self.endings or self.jumps)

    @property
    def jumps(self) -> bool:
        """Whether the bar's end is a D.C. or D.S."""
        return self.da_capo or self.dal_segno is not None

    def without_jumps(self) -> "BarMarks":
        """The same, without what D.C. and D.S. need."""
        return replace(self, segno=None, coda=None, to_coda=None, dal_segno=None, da_capo=False, fine=False)


def play_order(bars: Sequence[BarMarks]) -> list[int] | None:
    """Indexes of the bars in the order in which they are played; a bar that is played twice is in the list twice.

    The conventions: a repeat without a start leads to the end of the repeat before it, or to the beginning. A section
    is played twice, or as often as it has endings, or as stated. D.C. and D.S. are followed once; after them repeats
    are not taken and the last ending is played.

    Returns:
        None where the signs make no sense: a jump has no target or no end, a bar would never be played, or more than
        `MAX_PLAYED_BARS` would be.
    """
    if all(bar.plain for bar in bars):
        return list(range(len(bars)))
    order = _Player(bars).play()
    return order if order is not None and len(set(order)) == len(bars) else None


class _Player:
    def __init__(self, bars: Sequence[BarMarks]) -> None:
        self._bars = bars
        self._passes_of_group, self._group = self._groups()
        self._section, self._pass = 0, 1
        self._jumped = False
        self._last_group = -1
        self._followed: set[int] = set()

    def _groups(self) -> tuple[list[int], list[int]]:
        """How often each group of neighbouring brackets is played, and the group of each bar (-1 for none)."""
        passes: list[int] = []
        group_of = []
        seen: set[int] = set()
        for index, bar in enumerate(self._bars):
            if not bar.endings:
                group_of.append(-1)
                continue
            if index == 0 or group_of[-1] < 0 or (bar.ending_start and bar.endings & seen):
                passes.append(2)
                seen = set()
            seen |= bar.endings
            passes[-1] = max(passes[-1], *bar.endings)
            group_of.append(len(passes) - 1)
        return passes, group_of

    def play(self) -> list[int] | None:
        order: list[int] = []
        index = 0
        while index < len(self._bars):
            bar, group = self._bars[index], self._group[index]
            if group < 0 <= self._last_group and not self._began_with_last_ending():  # the endings are behind
                self._begin_section(index)
            self._last_group = group
            entered = not order or order[-1] != index - 1 or bar.ending_start or self._group[index - 1] != group
            if group >= 0 and entered and self._wanted(group) not in bar.endings:
                index = self._after_bracket(index)
                continue
            if bar.repeat_start and index != self._section:
                self._begin_section(index)
            order.append(index)
            if len(order) > MAX_PLAYED_BARS:
                return None
            following = self._next(index)
            if following is None:
                return None
            index = following
        return order

    def _began_with_last_ending(self) -> bool:
        """Whether the present section begins with the last of the endings that were just played."""
        return self._group[self._section] == self._last_group and 1 not in self._bars[self._section].endings

    def _wanted(self, group: int) -> int:
        """The number of the ending to play."""
        return self._passes_of_group[group] if self._jumped else self._pass

    def _begin_section(self, index: int) -> None:
        self._section, self._pass = index, 1

    def _after_bracket(self, index: int) -> int:
        last = index + 1
        while (
            last < len(self._bars)
            and self._bars[last].endings == self._bars[index].endings
            and not self._bars[last].ending_start
        ):
            last += 1
        return last

    def _next(self, index: int) -> int | None:
        bar, group = self._bars[index], self._group[index]
        if bar.repeat_times and not self._jumped:
            if self._pass < (self._passes_of_group[group] if group >= 0 else bar.repeat_times):
                self._pass += 1
                self._last_group = -1
                return self._section
            following = self._bars[index + 1].endings if index + 1 < len(self._bars) else frozenset()
            if not following or (self._group[index + 1] != group and self._pass not in following):
                self._begin_section(index + 1)
        if self._jumped and bar.fine:
            return len(self._bars)
        if self._jumped and bar.to_coda is not None and (coda := self._find("coda", bar.to_coda)) is not None:
            return coda
        if bar.jumps and index in self._followed and index + 1 < len(self._bars):
            return None  # come again without a Fine or Coda: where the piece ends is unknown
        if bar.jumps and index not in self._followed:
            self._followed.add(index)
            self._jumped, self._last_group = True, -1
            target = 0 if bar.dal_segno is None else self._find("segno", bar.dal_segno)
            if target is not None:
                self._begin_section(target)
            return target
        return index + 1

    def _find(self, sign: str, label: str) -> int | None:
        """The bar with the sign of that label, or with the only sign there is."""
        places = [index for index, bar in enumerate(self._bars) if getattr(bar, sign) is not None]
        labelled = [index for index in places if getattr(self._bars[index], sign) == label]
        return next(iter(labelled or places[:1]), None)
