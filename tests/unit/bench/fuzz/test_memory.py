import random

import pytest

from bench.fuzz.cases import Case, generate_request
from bench.fuzz.memory import Memory, same_piece
from fantasia.v1 import generation_pb2 as pb

REQUEST = pb.GenerateRequest(steps=4)


def answered(seed: int = 9, candidates: int = 1, token: bytes = b"") -> pb.GenerateResponse:
    piece = pb.Piece(seed=seed, midi=b"MThd", resume_token=token, nats=1.0)
    return pb.GenerateResponse(pieces=[piece], candidates=candidates)


def request_of(case: Case | None) -> pb.GenerateRequest:
    assert case is not None
    request = generate_request(case.method, case.message)
    assert request is not None
    return request


def test_nothing_is_known_at_first() -> None:
    assert Memory().repeated(random.Random(1)) is None
    assert Memory().resumed(random.Random(1)) is None


def test_a_repeated_request_has_the_seed_of_its_answer() -> None:
    memory = Memory()
    memory.keep(REQUEST, answered(), [], 0)
    case = memory.repeated(random.Random(1))

    assert request_of(case) == pb.GenerateRequest(steps=4, seed=9)
    assert case is not None
    assert case.expected == answered()


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (REQUEST, answered(candidates=2)),  # each of the candidates has another seed, drawn by the server
        (pb.GenerateRequest(steps=4, seed=1, resume_token=b"x"), answered()),
    ],
)
def test_answers_that_cannot_be_asked_for_again_are_not_kept(
    request_: pb.GenerateRequest, response: pb.GenerateResponse
) -> None:
    memory = Memory()
    memory.keep(request_, response, [], 0)

    assert memory.repeated(random.Random(1)) is None


def test_resumed_pieces_are_right_or_say_what_is_wrong() -> None:
    memory = Memory()
    memory.keep(REQUEST, answered(token=b"0123456789"), [b"half way"], 0)
    cases = [memory.resumed(random.Random(seed)) for seed in range(200)]

    for case in cases:
        assert case is not None
        request = request_of(case)
        is_right = request.resume_token in (b"0123456789", b"half way") and not request.HasField("program")
        assert bool(case.broken) == (not is_right) or not request.resume_token
        prefix = "request." if case.method == "StreamGenerate" else ""
        assert case.broken in ((), (f"{prefix}resume_token",))
        assert case.expected is None or (is_right and request.steps == 4)
    assert {request_of(case).resume_token for case in cases} >= {b"0123456789", b"half way"}
    assert len({request_of(case).steps for case in cases}) > 1


def test_old_answers_make_room() -> None:
    memory = Memory()
    for number in range(1000):
        memory.keep(REQUEST, answered(seed=number), [], number)
    seeds = {request_of(memory.repeated(random.Random(seed))).seed for seed in range(300)}

    assert min(seeds) >= 1000 - 64


def test_equal_pieces_may_have_other_tokens_and_times() -> None:
    other = answered(token=b"another")
    other.timing.total_seconds = 3.0
    assert same_piece(answered(), other)
    other.pieces[0].midi = b"MThd."
    assert not same_piece(answered(), other)
