"""A tokenizer's answer to a task: what the engine runs, and how its tokens become the finished piece."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import Guide
from music.remaining_length import UNKNOWN
from music.score import Note, Score


@dataclass(frozen=True, slots=True)
class WritingCapabilities:
    """Which tasks a tokenizer can plan. The names are those of the contract's `Capabilities`."""

    continuation: bool = False
    rewrite_bars: bool = False
    rewrite_voices: bool = False
    rewrite_ticks: bool = False
    scale: bool = False
    chords: bool = False
    ranges: bool = False
    no_rests: bool = False
    no_parallels: bool = False
    natural_ending: bool = False
    density: bool = False
    voice_densities: bool = False
    dynamics: bool = False
    open_length: bool = False


class NoteStream(ABC):
    """Turns the tokens of a piece into its notes while they arrive; given notes come as they were given."""

    @abstractmethod
    def feed(self, tokens: Iterable[int]) -> list[Note]:
        """Take more tokens; return the notes that are now complete, in the order of their ends."""

    @abstractmethod
    def finish(self) -> list[Note]:
        """Return the notes that still sound: they end with the piece. No tokens may follow."""

    @property
    @abstractmethod
    def watermark_ticks(self) -> int:
        """No note begins or ends before this tick any more, except those that were returned.

        A note in `sounding` has begun and ends later, or at this tick.
        """

    @property
    @abstractmethod
    def sounding(self) -> Sequence[Note]:
        """Notes that have begun and were not returned, in the order of `NOTE_ORDER`.

        Written notes have their durations so far, at least a step; given ones have their whole durations.
        """


@dataclass(frozen=True, slots=True, eq=False)
class WritingPlan(ABC):
    """How a sequence writes a task. A tokenizer has a subclass of its own."""

    position_index: int
    """Position index of the first token."""
    primer: tuple[int, ...]
    """Tokens before the first one that is written: forced, and prefilled if there are many."""
    guide: Guide | None
    """Instructions for all tokens, the primer included; None if nothing but the primer is told."""
    max_tokens: int
    """Maximum number of tokens, the primer included."""
    may_end: bool
    """Whether the end token may be sampled where the guide leaves it free."""
    stop_token: int | None = None
    """A token that completes the piece when it has occurred `stop_count` times, the primer included."""
    stop_count: int = 0
    is_observed: bool = False
    """Whether given tokens follow written ones. Only then particles differ from independent candidates."""
    given_ticks: int = 0
    """Length of the given piece on the grid; 0 if nothing is given."""
    kept: tuple[Note, ...] = ()
    """The given notes that come back as they were given, those in voices that the model lacks included."""
    changed_notes: Counter[str] = field(default_factory=Counter)
    """Given notes that the model does not see as they are, by reason."""

    @property
    def remaining(self) -> int:
        """The remaining length before the first token (`music.remaining_length`): `UNKNOWN` if the length is open."""
        return UNKNOWN if self.may_end else self.stop_count or self.max_tokens

    @abstractmethod
    def score(self, tokens: NDArray[np.integer[Any]]) -> Score:
        """The finished piece (n,) tokens: the given notes as they were given, the written ones decoded."""

    @abstractmethod
    def stream(self) -> NoteStream:
        """A new stream. All its notes together are the notes of `score`."""

    @abstractmethod
    def note_steps(self, tokens: NDArray[np.integer[Any]]) -> int:
        """Number of note-steps from the first written token on, at least 1."""
