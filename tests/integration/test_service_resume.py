"""A resume token continues a piece on another replica and after a restart, and only there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from tests.integration.serving import serving

pytestmark = pytest.mark.slow
CHORALES = "models/chorales"


@contextmanager
def replica(*arguments: str) -> "Iterator[pb_grpc.GenerationServiceStub]":
    with serving("--provider", "cpu", *arguments) as (address, _), grpc.insecure_channel(address) as channel:
        yield pb_grpc.GenerationServiceStub(channel)


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_bytes(bytes(range(40)))
    return str(path)


def resumed(request: pb.GenerateRequest, token: bytes, **fields: object) -> pb.GenerateRequest:
    """The request, as it continues a piece."""
    again = pb.GenerateRequest(**fields)  # type: ignore[arg-type]
    again.MergeFrom(request)
    again.ClearField("seed")
    again.resume_token = token
    return again


def refusal(stub: pb_grpc.GenerationServiceStub, request: pb.GenerateRequest) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Generate(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(caught.value.details())


def test_pieces_go_on_elsewhere(key: str) -> None:
    half = pb.GenerateRequest(bars=4, seed=21, return_resume_token=True)
    whole = pb.GenerateRequest(bars=8, seed=21)
    with replica("--resume-key-file", key) as first:
        part = first.Generate(half).pieces[0]
        expected = first.Generate(whole).pieces[0]
        stream = first.StreamGenerate(pb.StreamGenerateRequest(request=whole, resume_tokens=True))
        cut = [next(stream).resume_token for _ in range(2)]
        stream.cancel()
        ended = first.Generate(pb.GenerateRequest(seed=5, return_resume_token=True)).pieces[0]
    with replica("--resume-key-file", key) as restarted:
        for token in cut:
            assert restarted.Generate(resumed(whole, token)).pieces[0] == expected
        # The model may have closed the part, so another length is another piece from there on.
        prolonged = restarted.Generate(resumed(whole, part.resume_token)).pieces[0]
        assert prolonged.length_ticks == expected.length_ticks
        begun = [(note.onset_ticks, note.pitch) for note in prolonged.notes if note.onset_ticks < part.length_ticks]
        assert begun == [(note.onset_ticks, note.pitch) for note in part.notes]
        same = restarted.Generate(resumed(half, part.resume_token)).pieces[0]
        assert same.midi == part.midi
        assert (same.nats, same.token_count, same.seed) == (part.nats, part.token_count, 21)
        messages = list(restarted.StreamGenerate(pb.StreamGenerateRequest(request=resumed(half, part.resume_token))))
        assert messages[-1].response.pieces[0].midi == part.midi
        assert len([note for message in messages for note in message.notes]) == len(part.notes)
        ended_again = restarted.Generate(resumed(pb.GenerateRequest(), ended.resume_token)).pieces[0]
        assert ended_again.midi == ended.midi
        longer = ended.length_ticks // 1920 + 2
        assert restarted.Generate(resumed(pb.GenerateRequest(bars=longer), ended.resume_token)).pieces[0].notes

        assert refusal(restarted, resumed(pb.GenerateRequest(bars=3), part.resume_token)) == (
            "bars must not be less than what the resumed piece has already"
        )
        assert refusal(restarted, resumed(pb.GenerateRequest(bars=8, tempo_bpm=90.0), part.resume_token)).startswith(
            "resume_token belongs to another request"
        )
        assert refusal(restarted, resumed(pb.GenerateRequest(bars=8, model="folk"), part.resume_token)) == (
            "resume_token belongs to the model 'chorales', not to 'folk'"
        )
        seeded = resumed(whole, part.resume_token)
        seeded.seed = 22
        assert refusal(restarted, seeded) == "seed must be unset or 21, the seed of the resumed piece, not 22"
        seeded.seed = 21
        assert restarted.Generate(seeded).pieces[0] == prolonged
    with replica("--models", CHORALES, "--precision", "float32") as other:
        assert refusal(other, resumed(whole, part.resume_token)) == (
            "resume_token comes from a server with another key"
        )
    with replica("--models", CHORALES, "--resume-key-file", key, "--precision", "float32") as other:
        text = refusal(other, resumed(whole, part.resume_token))
        assert text == "resume_token belongs to the precision int8; this server runs chorales in float32"
