import math
from concurrent.futures import Future

import numpy as np
import pytest

from bench.soak.answers import Answer, CandidateAnswer
from music.errors import NoTokenLeftError
from server.engine.completion import Completion
from server.engine.errors import ConstraintError, EngineStoppedError


def candidate(
    tokens: list[int], reason: str = "end", values: list[float] | None = None, index: int = 0
) -> CandidateAnswer:
    return CandidateAnswer(index, np.array(tokens, np.int32), reason, np.array(values or [], np.float32))


def first_difference(one: CandidateAnswer, other: CandidateAnswer) -> int | None:
    place = Answer((one,)).first_difference(Answer((other,)))

    assert place == Answer((other,)).first_difference(Answer((one,)))
    return place


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        ([4, 5], [4, 5], None),
        ([1, 2, 3], [1, 9, 3], 1),
        ([1, 2], [1, 2, 3], 2),
        ([], [1], 0),
    ],
)
def test_the_first_token_that_differs(one: list[int], other: list[int], place: int | None) -> None:
    assert first_difference(candidate(one), candidate(other)) == place


def test_another_reason_to_end_is_a_difference_too() -> None:
    assert first_difference(candidate([4, 5]), candidate([4, 5], "length")) == 2


def test_log_probabilities_are_compared_bit_by_bit_where_both_are_known() -> None:
    known = candidate([4, 5], values=[-1.0, -2.0])

    assert first_difference(known, candidate([4, 5], values=[-1.0, -2.0])) is None
    assert first_difference(known, candidate([4, 5], values=[math.nan, -2.0])) is None
    assert first_difference(known, candidate([4, 5])) is None
    assert first_difference(known, candidate([4, 5], values=[-1.0, np.nextafter(np.float32(-2), np.float32(0))])) == 1


def test_other_candidates_are_a_difference() -> None:
    both = Answer((candidate([1]), candidate([2], index=1)))

    assert both.first_difference(Answer((candidate([1]),))) == 0
    assert both.first_difference(Answer((candidate([1]), candidate([2], index=2)))) == 0
    assert both.first_difference(Answer((candidate([1]), candidate([3], index=1)))) == 0
    assert Answer(()).first_difference(Answer(())) is None


def test_a_request_without_a_possible_candidate_has_an_empty_answer() -> None:
    failed: Future[Completion] = Future()
    failed.set_exception(ConstraintError(NoTokenLeftError("constraints.chords", "no token is left")))
    stopped: Future[Completion] = Future()
    stopped.set_exception(EngineStoppedError("small is stopped"))

    assert Answer.of(failed).candidates == ()
    with pytest.raises(EngineStoppedError):
        Answer.of(stopped)


def test_the_text_depends_on_tokens_reasons_and_order() -> None:
    texts = {
        Answer((candidate([4, 5]),)).text,
        Answer((candidate([4], index=0), candidate([5], index=1))).text,
        Answer((candidate([4, 5], "length"),)).text,
        Answer((candidate([5, 4]),)).text,
        Answer(()).text,
    }

    assert len(texts) == 5
