"""The base class of all tokenizers.

A new tokenizer subclasses `Tokenizer` in a module of its own, sets the attributes, implements the abstract methods, and
gets an entry in `music.tokenizers.TOKENIZERS`. Add an instance to the list in `tests/unit/music/test_tokenizers.py`: it
tests the properties of all tokenizers (round trips, incremental decoding, grammar, transposition).
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from music.composition.plan import WritingCapabilities, WritingPlan
from music.composition.task import WritingTask
from music.errors import UnsupportedTaskError
from music.grammar import Grammar
from music.positions import MetricalPositions
from music.remaining_length import RemainingLength
from music.score import NOTE_ORDER, Note, Score, ScoreAttributes
from music.tokenizers.note_tracker import NoteTracker
from music.tokenizers.parameters import parse_parameters
from music.voice_tracker import VoiceTracker

Tokens = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Encoding:
    """A piece as tokens, with counts of the notes that the tokenizer could not represent."""

    tokens: Tokens
    """(n,), with the end token as the last; without the start token."""
    first_position: int
    """Position index of the first token."""
    unmetered_first_position: int
    """Position index of the first token for an unknown meter, where only the place within the quarter is known."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Number of notes left out or moved, by reason, such as `out_of_range`, `off_grid`, `overlapping`."""


class IncrementalDecoder(ABC):
    """Turns tokens into notes while they arrive. Tokens after the end token are ignored."""

    def __init__(self, end_token: int) -> None:
        self._end_token = end_token
        self._ended = False

    def feed(self, tokens: Iterable[int]) -> list[Note]:
        """Decode more tokens; return the notes that are now complete, in the order of their ends."""
        notes: list[Note] = []
        for token in tokens:
            if self._ended or token == self._end_token:
                self._ended = True
                break
            self._decode(int(token), notes)
        return notes

    def finish(self) -> list[Note]:
        """Return the notes that are still sounding: they end here. No tokens may follow."""
        self._ended = True
        notes: list[Note] = []
        self._finish(notes)
        return notes

    @property
    @abstractmethod
    def length_ticks(self) -> int:
        """Length of the piece so far, in ticks."""

    @property
    @abstractmethod
    def watermark_ticks(self) -> int:
        """No note begins or ends before this tick any more, except those that were returned.

        A note in `sounding` has begun and ends later, or at this tick.
        """

    @property
    @abstractmethod
    def sounding(self) -> Sequence[Note]:
        """Notes that have begun and were not returned, with their durations so far, at least a step.

        In the order of `NOTE_ORDER`. A tokenizer that states durations gives the whole duration.
        """

    @property
    def attributes(self) -> ScoreAttributes:
        """The attributes from the tokens so far, and the defaults of those that have no tokens."""
        return ScoreAttributes(has_dynamics=False)

    @abstractmethod
    def _decode(self, token: int, notes: list[Note]) -> None:
        """Decode one token other than the end token; append the notes that it completes."""

    @abstractmethod
    def _finish(self, notes: list[Note]) -> None:
        """Append the notes that are still sounding."""


class Tokenizer(ABC):
    """A bijection between the scores on its grid and sequences of token ids.

    `decode(encode(score)) == score` for every score on the grid and in range, and `encode(decode(tokens)) == tokens`
    for every sequence that the grammar accepts and that ends with the end token.
    """

    name: ClassVar[str]
    """Name in configurations and manifests."""
    version: ClassVar[int]
    """Incremented if the meaning of a token id or the grammar changes."""

    vocabulary_size: int
    """Number of token ids, from 0."""
    start_token: int
    """The previous token of the first token; never sampled."""
    end_token: int
    """The last token of a complete piece."""
    step_ticks: int
    """Length of a step of the grid in ticks."""
    tokens_per_step: int
    """Number of tokens of a step; 1 if it varies: figures per note-step are then figures per token."""
    bar_token: int | None = None
    """The token between two bars, if the number of tokens of a bar varies; else None."""
    ranges: tuple[tuple[int, int], ...]
    """Lowest and highest pitch of each voice, the highest voice first."""
    grammar: Grammar
    """Which token may follow which."""
    positions: MetricalPositions
    """Position index of each token; a single index if tokens state the position themselves."""
    remaining_length: RemainingLength
    """How the length that is left of a piece is counted, and what a network sees of it."""
    writing: WritingCapabilities = WritingCapabilities()
    """Which tasks `plan` can plan."""
    voice_tracker: VoiceTracker | None = None
    """Set if each step has one token for each voice. The first feature of a position is then the place in the step."""
    note_tracker: NoteTracker | None = None
    """Set if the tokens are those of `music.tokenizers.event_vocabulary`."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """JSON-serializable arguments from which `from_parameters` makes an equal tokenizer."""

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> Self:
        """Make a tokenizer from its `parameters`.

        Raises:
            ValueError: a parameter is missing, unknown, of a wrong type or out of range.
        """
        try:
            return cls(**parse_parameters(cls, parameters))
        except ValueError as error:
            raise ValueError(f"tokenizer {cls.name}: {error}") from error

    @classmethod
    @abstractmethod
    def fit(cls, parameters: dict[str, Any], scores: Iterable[Score]) -> Self:
        """Make a tokenizer for a corpus: parameters that are not set are computed from the training scores.

        Raises:
            ValueError: see `from_parameters`; or the scores contain no notes to compute a parameter from.
        """

    @abstractmethod
    def token_name(self, token: int) -> str:
        """A readable name of the token."""

    @abstractmethod
    def encode(self, score: Score) -> Encoding:
        """Encode a score as tokens, the end token last.

        A score in a meter without positions of its own is encoded without bar lines.
        """

    @abstractmethod
    def decoder(self) -> IncrementalDecoder:
        """A new incremental decoder."""

    @abstractmethod
    def transpositions(self, tokens: Tokens) -> range:
        """The transpositions in semitones, including 0, that keep a piece in the vocabulary."""

    @abstractmethod
    def transposed(self, tokens: Tokens, semitones: int) -> Tokens:
        """The tokens of the piece, transposed by one of its `transpositions`."""

    def plan(self, task: WritingTask) -> WritingPlan:
        """Plan how a sequence writes a task.

        Raises:
            UnsupportedTaskError: the tokenizer cannot plan tasks of this kind; see `writing`.
            ContradictionError: parts of the task exclude each other.
            UnsupportedMeterError: the model has no positions for the meter or the pickup of a new piece.
        """
        raise UnsupportedTaskError("given", f"models with the tokenizer {self.name} only compose new pieces")

    def has_dynamics(self, given: bool | None) -> bool:
        """Whether the written notes of a piece have dynamics of their own.

        Args:
            given: whether the given piece has dynamics (`Score.has_dynamics`); None for a new piece.
        """
        return False

    def header_tokens(self, attributes: ScoreAttributes) -> tuple[int, ...]:
        """The first tokens of every piece with these attributes; empty if attributes have no tokens."""
        return ()

    def _decode_all(self, tokens: Iterable[int]) -> tuple[list[Note], int, ScoreAttributes]:
        """Decode a whole piece: its notes in any order, its length in ticks and its attributes."""
        decoder = self.decoder()
        notes = decoder.feed(tokens) + decoder.finish()
        return notes, decoder.length_ticks, decoder.attributes

    def decode(self, tokens: Iterable[int], attributes: ScoreAttributes | None = None) -> Score:
        """Decode a piece, up to its end token if it has one.

        Args:
            tokens: of the piece.
            attributes: of the score; None for those that the tokens have. The tokens alone say whether there are
                dynamics.
        """
        notes, length_ticks, decoded = self._decode_all(tokens)
        attributes = attributes or decoded
        notes.sort(key=NOTE_ORDER)
        return Score(
            notes=tuple(notes),
            length_ticks=length_ticks,
            meter=attributes.meter,
            pickup_ticks=attributes.pickup_ticks,
            tempo_bpm=attributes.tempo_bpm,
            key_sharps=attributes.key_sharps,
            program=attributes.program,
            has_dynamics=decoded.has_dynamics,
        )

    def bar_count(self, length_ticks: int, attributes: ScoreAttributes) -> int:
        """Number of bar tokens after which a piece with these attributes has `length_ticks`; 0 without a `bar_token`.

        It is the number of bars, complete or not, the bar of the pickup included.
        """
        return 0

    def token_count(self, length_ticks: int, attributes: ScoreAttributes) -> int:
        """Number of tokens of a piece of `length_ticks`, rounded up to a whole step, without the end token.

        With a `bar_token` the number varies: then it is the maximum that the grammar allows up to the last of
        `bar_count` bar tokens.
        """
        return -(-length_ticks // self.step_ticks) * self.tokens_per_step

    @property
    def hash(self) -> str:
        """sha256 of name, version and parameters. It is equal if and only if the token ids mean the same."""
        identity = {"name": self.name, "version": self.version, "parameters": self.parameters}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def check_pitch_range(lowest: int, highest: int) -> None:
    """Check that two MIDI numbers are a range.

    Raises:
        ValueError: they are not.
    """
    if not 0 <= lowest <= highest <= 127:
        raise ValueError(f"pitches must satisfy 0 <= lowest <= highest <= 127, not {lowest} to {highest}")
