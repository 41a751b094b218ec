"""`Generate` with a model whose number of tokens does not determine the length of the piece."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.bundle import Bundle
from music.grammar import FORBIDDEN
from music.midi import read_midi
from music.remaining_length import UNKNOWN
from music.score import Meter
from music.tokenizers import EventsTokenizer, Tokenizer
from runtime.runner import Chunk, Decoded
from server.app import App
from server.catalogue import ServedModel
from server.loading import create_served_model
from server.metrics import Metrics
from server.settings import Settings
from tests.no_states import NoStates

TOKENIZER = EventsTokenizer(lowest_pitch=40, highest_pitch=80, meters=(Meter(4, 4), Meter(3, 4)))
_SELDOM = 0.12  # probability that the bar or the piece ends where it may


class LegalRunner(NoStates):
    """Samples tokens that the grammar allows, by the uniforms only, and uses forced tokens."""

    provider = "LegalProvider"
    precision = "exact"
    first_token_runner = None

    def __init__(self, tokenizer: Tokenizer, chunk_sizes: tuple[int, ...]) -> None:
        self.slots = self.max_batch_size = 2
        self.vocabulary = tokenizer.vocabulary_size
        self.chunk_sizes = chunk_sizes
        self._tokenizer = tokenizer
        self._state = [0] * self.slots

    def reset(self, slot: int, position_index: int, remaining: int = UNKNOWN) -> None:
        self._state[slot] = self._tokenizer.grammar.joint_start

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        for first in range(0, len(tokens), slice_tokens):
            part = tokens[first : first + slice_tokens].tolist()
            for token in part:
                self._state[slot] = self._tokenizer.grammar.joint_successor(self._state[slot], token)
            yield len(part)

    def decode(self, chunk: Chunk) -> Decoded:
        tokens = np.empty((chunk.batch_size, chunk.steps), np.int64)
        for (index, step), forced in np.ndenumerate(chunk.forced):
            slot = int(chunk.rows[index])
            token = int(forced)
            if token < 0:
                allowed = chunk.bias[chunk.bias_index[index, step]] > FORBIDDEN
                token = self._choose(self._state[slot], allowed, float(chunk.uniforms[index, step]))
            tokens[index, step] = token
            self._state[slot] = self._tokenizer.grammar.joint_successor(self._state[slot], token)
        return Decoded(tokens, np.zeros(tokens.shape, np.float32))

    def close(self) -> None:
        pass

    def _choose(self, state: int, allowed: NDArray[np.bool_], uniform: float) -> int:
        legal = np.flatnonzero(self._tokenizer.grammar.joint_allowed(state) & allowed).tolist()
        closing = [t for t in legal if t in (self._tokenizer.bar_token, self._tokenizer.end_token)]
        if closing and uniform < _SELDOM:
            return int(closing[int(uniform / _SELDOM * len(closing))])
        return int(legal[int(uniform * len(legal))])


async def generate(
    bundle: Bundle, folder: Path, *requests: pb.GenerateRequest, chunk_sizes: tuple[int, ...] = (1, 8)
) -> list[pb.Piece]:
    """The pieces of a whole server."""
    piano = Bundle(bundle.path, bundle.manifest, bundle.digest, TOKENIZER)

    def load(settings: Settings, metrics: Metrics) -> list[ServedModel]:
        return [create_served_model(piano, LegalRunner(TOKENIZER, chunk_sizes), settings.queue_limit, metrics)]

    settings = Settings(port=0, metrics_port=0, models=folder, queue_limit=9, drain_seconds=5.0)
    async with App(settings, load) as app, grpc.aio.insecure_channel(app.address) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        return [(await stub.Generate(request)).pieces[0] for request in requests]


async def test_a_piece_has_the_requested_length(bundle: Bundle, tmp_path: Path) -> None:
    requests = [
        pb.GenerateRequest(bars=4, seed=1),
        pb.GenerateRequest(bars=3, seed=2, meter=pb.Meter(numerator=3, denominator=4)),
        pb.GenerateRequest(steps=1, seed=3),
        pb.GenerateRequest(steps=50, seed=4),
        pb.GenerateRequest(seconds=5.0, tempo_bpm=60, seed=5),
    ]
    pieces = await generate(bundle, tmp_path, *requests)

    assert [piece.length_ticks for piece in pieces] == [4 * 1920, 3 * 1440, 40, 2000, 2400]
    for piece in pieces:
        assert piece.finish_reason == pb.FINISH_REASON_LENGTH
        assert all(note.onset_ticks + note.duration_ticks <= piece.length_ticks for note in piece.notes)
    assert max(note.onset_ticks for note in pieces[0].notes) >= 2 * 1920


@pytest.mark.parametrize("chunk_sizes", [(1,), (3,), (1, 16), (64,)])
async def test_the_piece_does_not_depend_on_how_its_steps_are_divided(
    bundle: Bundle, tmp_path: Path, chunk_sizes: tuple[int, ...]
) -> None:
    request = pb.GenerateRequest(bars=4, seed=6)
    (one,) = await generate(bundle, tmp_path, request, chunk_sizes=(1, 8))
    (other,) = await generate(bundle, tmp_path, request, chunk_sizes=chunk_sizes)

    assert (other.midi, other.token_count) == (one.midi, one.token_count)


async def test_the_midi_equals_the_notes_and_the_request(bundle: Bundle, tmp_path: Path) -> None:
    request = pb.GenerateRequest(bars=6, seed=7, tempo_bpm=73.25, program=6, meter=pb.Meter(numerator=3, denominator=4))
    (piece,) = await generate(bundle, tmp_path, request)
    score = read_midi(piece.midi)

    assert sorted((n.onset, n.duration, n.pitch, n.velocity) for n in score.notes) == sorted(
        (n.onset_ticks, n.duration_ticks, n.pitch, n.velocity) for n in piece.notes
    )
    assert (score.meter, score.program, score.length_ticks) == (Meter(3, 4), 6, 6 * 1440)
    assert score.tempo_bpm == pytest.approx(73.25, abs=0.01)
    assert len({note.velocity for note in piece.notes}) > 5
    assert len({note.duration_ticks for note in piece.notes}) > 5
    assert {note.voice for note in piece.notes} == {0, 1}


async def test_without_a_length_the_model_ends_the_piece(bundle: Bundle, tmp_path: Path) -> None:
    pieces = await generate(bundle, tmp_path, *(pb.GenerateRequest(seed=seed) for seed in range(6)))

    ended = [piece for piece in pieces if piece.finish_reason == pb.FINISH_REASON_END]
    assert ended
    for piece in pieces:
        assert 40 <= piece.length_ticks <= 512 * 40
        assert all(note.onset_ticks + note.duration_ticks <= piece.length_ticks for note in piece.notes)
