"""Memorisation: the longest passage of a piece that also occurs in the training music, in any key."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import groupby
from typing import Final

import numpy as np

from music.score import Note, Score

PERCENTILE: Final = 99.0

Symbols = list[Hashable]


def texture(score: Score) -> Symbols:
    """One symbol for each onset: the time since the last onset, and the pitches and durations of its notes.

    Pitches are relative to the lowest note of the previous onset, so a transposed copy has the same symbols.
    """
    return _symbols(score.notes)


def melody(score: Score) -> Symbols:
    """The same for the highest notes of the first voice alone."""
    first = sorted((note for note in score.notes if note.voice == 0), key=lambda note: (note.onset, -note.pitch))
    return _symbols([next(notes) for _, notes in groupby(first, key=lambda note: note.onset)])


VIEWS: Final[dict[str, Callable[[Score], Symbols]]] = {"texture": texture, "melody": melody}


class SuffixAutomaton:
    """All passages of some pieces.

    Blumer et al., "The smallest automaton recognizing the subwords of a text" (1985). Construction takes time linear
    in the length of the pieces, a search time linear in the length of the searched piece.
    """

    def __init__(self, pieces: Iterable[Symbols]) -> None:
        self._next: list[dict[Hashable, int]] = [{}]
        self._link = [-1]
        self._length = [0]
        last = 0
        for number, piece in enumerate(pieces):
            for symbol in piece:
                last = self._extended(last, symbol)
            last = self._extended(last, ("end of piece", number))  # no passage crosses from piece to piece

    def longest_match(self, piece: Symbols) -> int:
        """Number of symbols in the longest passage of the piece that the automaton holds."""
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
        """Append a symbol to the text that ends in state `last`; return the new last state."""
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
    """The match that one held-out piece in a hundred exceeds, from the longest match of each held-out piece."""
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
