"""The plan of a request that only composes: nothing is given, and no note is constrained.

Such requests are most of all, so their plan costs next to nothing, and every tokenizer has it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from music.composition.plan import NoteStream, WritingPlan
from music.score import Note, Score, ScoreAttributes
from music.tokenizers import IncrementalDecoder, Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class PlainPlan(WritingPlan):
    """The tokens of a new piece: a header, and what the model makes of it."""

    tokenizer: Tokenizer | None = None
    attributes: ScoreAttributes = field(default_factory=ScoreAttributes)
    length_ticks: int = 0
    """Length of the piece, or its maximum."""

    @classmethod
    def make(cls, tokenizer: Tokenizer, attributes: ScoreAttributes, length_ticks: int, *, is_open: bool) -> Self:
        """The plan of a piece.

        Args:
            tokenizer: of the model.
            attributes: of the piece; the model knows its meter.
            length_ticks: its length, or its maximum if `is_open`; a whole number of steps.
            is_open: whether the model decides where it ends.
        """
        return cls(
            position_index=tokenizer.positions.start(attributes.meter),
            primer=tokenizer.header_tokens(attributes),
            guide=None,
            max_tokens=tokenizer.token_count(length_ticks, attributes),
            may_end=is_open,
            stop_token=tokenizer.bar_token,
            # After the n-th bar token, n bars are complete; notes beyond the length are cut off. The grammar bounds the
            # tokens of a bar, so this happens before `max_tokens` is reached.
            stop_count=tokenizer.bar_count(length_ticks, attributes),
            tokenizer=tokenizer,
            attributes=attributes,
            length_ticks=length_ticks,
        )

    def score(self, tokens: NDArray[np.integer[Any]]) -> Score:
        """See `WritingPlan.score`."""
        assert self.tokenizer is not None
        return self.tokenizer.decode(tokens.tolist(), self.attributes).truncated(self.length_ticks)

    def stream(self) -> "PlainStream":
        """See `WritingPlan.stream`."""
        assert self.tokenizer is not None
        return PlainStream(self.tokenizer.decoder(), self.length_ticks)

    def note_steps(self, tokens: NDArray[np.integer[Any]]) -> int:
        """See `WritingPlan.note_steps`."""
        assert self.tokenizer is not None
        ended = len(tokens) > 0 and tokens[-1] == self.tokenizer.end_token
        return max(len(tokens) - len(self.primer) - int(ended), 1)


class PlainStream(NoteStream):
    """The notes of a decoder, cut at the length of the piece.

    Args:
        decoder: at the start of the piece.
        length_ticks: maximum length of the piece.
    """

    def __init__(self, decoder: IncrementalDecoder, length_ticks: int) -> None:
        self._decoder = decoder
        self._length_ticks = length_ticks

    def feed(self, tokens: Iterable[int]) -> list[Note]:
        """See `NoteStream.feed`."""
        return self._cut(self._decoder.feed(tokens))

    def finish(self) -> list[Note]:
        """See `NoteStream.finish`."""
        return self._cut(self._decoder.finish())

    @property
    def watermark_ticks(self) -> int:
        """See `NoteStream.watermark_ticks`."""
        return min(self._decoder.watermark_ticks, self._length_ticks)

    @property
    def sounding(self) -> Sequence[Note]:
        """See `NoteStream.sounding`."""
        return self._cut(self._decoder.sounding)

    def _cut(self, notes: Iterable[Note]) -> list[Note]:
        end = self._length_ticks
        return [
            note if note.end <= end else note._replace(duration=end - note.onset) for note in notes if note.onset < end
        ]
