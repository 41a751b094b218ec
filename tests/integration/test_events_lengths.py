"""Real graphs of `events` with weights drawn at random, some of them adversarial: every length is exact."""

from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.bundle import Bundle
from music.midi import read_midi
from music.score import Meter
from music.tokenizers import EventsTokenizer
from music.tokenizers.event_vocabulary import BAR, TIE
from runtime.host_runner import HostRunner
from runtime.precision import Precision
from server.app import App
from server.catalogue import ServedModel
from server.loading import create_served_model
from server.metrics import Metrics
from server.settings import Settings
from tests.integration.test_service_events import LegalRunner
from tests.random_bundle import with_tokenizer, write_bundle
from training.network.model import MusicLSTM

EVENTS = EventsTokenizer(
    lowest_pitch=55,
    highest_pitch=75,
    positions_per_quarter=4,
    velocity_bins=4,
    tempo_bins=4,
    meters=(Meter(4, 4), Meter(3, 4), Meter(6, 8)),
    bar_tokens=96,
)


def _prefer(*tokens: int | slice, bias: float = 40.0) -> Callable[[MusicLSTM], None]:
    def change(model: MusicLSTM) -> None:
        with torch.no_grad():
            for token in tokens:
                model.output.bias[token] += bias

    return change


def _wild(model: MusicLSTM) -> None:
    with torch.no_grad():
        model.output.weight.mul_(30.0)


NETWORKS = {
    "wild": _wild,
    "ties": _prefer(TIE),
    "never a bar": _prefer(BAR, bias=-40.0),
    "lowest pitch": _prefer(EVENTS.vocabulary.first_pitch),
    "pitches": _prefer(slice(EVENTS.vocabulary.first_pitch, None)),
    "highest pitch": _prefer(EVENTS.vocabulary.size - 1),
}


class TyingRunner(LegalRunner):
    """Samples ties wherever its grammar allows them."""

    def _choose(self, state: int, allowed: NDArray[np.bool_], uniform: float) -> int:
        ties = self._tokenizer.grammar.joint_allowed(state)[TIE]
        return TIE if ties else super()._choose(state, allowed, uniform)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", ["float32", "int8"])
async def test_every_length_is_exact_on_the_wire(
    bundle: Bundle, tmp_path: Path, network: str, precision: Precision
) -> None:
    made = write_bundle(tmp_path / "made", with_tokenizer(bundle, EVENTS), 1, 16, NETWORKS[network])

    def load(settings: Settings, metrics: Metrics) -> list[ServedModel]:
        runner = HostRunner(made, slots=8, provider="cpu", threads=1, precision=precision)
        return [create_served_model(made, runner, settings.queue_limit, metrics)]

    requests = [
        pb.GenerateRequest(seed=seed, sampling=pb.Sampling(temperature=temperature, top_k=top_k), **length)
        for seed, (temperature, top_k) in enumerate([(0.01, 0), (0.3, 1), (0.3, 0), (1.0, 0), (10.0, 0)])
        for length in (
            {"bars": 1},
            {"bars": 10},  # the longest
            {"bars": 4, "meter": pb.Meter(numerator=6, denominator=8)},
            {"steps": 37, "meter": pb.Meter(numerator=3, denominator=4)},
            {"steps": 160},
            {"seconds": 7.77, "tempo_bpm": 81.0},
        )
    ]
    ticks = [1920, 19200, 5760, 37 * 120, 19200, 42 * 120] * 5
    settings = Settings(port=0, metrics_port=0, models=tmp_path, queue_limit=9)
    async with App(settings, load) as app, grpc.aio.insecure_channel(app.address) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        pieces = [(await stub.Generate(request)).pieces[0] for request in requests]
    assert [piece.length_ticks for piece in pieces] == ticks
    assert {piece.finish_reason for piece in pieces} == {pb.FINISH_REASON_LENGTH}
    for piece in pieces:
        assert read_midi(piece.midi).length_ticks == piece.length_ticks
        assert all(note.onset_ticks + note.duration_ticks <= piece.length_ticks for note in piece.notes)


async def test_graphs_that_contradict_the_tokenizers_grammar_are_an_error(bundle: Bundle, tmp_path: Path) -> None:
    """A bundle with inconsistent parts: the tokens run out before the piece has its length."""
    tight = with_tokenizer(bundle, EVENTS)
    loose = EventsTokenizer.from_parameters(EVENTS.parameters | {"bar_tokens": 4096})

    def load(settings: Settings, metrics: Metrics) -> list[ServedModel]:
        return [create_served_model(tight, TyingRunner(loose, (1, 8)), settings.queue_limit, metrics)]

    settings = Settings(port=0, metrics_port=0, models=tmp_path, queue_limit=9)
    async with App(settings, load) as app, grpc.aio.insecure_channel(app.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.GenerationServiceStub(channel).Generate(pb.GenerateRequest(bars=4, seed=1))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
