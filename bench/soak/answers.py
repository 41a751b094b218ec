"""The part of an answer that must not depend on other requests."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from server.engine.completion import Candidate, Completion
from server.engine.errors import ConstraintError


@dataclass(frozen=True, slots=True, eq=False)
class CandidateAnswer:
    """One candidate of an answer."""

    index: int
    tokens: NDArray[np.int32]
    """(n,)."""
    reason: str
    log_probabilities: NDArray[np.float32]
    """(n,); NaN where they are unknown. Empty: not compared."""

    @classmethod
    def of(cls, candidate: Candidate) -> Self:
        """The answer of a candidate."""
        return cls(candidate.index, candidate.tokens, candidate.finish_reason.value, candidate.log_probabilities)

    def first_difference(self, other: "CandidateAnswer") -> int | None:
        """The first token that differs, by itself or by its log-probability; None if none does.

        It is the length of the shorter answer if that is the beginning of the other, or if only the reasons differ.
        """
        shared = min(len(self.tokens), len(other.tokens))
        differs = self.tokens[:shared] != other.tokens[:shared]
        known = min(shared, len(self.log_probabilities), len(other.log_probabilities))
        ours, theirs = self.log_probabilities[:known], other.log_probabilities[:known]
        differs[:known] |= (ours != theirs) & ~np.isnan(ours) & ~np.isnan(theirs)
        places = np.flatnonzero(differs)
        if len(places):
            return int(places[0])
        same = len(self.tokens) == len(other.tokens) and self.reason == other.reason
        return None if same else shared


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """An answer: its candidates, in the order of their index; none if no candidate could satisfy its constraints."""

    candidates: tuple[CandidateAnswer, ...]

    @classmethod
    def of(cls, future: "Future[Completion]") -> Self:
        """The answer of a request that is done.

        Raises:
            EngineError: the engine failed.
        """
        try:
            return cls(tuple(map(CandidateAnswer.of, future.result().candidates)))
        except ConstraintError:
            return cls(())

    @property
    def text(self) -> str:
        """Tokens and reasons of all candidates, for digests."""
        return ";".join(
            f"{each.index} {each.reason} {' '.join(map(str, each.tokens.tolist()))}" for each in self.candidates
        )

    def first_difference(self, other: "Answer") -> int | None:
        """The first token that differs in the first candidate that differs; None if the answers are equal."""
        for ours, theirs in zip(self.candidates, other.candidates, strict=False):
            if ours.index != theirs.index:
                return 0
            if (place := ours.first_difference(theirs)) is not None:
                return place
        return None if len(self.candidates) == len(other.candidates) else 0
