from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.fuzz.spans import Span, merged, remaining

SPANS = st.lists(
    st.builds(lambda first, count: Span(first=first, end=first + count), st.integers(0, 40), st.integers(1, 9))
)


def cases(*spans: Span) -> list[int]:
    return [case for span in spans for case in range(span.first, span.end)]


@given(SPANS)
def test_merged_spans_have_the_same_cases_once_and_are_apart(spans: list[Span]) -> None:
    found = merged(spans)

    assert cases(*found) == sorted(set(cases(*spans)))
    assert all(one.end < other.first for one, other in pairwise(found))


@given(SPANS, st.integers(1, 60), st.integers(1, 12))
def test_what_remains_is_what_is_not_done(spans: list[Span], calls: int, size: int) -> None:
    left = list(remaining(spans, calls, size))

    assert cases(*left) == sorted(set(range(calls)) - set(cases(*spans)))
    assert all(span.count <= size for span in left)


def test_slices_are_as_large_as_they_may_be() -> None:
    left = remaining([Span(first=3, end=5)], calls=10, size=4)

    assert [(span.first, span.end) for span in left] == [(0, 3), (5, 9), (9, 10)]


@pytest.mark.parametrize(("first", "end"), [(3, 3), (3, 2), (-1, 2)])
def test_a_span_has_cases(first: int, end: int) -> None:
    with pytest.raises(ValidationError, match="are none"):
        Span(first=first, end=end)
