"""Ranges of case indices: which cases were sent, and which are left."""

from collections.abc import Iterable, Iterator
from typing import Self

from pydantic import model_validator

from report import Record


class Span(Record):
    """Cases one after the other."""

    first: int
    """Index of the first one, from 0."""
    end: int
    """Index after the last one."""

    @model_validator(mode="after")
    def _has_cases(self) -> Self:
        if not 0 <= self.first < self.end:
            raise ValueError(f"cases {self.first} to {self.end} are none")
        return self

    @property
    def count(self) -> int:
        """Number of cases."""
        return self.end - self.first


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same cases as the fewest spans, in order."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: span.first):
        if found and span.first <= found[-1].end:
            found[-1] = Span(first=found[-1].first, end=max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)


def remaining(done: Iterable[Span], calls: int, size: int) -> Iterator[Span]:
    """The cases below `calls` that are not done, in order, as spans of at most `size` cases."""
    place = 0
    for span in (*merged(done), Span(first=calls, end=calls + 1)):
        border = min(span.first, calls)
        for first in range(place, border, size):
            yield Span(first=first, end=min(first + size, border))
        place = max(place, span.end)
