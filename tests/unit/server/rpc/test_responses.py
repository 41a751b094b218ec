"""Responses: which of the candidates are returned, and what is built in a thread."""

import threading

import numpy as np
import pytest

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from server.engine.completion import Candidate, Completion, FinishReason
from server.errors import CandidateFailedError
from server.rpc.generation_spec import ModelTerms
from server.rpc.responses import _chosen, build_off_loop
from server.rpc.spec_builder import build_generation_spec


def candidate(index: int, nats: float, token: int) -> Candidate:
    """A candidate of one bar whose first token has these nats."""
    log_probabilities = np.zeros(64, np.float32)
    log_probabilities[0] = -nats
    tokens = np.full(64, token, np.int32)
    return Candidate(index, index, tokens, log_probabilities, np.zeros(64, np.bool_), FinishReason.LENGTH)


def chosen(bundle: Bundle, *candidates: Candidate, **fields: int) -> list[int]:
    """Indices of the returned candidates of a request for one bar."""
    request = pb.GenerateRequest(bars=1, candidates=4, **fields)  # type: ignore[arg-type]
    spec = build_generation_spec(request, ModelTerms(bundle))
    completion = Completion(candidates, queue_seconds=0.0, first_token_seconds=0.0, total_seconds=0.0)
    return [each.index for each, _ in _chosen(spec, completion)]


def test_the_likeliest_different_candidates_are_returned(bundle: Bundle) -> None:
    written = [candidate(0, 3.0, 5), candidate(1, 1.0, 6), candidate(2, 1.0, 6), candidate(3, 2.0, 7)]
    assert chosen(bundle, *written) == [1]
    assert chosen(bundle, *written, pieces=3) == [1, 3, 0]
    assert chosen(bundle, *written, pieces=4) == [1, 2, 3, 0]
    assert chosen(bundle, *written, candidate=2) == [2]
    with pytest.raises(CandidateFailedError):
        chosen(bundle, *written[:2], candidate=2)


async def test_what_has_many_tokens_is_built_in_a_thread() -> None:
    loop = threading.current_thread()
    assert await build_off_loop(threading.current_thread, tokens=1024) is loop
    assert await build_off_loop(threading.current_thread, tokens=1025) is not loop
