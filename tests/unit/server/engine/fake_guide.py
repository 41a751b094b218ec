"""A guide whose instructions are a simple function of the tokens so far."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import NO_BIAS, SAMPLED, Cursor, Guide, Instructions
from music.errors import NoTokenLeftError
from music.grammar import FORBIDDEN

STATIC_ROWS = 4


class FakeGuide(Guide):
    """Forces a primer, and then a token now and then. Sampled tokens have biases.

    Args:
        vocabulary: number of tokens, at least 6; the last one is never forced.
        primer: forced tokens at the start.
        period: the first of so many steps is forced; 0 for none.
        after: a token after which the next one is forced, so that it depends on the tokens which steps are; or None.
        ahead: most steps to tell at once.
        is_dynamic: whether a bias depends on the last token; then a sampled step is told alone, or with guesses behind
            it: that every token is the same as the last one.
        unlucky: where a sampled step follows a forced token after the primer, and the sum of all tokens is a multiple
            of this number, no token is left; 0 for never.
        length: tokens of a complete piece; None leaves that to the request.
        failing_step: the step at which the guide raises an error that is a bug; None for none.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        primer: tuple[int, ...] = (),
        period: int = 0,
        after: int | None = None,
        ahead: int = 100,
        is_dynamic: bool = False,
        unlucky: int = 0,
        length: int | None = None,
        failing_step: int | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.primer = primer
        self.period = period
        self.after = after
        self.ahead = ahead
        self.is_dynamic = is_dynamic
        self.unlucky = unlucky
        self.length = length
        self.failing_step = failing_step
        self.biases = np.zeros((STATIC_ROWS, vocabulary), np.float32)
        for row in range(1, STATIC_ROWS):
            self.biases[row, row] = FORBIDDEN

    def __repr__(self) -> str:
        values = {name: value for name, value in vars(self).items() if name != "biases"}
        return f"FakeGuide({values})"

    def cursor(self) -> "FakeCursor":
        return FakeCursor(self, [])

    def forced_token(self, step: int, last: int | None) -> int:
        """The forced token of a step after the token `last`, or `SAMPLED`."""
        if step < len(self.primer):
            return self.primer[step]
        if (self.period and step % self.period == 0) or (last is not None and last == self.after):
            return (1 + 3 * step) % (self.vocabulary - 1)
        return SAMPLED


class FakeCursor(Cursor):
    """Remembers all tokens, and checks that it is used as the contract says."""

    def __init__(self, guide: FakeGuide, tokens: list[int]) -> None:
        self._guide = guide
        self._tokens = tokens
        self._told = 0
        self._guesses: dict[int, int] = {}  # by step, the token before it

    def instructions(self, limit: int) -> Instructions:
        assert limit >= 1
        guide, done = self._guide, len(self._tokens)
        if done == guide.failing_step:
            raise KeyError("a bug of the guide")
        last = self._tokens[-1] if self._tokens else None
        after_given = done > len(guide.primer) and self._forced_before(done - 1) != SAMPLED
        if (
            after_given
            and guide.forced_token(done, last) == SAMPLED
            and guide.unlucky
            and sum(self._tokens) % guide.unlucky == 0
        ):
            raise NoTokenLeftError("constraints", "no token is left")
        self._guesses = {}
        forced: list[int] = []
        bias: list[int] = []
        extra: list[NDArray[np.float32]] = []
        resample = False
        while len(forced) < min(limit, guide.ahead) and not resample:
            step = done + len(forced)
            token = guide.forced_token(step, last)
            if token == SAMPLED and guide.is_dynamic:
                if forced and not self.guesses:
                    break
                if SAMPLED in forced:
                    self._guesses[step] = last or 0
                row = np.zeros(guide.vocabulary, np.float32)
                row[last or 0] = FORBIDDEN
                extra.append(row)
                bias.append(STATIC_ROWS + len(extra) - 1)
            else:
                bias.append(NO_BIAS if token != SAMPLED else step % STATIC_ROWS)
            forced.append(token)
            if token == SAMPLED and ((guide.is_dynamic and not self.guesses) or guide.after is not None):
                break
            if token != SAMPLED or not guide.is_dynamic:
                last = token
            follows = guide.forced_token(step + 1, None if token == SAMPLED else token)
            resample = token != SAMPLED and step >= len(guide.primer) and follows == SAMPLED
        self._told = max(self._told, done + len(forced))
        is_shared = not (guide.is_dynamic or guide.unlucky or guide.after is not None)
        guessed = done + len(forced) - min(self._guesses, default=done + len(forced))
        return Instructions(np.array(forced, np.int64), np.array(bias, np.int64), extra, resample, is_shared, guessed)

    def _forced_before(self, step: int) -> int:
        return self._guide.forced_token(step, self._tokens[step - 1] if step else None)

    def advance(self, tokens: NDArray[np.integer[Any]]) -> int:
        shared = not (self._guide.is_dynamic or self._guide.unlucky or self._guide.after is not None)
        assert shared or len(self._tokens) + len(tokens) <= self._told, "it was not told so many steps"
        for count, token in enumerate(tokens.tolist()):
            guess = self._guesses.get(len(self._tokens))
            if guess is not None and guess != self._tokens[-1]:
                return count
            forced = self._forced_before(len(self._tokens))
            assert forced in (SAMPLED, token), f"step {len(self._tokens)} gave {token} in place of {forced}"
            self._tokens.append(token)
        return len(tokens)

    def copy(self) -> "FakeCursor":
        copied = FakeCursor(self._guide, list(self._tokens))
        copied._told, copied._guesses, copied.guesses = self._told, self._guesses, self.guesses
        return copied

    @property
    def complete(self) -> bool:
        return self._guide.length is not None and len(self._tokens) >= self._guide.length
