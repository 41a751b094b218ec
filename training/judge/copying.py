"""Copying: the longest stretch of a piece that stands in the training music, in whatever key."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import groupby
from typing import Final

import numpy as np

from music.score import Note, Score

PERCENTILE: Final = 99.0

Symbols = list[Hashable]


def texture(score: Score) -> Symbols:
    """One symbol for each onset: the time since the last one, and the notes that begin with their durations.

    Pitches are told from the lowest note that began at the onset before, so a transposed copy reads the same.
    """
    return _symbols(score.notes)


def melody(score: Score) -> Symbols:
    """The same of the first voice's highest notes alone."""
    first = sorted((note for note in score.notes if note.voice == 0), key=lambda note: (note.onset, -note.pitch))
    return _symbols([next(notes) for _, notes in groupby(first, key=lambda note: note.onset)])


VIEWS: Final[dict[str, Callable[[Score], Symbols]]] = {"texture": texture, "melody": melody}


class Memory:
    """All stretches of some pieces, as a suffix automaton.

    Blumer et al., "The smallest automaton recognizing the subwords of a text" (1985): built in time linear in the
    pieces' length, and walked in time linear in that of the piece asked about.
    """

    def __init__(self, pieces: Iterable[Symbols]) -> None:
        self._next: list[dict[Hashable, int]] = [{}]
        self._link = [-1]
        self._length = [0]
        last = 0
        for number, piece in enumerate(pieces):
            for symbol in piece:
                last = self._extended(last, symbol)
            last = self._extended(last, ("end of piece", number))  # no stretch reaches across two pieces

    def longest_match(self, piece: Symbols) -> int:
        """Symbols of the longest stretch of the piece that stands in memory."""
        state = length = longest = 0
        for symbol in piece:
            while state and symbol not in self._next[state]:
                state = self._link[state]
                length = self._length[state]
            if symbol in self._next[state]:
                state = self._next[state][symbol]
                length += 1
            longest = max(longest, length)
        return longest

    def _extended(self, last: int, symbol: Hashable) -> int:
        """Add a symbol after the state of all that came before; the state of all with it."""
        new = self._state({}, -1, self._length[last] + 1)
        state = last
        while state != -1 and symbol not in self._next[state]:
            self._next[state][symbol] = new
            state = self._link[state]
        if state == -1:
            self._link[new] = 0
            return new
        following = self._next[state][symbol]
        if self._length[state] + 1 == self._length[following]:
            self._link[new] = following
            return new
        clone = self._state(dict(self._next[following]), self._link[following], self._length[state] + 1)
        while state != -1 and self._next[state].get(symbol) == following:
            self._next[state][symbol] = clone
            state = self._link[state]
        self._link[following] = self._link[new] = clone
        return new

    def _state(self, following: dict[Hashable, int], link: int, length: int) -> int:
        self._next.append(following)
        self._link.append(link)
        self._length.append(length)
        return len(self._next) - 1


def bound(real_matches: Sequence[int]) -> float:
    """The match that one held-out piece in a hundred exceeds, from the longest match of each."""
    return float(np.percentile(real_matches, PERCENTILE))


def _symbols(notes: Iterable[Note]) -> Symbols:
    symbols: Symbols = []
    reference, before = None, 0
    for onset, group in groupby(sorted(notes), key=lambda note: note.onset):
        begun = sorted((note.pitch, note.duration) for note in group)
        lowest = begun[0][0]
        origin = lowest if reference is None else reference
        gap = 0 if reference is None else onset - before
        symbols.append((gap, *((pitch - origin, duration) for pitch, duration in begun)))
        reference, before = lowest, onset
    return symbols
