"""Whether the voices of one step can be completed without parallels, to a chord if one is asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from music.tokenizers.grid_vocabulary import FIRST_PITCH

MAX_TRIED: Final = 5_000
"""Maximum number of tokens that one search tries. A search that gives up counts as successful."""

_PERFECT: Final = (0, 7)
"""Octaves and unisons, and fifths, in semitones."""


class Triad(NamedTuple):
    """A major or minor triad, as pitch classes."""

    root: int
    third: int
    fifth: int

    @classmethod
    def of(cls, root: int, *, is_major: bool) -> "Triad":
        """The triad above a pitch class."""
        return cls(root, (root + 3 + is_major) % 12, (root + 7) % 12)


@dataclass(frozen=True, slots=True)
class ChordGoal:
    """The voices of the step become a triad in root position: its root is the lowest pitch, and the lowest voice's."""

    triads: tuple[Triad, ...]
    """One of these."""
    needed: int
    """How many of root, third and fifth, in this order, the chord has at least."""
    offset: int
    """Added to a token, it gives a number with the token's pitch class."""
    lowest_voice: int


class Motion:
    """The step before, which decides what is a parallel.

    A parallel: two voices move in the same direction from one step to the next, and are a fifth (or an octave or
    unison, compounds included) apart in both.

    Args:
        before: what each voice sounded: a pitch token, or another token for silence. Empty if it does not matter.
    """

    def __init__(self, before: Sequence[int]) -> None:
        self._before = before
        # By voice: the others that are a fifth or an octave apart, what they sounded, and how far above them it is.
        self._partners: list[list[tuple[int, int, int]]] = [[] for _ in before]
        for voice, own in enumerate(before):
            for other in range(voice + 1, len(before)):
                interval = (own - before[other]) % 12
                if interval in _PERFECT and own >= FIRST_PITCH and before[other] >= FIRST_PITCH:
                    self._partners[voice].append((other, before[other], interval))
                    self._partners[other].append((voice, own, -interval))

    def forbidden(self, voice: int, known: Mapping[int, int], last: int) -> set[int]:
        """The pitch tokens up to `last` with which the voice would move in parallel to one of the known voices.

        Args:
            voice: to decide.
            known: what other voices sound in this step.
            last: the highest token of the vocabulary.
        """
        forbidden: set[int] = set()
        for other, before, distance in self._partners[voice] if self._partners else ():
            after = known.get(other, before)
            if after >= FIRST_PITCH and after != before:
                own = self._before[voice]
                reach = range(own + 1, last + 1) if after > before else range(FIRST_PITCH, own)
                forbidden.update(reach[(after + distance - reach.start) % 12 :: 12] if reach else ())
        return forbidden

    def pressure(self, voice: int, sounds: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
        """The other voices with which the voice could move in parallel; with its own pitch, they decide `forbidden`.

        Args:
            voice: to decide.
            sounds: what each voice sounds in this step, or sounded before where that is not known.

        Returns:
            Of each such voice, its number, what it sounded and what it sounds.
        """
        return tuple(
            [
                (other, before, sounds[other])
                for other, before, _ in (self._partners[voice] if self._partners else ())
                if sounds[other] != before and sounds[other] >= FIRST_PITCH
            ]
        )

    def is_settled(self, voice: int) -> bool:
        """Whether the voice cannot make a parallel, whatever the others do. The others cannot make one with it."""
        return not (self._partners and self._partners[voice])


@lru_cache(maxsize=4096)
def motion_from(before: tuple[int, ...]) -> Motion:
    """The motion from a step in which the voices sounded `before`. Particles share many steps."""
    return Motion(before)


STILL: Final = Motion(())
"""In place of a step before, where parallels do not matter."""


class VoicingSearch:
    """Finds out whether all open voices of a step can get a token.

    Args:
        motion: the step before, or `STILL` if parallels are allowed.
        last: the highest token of the vocabulary.
        goal: the chord to form; None for no chord.
    """

    def __init__(self, motion: Motion, last: int, goal: ChordGoal | None = None) -> None:
        self._motion = motion
        self._last = last
        self._goal = goal
        self._tried = 0

    def is_possible(self, known: Mapping[int, int], open_voices: Mapping[int, Sequence[int]]) -> bool:
        """Whether the open voices can get one of their tokens each.

        Args:
            known: what the other voices sound.
            open_voices: tokens to choose from, by voice.
        """
        if self._goal is not None:
            return next(self.triads(known, open_voices), None) is not None
        self._tried = 0
        # A voice that cannot make a parallel finds a token if it has any, and leaves the others their choice.
        voices = [each for each in open_voices.items() if not (each[1] and self._motion.is_settled(each[0]))]
        return not voices or self._complete(dict(known), voices, None)

    def triads(self, known: Mapping[int, int], open_voices: Mapping[int, Sequence[int]]) -> Iterator[Triad]:
        """The triads of the goal that are possible; arguments as of `is_possible`."""
        assert self._goal is not None
        pitch_classes = {self._pitch_class(token) for token in known.values()}
        for triad in self._goal.triads:
            self._tried = 0
            if pitch_classes <= set(triad) and self._complete(dict(known), self._tones(open_voices, triad), triad):
                yield triad

    def _complete(
        self, known: dict[int, int], open_voices: Sequence[tuple[int, Sequence[int]]], triad: Triad | None
    ) -> bool:
        if triad is not None and not self._may_become(triad, known, len(open_voices)):
            return False
        if not open_voices:
            return True
        (voice, tokens), *others = open_voices
        forbidden = self._motion.forbidden(voice, known, self._last)
        for token in tokens:
            if token in forbidden:
                continue
            self._tried += 1
            if self._tried > MAX_TRIED or self._complete({**known, voice: token}, others, triad):
                return True
        return False

    def _tones(self, open_voices: Mapping[int, Sequence[int]], triad: Triad) -> list[tuple[int, list[int]]]:
        """The tokens of each voice that are tones of the triad, the lowest voice first."""
        return [
            (voice, [token for token in tokens if self._pitch_class(token) in triad])
            for voice, tokens in sorted(open_voices.items(), reverse=True)
        ]

    def _may_become(self, triad: Triad, known: Mapping[int, int], open_count: int) -> bool:
        """Whether the known voices and so many open ones can have the triad in root position."""
        assert self._goal is not None
        missing = set(triad[: self._goal.needed]) - {self._pitch_class(token) for token in known.values()}
        if len(missing) > open_count:
            return False
        lowest = known.get(self._goal.lowest_voice)
        return lowest is None or all(self._pitch_class(token) == triad.root for token in (lowest, min(known.values())))

    def _pitch_class(self, token: int) -> int:
        assert self._goal is not None
        return (token + self._goal.offset) % 12
