import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.soak.requests import PieceRequest, ResumedRequest, TokenRequest, draw_piece, draw_tokens, kinds_of
from fantasia.v1 import generation_pb2 as pb
from music.bundle import load_bundle


@pytest.mark.slow
def test_drawn_pieces_can_be_planned_and_are_the_same_again(small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    for seed in range(20):
        request = draw_piece(bundle, random.Random(seed))  # noqa: S311 - no secret

        assert request == draw_piece(bundle, random.Random(seed))  # noqa: S311 - no secret
        assert request.request.HasField("seed")
        assert request.engine_request(bundle).max_tokens <= 2048


def test_drawn_tokens_begin_like_an_earlier_answer(small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    generator = random.Random(1)  # noqa: S311 - no secret
    earlier = [(TokenRequest(seed=1, max_tokens=40), list(range(4, 10)) * 5)]
    drawn = [draw_tokens(bundle, generator, number, earlier) for number in range(100)]
    forced = [request.forced for request in drawn if request.forced]

    assert 10 < len(forced) < 50
    assert all(list(tokens) == earlier[0][1][: len(tokens)] for tokens in forced)
    assert all(request.max_tokens > len(request.forced) for request in drawn)


@pytest.mark.parametrize(
    ("request_", "kinds"),
    [
        (TokenRequest(seed=1, max_tokens=3), {"plain"}),
        (TokenRequest(seed=1, max_tokens=3, forced=(4,)), {"forced"}),
        (ResumedRequest(source=0, tokens=1), {"resumed"}),
        (PieceRequest.of(pb.GenerateRequest(steps=3)), {"composed"}),
        (PieceRequest.of(pb.GenerateRequest(steps=3, candidates=2)), {"composed", "candidates"}),
        (
            PieceRequest.of(pb.GenerateRequest(given=pb.GivenPiece(), constraints=pb.Constraints(no_rests=True))),
            {"continued", "constrained"},
        ),
        (
            PieceRequest.of(pb.GenerateRequest(given=pb.GivenPiece(), rewrite=[pb.Region()], controls=pb.Controls())),
            {"rewritten", "particles", "controlled"},
        ),
    ],
)
def test_kinds(request_: TokenRequest | PieceRequest | ResumedRequest, kinds: set[str]) -> None:
    assert kinds_of(request_) == kinds


def test_impossible_tokens_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_tokens must be at least 1"):
        TokenRequest(seed=1, max_tokens=0)
