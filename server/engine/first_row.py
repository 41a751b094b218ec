"""The inputs of a sequence's first decode step outside the batch."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import SAMPLED, Cursor
from server.engine.guided_rows import check_instructions, without_token
from server.engine.request import EngineRequest


@dataclass(frozen=True, slots=True, eq=False)
class FirstRow:
    """The first steps of one sequence."""

    request: EngineRequest
    """Its request, for one candidate."""
    forced: NDArray[np.int64]
    """(steps,): the forced token, or `SAMPLED`."""
    biases: list[NDArray[np.float32]]
    """The bias row (vocabulary,) of each step."""
    cursor: Cursor | None
    """Before these steps; None without a guide."""

    @classmethod
    def of(cls, request: EngineRequest, steps: int, vocabulary: int) -> Self | None:
        """Return the first `steps` steps of a request; None if its guide does not tell so many now."""
        if request.guide is None:
            forced = np.full(steps, SAMPLED, np.int64)
            forced[: len(request.forced)] = request.forced
            return cls(request, forced, [request.bias(vocabulary)] * steps, None)
        try:
            cursor = request.guide.cursor()
            instructions = cursor.instructions(steps)
            check_instructions(instructions, vocabulary)
            rows = [*request.guide.biases, *instructions.extra]
            biases = [without_token(rows[index], request.banned_token) for index in instructions.bias.tolist()]
        except Exception:  # the batch asks again, and fails the request
            return None
        return cls(request, instructions.forced, biases, cursor) if len(biases) == steps else None

    @property
    def given(self) -> NDArray[np.bool_]:
        """(steps,), which of the tokens are given."""
        given: NDArray[np.bool_] = self.forced != SAMPLED
        return given

    def may_complete(self, tokens: NDArray[np.int64]) -> bool:
        """Whether the first tokens (steps,) complete the sequence, or may complete it, or the guide fails on them."""
        request = self.request
        if request.end_token in tokens:
            return True
        if request.stop_token is not None and np.count_nonzero(tokens == request.stop_token) >= request.stop_count:
            return True
        if self.cursor is None:
            return False
        try:
            self.cursor.advance(tokens)
            return self.cursor.complete
        except Exception:  # the batch fails the request
            return True
