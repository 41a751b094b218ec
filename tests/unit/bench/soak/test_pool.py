import pickle
from pathlib import Path

import numpy as np
import pytest

from bench.soak.answers import Answer
from bench.soak.pool import RequestPool, answer_alone, reference_runner
from bench.soak.requests import ResumedRequest, TokenRequest
from music.bundle import load_bundle


@pytest.mark.slow
def test_the_pool_mixes_everything_that_a_caller_decides(pool: RequestPool) -> None:
    tokens = [request for request in pool.requests if isinstance(request, TokenRequest)]

    assert len({str(request) for request in pool.requests if not isinstance(request, ResumedRequest)}) + sum(
        isinstance(request, ResumedRequest) for request in pool.requests
    ) == len(pool.requests)
    assert set(pool.kinds) >= {
        "plain", "forced", "resumed", "composed", "continued", "rewritten", "constrained", "controlled", "particles",
    }  # fmt: skip
    assert {request.may_end for request in tokens} == {True, False}
    assert {request.stop_token is None for request in tokens} == {True, False}
    assert len({request.sampling for request in tokens}) > 15
    assert {each.reason for answer in pool.answers for each in answer.candidates} == {"length", "end"}
    assert isinstance(pool.requests[0], TokenRequest)
    assert pool.requests[0].max_tokens >= 128  # a long one


@pytest.mark.slow
def test_forced_tokens_are_legal(small_bundle: Path, pool: RequestPool) -> None:
    grammar = load_bundle(small_bundle).tokenizer.grammar
    forced = [request.forced for request in pool.requests if isinstance(request, TokenRequest)]

    assert any(forced)
    assert all(grammar.accepts(np.array(tokens, np.int64)) for tokens in forced)


@pytest.mark.slow
def test_a_resumed_request_has_the_answer_of_its_source_and_begins_half_way(pool: RequestPool) -> None:
    resumed = {index: each for index, each in enumerate(pool.requests) if isinstance(each, ResumedRequest)}

    assert resumed.keys() == pool.snapshots.keys()
    for index, request in resumed.items():
        source, snapshot = pool.answers[request.source], pool.snapshots[index]
        assert pool.answers[index] is source
        assert request.tokens <= len(snapshot.tokens) < len(source.candidates[0].tokens)
        assert snapshot.tokens.tolist() == source.candidates[0].tokens[: len(snapshot.tokens)].tolist()


@pytest.mark.slow
def test_another_runner_gives_the_same_answers(small_bundle: Path, pool: RequestPool) -> None:
    bundle = load_bundle(small_bundle)
    again = answer_alone(bundle, reference_runner(bundle, "cpu", "float32"), pool.requests)

    assert pool.differences(again) == []
    assert RequestPool(pool.requests, tuple(again)).sha256 == pool.sha256


@pytest.mark.slow
def test_the_pool_can_be_sent_to_another_process(small_bundle: Path, pool: RequestPool) -> None:
    bundle = load_bundle(small_bundle)
    sent = pickle.loads(pickle.dumps(pool))  # noqa: S301 - our own

    assert sent.sha256 == pool.sha256
    assert [request.seed for request in sent.engine_requests(bundle)] == [
        request.seed for request in pool.engine_requests(bundle)
    ]


def test_the_digest_is_of_all_answers() -> None:
    assert RequestPool((), (Answer(()),)).sha256 != RequestPool((), (Answer(()), Answer(()))).sha256
