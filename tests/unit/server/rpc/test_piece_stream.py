"""The messages of a piece: as many as the caller reads, and no note twice."""

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from music.score import Meter, Note, Score
from server.engine.completion import Candidate, Completion, FinishReason
from server.engine.snapshot import Snapshot
from server.rpc.generation_spec import GenerationSpec, ModelTerms
from server.rpc.messages import add_notes
from server.rpc.piece_stream import PieceStream
from server.rpc.resume_token import ResumeTokens
from server.rpc.spec_builder import build_generation_spec

NOTES = tuple(Note(step * 480, 480, 60 + step % 7, 80, voice) for step in range(16) for voice in range(2))


@pytest.fixture
def terms(bundle: Bundle) -> ModelTerms:
    return ModelTerms(bundle, resume_tokens=ResumeTokens(bytes(32)))


@pytest.fixture
def spec(terms: ModelTerms) -> GenerationSpec:
    return build_generation_spec(pb.GenerateRequest(bars=4, seed=5), terms, resume_tokens=True)


@pytest.fixture
def tokens(bundle: Bundle) -> NDArray[np.int32]:
    return bundle.tokenizer.encode(Score(NOTES, 4 * 1920, Meter())).tokens[:-1]


def snapshot(tokens: NDArray[np.int32]) -> Snapshot:
    return Snapshot(tokens, {"h": np.zeros(2, np.float32)}, len(tokens), 1.0, 0.0, started=True, seed=5)


def completion(tokens: NDArray[np.int32]) -> Completion:
    zeros = np.zeros(len(tokens), np.float32)
    candidate = Candidate(0, 5, tokens, zeros, zeros > 0, FinishReason.LENGTH, snapshot(tokens))
    return Completion((candidate,), queue_seconds=0.0, first_token_seconds=0.0, total_seconds=0.0)


def response() -> pb.GenerateResponse:
    made = pb.GenerateResponse(pieces=[pb.Piece(length_ticks=4 * 1920, resume_token=b"last")])
    add_notes(made.pieces[0].notes, NOTES)
    return made


async def read(stream: PieceStream, parts: list[NDArray[np.int32]], *, slowly: bool) -> list[Any]:
    """The messages of a stream that gets these parts, each when the one before was read, or all at once."""
    done: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
    messages: list[Any] = []

    async def collect() -> None:
        async for message in stream.messages(done):
            messages.append(message)

    reader = asyncio.ensure_future(collect())
    so_far = np.zeros(0, np.int32)
    for part in parts:
        so_far = np.concatenate([so_far, part])
        await asyncio.to_thread(stream.tokens, part, snapshot(so_far))
        if not slowly:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    done.set_result(completion(so_far))
    await reader
    return [*messages, await stream.last_message(completion(so_far), response(), keep_tokens=False)]


async def test_a_fast_reader_gets_each_part(terms: ModelTerms, spec: GenerationSpec, tokens: NDArray[np.int32]) -> None:
    parts = np.array_split(tokens, 8)
    messages = await read(PieceStream(terms, spec, resume_tokens=True), parts, slowly=False)

    assert len(messages) == 9
    assert [message.HasField("start") for message in messages] == [True, *[False] * 8]
    assert all(message.resume_token.startswith(b"FRT") for message in messages[:-1])
    assert messages[-1].resume_token == b"last"
    assert not messages[-1].response.pieces[0].resume_token
    notes = [note for message in messages for note in message.notes]
    key = lambda note: (note.onset_ticks, note.voice)  # noqa: E731
    assert sorted(notes, key=key) == list(response().pieces[0].notes)
    assert [message.watermark_ticks for message in messages] == [*range(960, 7681, 960), 7680]
    assert {note.voice for note in messages[0].sounding} == {0, 1}


async def test_what_waits_is_one_message(terms: ModelTerms, spec: GenerationSpec, tokens: NDArray[np.int32]) -> None:
    stream = PieceStream(terms, spec, resume_tokens=False)
    for part in np.array_split(tokens, 64):
        stream.tokens(part, None)
    messages = await read(stream, [], slowly=True)

    assert len(messages) == 2
    assert messages[0].watermark_ticks == 4 * 1920
    assert not messages[0].resume_token


async def test_an_error_of_the_engine_ends_the_stream(terms: ModelTerms, spec: GenerationSpec) -> None:
    done: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
    done.set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await anext(PieceStream(terms, spec, resume_tokens=False).messages(done))
