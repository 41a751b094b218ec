"""What every tokenizer can do. A third one joins by implementing `Tokenizer` and its entry in the registry."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from music.automata import Clock, Grammar
from music.score import IN_ORDER, Meter, Note, Score
from music.tokenizers.arguments import arguments_from
from music.voicing import Voicing

Tokens = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Encoding:
    """A piece as tokens, with a report of what the tokenizer could not say."""

    tokens: Tokens
    """(n,), ending in the end token; the start token is not part of it."""
    clock_start: int
    """Clock row of the first token."""
    unmetered_start: int
    """Clock row of the first token for a listener who is not told the meter, only where the beats fall."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Notes left out or moved, by reason, such as `out_of_range`, `off_grid`, `overlapping`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a caller decides about a piece and no token says."""

    meter: Meter | None = field(default_factory=Meter)
    pickup_ticks: int = 0
    tempo_bpm: float = 100.0
    key_sharps: int | None = None
    program: int = 0


class IncrementalDecoder(ABC):
    """Turns tokens into notes while they arrive; whatever comes after the end token is not heard."""

    def __init__(self, end_token: int) -> None:
        self._end_token = end_token
        self._ended = False

    def feed(self, tokens: Iterable[int]) -> list[Note]:
        """Consume tokens; the notes whose end they decided, in the order in which they ended."""
        notes: list[Note] = []
        for token in tokens:
            if self._ended or token == self._end_token:
                self._ended = True
                break
            self._take(int(token), notes)
        return notes

    def finish(self) -> list[Note]:
        """No more tokens come: the notes that were still sounding end here."""
        self._ended = True
        notes: list[Note] = []
        self._close(notes)
        return notes

    @property
    @abstractmethod
    def length_ticks(self) -> int:
        """Ticks that the tokens so far have filled."""

    @property
    def setting(self) -> Setting:
        """What the tokens so far say of the setting; the defaults where no token says it."""
        return Setting()

    @abstractmethod
    def _take(self, token: int, notes: list[Note]) -> None:
        """Consume one token that is not the end, appending the notes whose end it decided."""

    @abstractmethod
    def _close(self, notes: list[Note]) -> None:
        """Append the notes that were still sounding."""


class Tokenizer(ABC):
    """A bijection between the scores on its grid and sequences of token ids.

    `decode(encode(score)) == score` for every score on the grid and inside the range, and
    `encode(decode(tokens)) == tokens` for every sequence that the grammar accepts and the end token closes.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    """Raised whenever the meaning of a token id, or what may follow what, changes."""

    vocabulary_size: int
    start_token: int
    """Fed as the previous token of the first step; never sampled."""
    end_token: int
    step_ticks: int
    """Length of one step in ticks."""
    tokens_per_step: int
    """Tokens that one step takes; 1 where that varies, so that what is counted in note-steps is counted in tokens."""
    bar_token: int | None = None
    """Closes a bar and opens the next, where how many tokens a bar takes depends on what is in it; else None."""
    grammar: Grammar
    clock: Clock
    voicing: Voicing | None = None
    """What the voices sound, where a step's tokens are one for each voice; the first feature of the clock is then the
    token's place in the step."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """JSON-ready arguments that make this tokenizer again through `from_parameters`."""

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> Self:
        """Make the tokenizer that `parameters` describes.

        Raises:
            ValueError: a parameter is missing, unknown, of another type or out of range.
        """
        try:
            return cls(**arguments_from(cls, parameters))
        except ValueError as error:
            raise ValueError(f"tokenizer {cls.name}: {error}") from error

    @classmethod
    @abstractmethod
    def fit(cls, parameters: dict[str, Any], scores: Iterable[Score]) -> Self:
        """Make the tokenizer for a corpus: what `parameters` leave open is taken from the training scores.

        Raises:
            ValueError: as `from_parameters`, or the scores hold nothing to take it from.
        """

    @abstractmethod
    def token_name(self, token: int) -> str:
        """The token in words, for people."""

    @abstractmethod
    def encode(self, score: Score) -> Encoding:
        """Write the score as tokens, closed by the end token.

        A meter that the clock does not count is heard without its bar lines.
        """

    @abstractmethod
    def decoder(self) -> IncrementalDecoder:
        """A fresh incremental decoder."""

    @abstractmethod
    def shifts(self, tokens: Tokens) -> range:
        """Transpositions in semitones, 0 among them, that keep a piece inside the vocabulary."""

    @abstractmethod
    def shifted(self, tokens: Tokens, semitones: int) -> Tokens:
        """Tokens of the piece transposed by one of its `shifts`."""

    def opening(self, setting: Setting) -> tuple[int, ...]:
        """The first tokens of every piece in this setting, where tokens say it."""
        return ()

    def _heard(self, tokens: Iterable[int]) -> tuple[list[Note], int, Setting]:
        """What a decoder makes of a whole piece: its notes in any order, its length in ticks and its setting."""
        decoder = self.decoder()
        notes = decoder.feed(tokens) + decoder.finish()
        return notes, decoder.length_ticks, decoder.setting

    def decode(self, tokens: Iterable[int], setting: Setting | None = None) -> Score:
        """The score that the tokens say; an end token closes it, with or without one at the end.

        Without a `setting`, the score has the one that the tokens say.
        """
        notes, length_ticks, said = self._heard(tokens)
        setting = setting or said
        notes.sort(key=IN_ORDER)
        return Score(
            notes=tuple(notes),
            length_ticks=length_ticks,
            meter=setting.meter,
            pickup_ticks=setting.pickup_ticks,
            tempo_bpm=setting.tempo_bpm,
            key_sharps=setting.key_sharps,
            program=setting.program,
        )

    def bar_count(self, length_ticks: int, setting: Setting) -> int:
        """Number of bar tokens after which a piece in this setting has `length_ticks`; 0 without a `bar_token`.

        It is the number of bars that the length reaches into, that of the pickup included.
        """
        return 0

    def token_count(self, length_ticks: int, setting: Setting) -> int:
        """Tokens that fill `length_ticks`, rounded up to a whole step; the end token is not counted.

        With a `bar_token`, how many it takes is not known before: then it is the most that the grammar allows up to
        the last of `bar_count` bar tokens.
        """
        return -(-length_ticks // self.step_ticks) * self.tokens_per_step

    @property
    def hash(self) -> str:
        """sha256 over name, version and parameters: equal exactly when token ids mean the same."""
        identity = {"name": self.name, "version": self.version, "parameters": self.parameters}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def require_pitches(lowest: int, highest: int) -> None:
    """Make sure that two MIDI numbers bound a range.

    Raises:
        ValueError: they do not.
    """
    if not 0 <= lowest <= highest <= 127:
        raise ValueError(f"pitches must satisfy 0 <= lowest <= highest <= 127, not {lowest} to {highest}")
