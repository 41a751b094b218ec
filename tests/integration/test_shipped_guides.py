"""Guides, particles and snapshots with the shipped chorales: a soprano is given, the engine writes the other voices."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from music.bundle import load_bundle
from music.composition.guide import NO_BIAS, SAMPLED, Cursor, Guide, Instructions
from music.grammar import FORBIDDEN
from runtime.host_runner import HostRunner
from server.engine.completion import Candidate
from server.engine.engine import Engine
from server.engine.listener import SequenceListener
from server.engine.request import EngineRequest
from server.engine.snapshot import Snapshot

pytestmark = pytest.mark.slow

VOICES, TOKENS = 4, 128
BUNDLE = load_bundle(Path("models/chorales"))
VOCABULARY = BUNDLE.network.vocabulary
FREE = EngineRequest(seed=5, max_tokens=TOKENS, end_token=BUNDLE.tokenizer.end_token, may_end=False)


class SopranoGuide(Guide):
    """Gives the first token of every step, and forbids one token in all others."""

    def __init__(self, soprano: NDArray[np.int32], banned: int) -> None:
        self.biases = np.zeros((2, VOCABULARY), np.float32)
        self.biases[1, banned] = FORBIDDEN
        self.forced = np.full(TOKENS, SAMPLED, np.int64)
        self.forced[::VOICES] = soprano
        self.bias = np.where(self.forced == SAMPLED, 1, NO_BIAS)

    def cursor(self) -> "SopranoCursor":
        return SopranoCursor(self, 0)


class SopranoCursor(Cursor):
    def __init__(self, guide: SopranoGuide, step: int) -> None:
        self._guide, self._step = guide, step

    def instructions(self, limit: int) -> Instructions:
        guide, step = self._guide, self._step
        end = min(step + (-step % VOICES) + 1, step + limit, TOKENS)
        resample = (end - 1) % VOICES == 0
        return Instructions(guide.forced[step:end], guide.bias[step:end], resample=resample, is_shared=True)

    def advance(self, tokens: NDArray[np.integer[Any]]) -> int:
        self._step += len(tokens)
        return len(tokens)

    def copy(self) -> "SopranoCursor":
        return SopranoCursor(self._guide, self._step)

    @property
    def complete(self) -> bool:
        return self._step >= TOKENS


class Recorder(SequenceListener):
    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.written: list[int] = []

    def tokens(self, tokens: NDArray[np.int32], snapshot: Snapshot | None) -> None:
        assert snapshot is not None
        self.snapshots.append(snapshot)
        self.written += tokens.tolist()


def make_engine(slots: int, max_batch_size: int) -> Engine:
    runner = HostRunner(BUNDLE, slots=slots, max_batch_size=max_batch_size, provider="cpu", threads=1)
    engine = Engine(runner, queue_limit=64, name="chorales")
    engine.start()
    return engine


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = make_engine(16, 16)
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def guided(engine: Engine) -> EngineRequest:
    tokens = engine.submit(FREE).future.result(60).tokens
    sampled = np.delete(tokens, np.s_[::VOICES])
    banned = int(np.bincount(sampled).argmax())
    return replace(FREE, guide=SopranoGuide(tokens[::VOICES], banned), candidates=8, particles=True)


def candidates(engine: Engine, request: EngineRequest) -> tuple[Candidate, ...]:
    return engine.submit(request).future.result(60).candidates


def test_given_tokens_stay_and_forbidden_ones_are_not_sampled(engine: Engine, guided: EngineRequest) -> None:
    guide = guided.guide
    assert isinstance(guide, SopranoGuide)
    for candidate in candidates(engine, guided):
        assert candidate.forced.tolist() == (guide.forced != SAMPLED).tolist()
        assert candidate.tokens[candidate.forced].tolist() == guide.forced[candidate.forced].tolist()
        assert (guide.biases[1, candidate.tokens[~candidate.forced]] == 0).all()
        assert 0 < candidate.given_nats < candidate.nats
        assert np.isfinite(candidate.log_probabilities).all()


def test_particles_find_the_given_tokens_likelier_than_single_rows(engine: Engine, guided: EngineRequest) -> None:
    independent = candidates(engine, replace(guided, particles=False))
    particles = candidates(engine, guided)
    assert np.mean([each.given_nats for each in particles]) < np.mean([each.given_nats for each in independent])


def test_particles_are_the_same_at_any_load_and_batch_size(engine: Engine, guided: EngineRequest) -> None:
    alone = candidates(engine, guided)
    crowded = make_engine(12, 5)
    others = [crowded.submit(replace(FREE, seed=seed, max_tokens=seed % 7 * 20 + 1)) for seed in range(20)]
    together = candidates(crowded, guided)
    for other in others:
        other.future.result(60)
    crowded.stop()
    for one, two in zip(alone, together, strict=True):
        assert one.tokens.tolist() == two.tokens.tolist()
        assert one.log_probabilities.tolist() == two.log_probabilities.tolist()
        assert (one.nats, one.given_nats) == (two.nats, two.given_nats)


def test_a_piece_continues_from_any_snapshot_bit_for_bit(engine: Engine, guided: EngineRequest) -> None:
    listener = Recorder()
    request = replace(guided, candidates=1, particles=False, snapshots=True)
    whole = engine.submit(request, listener).future.result(60).candidates[0]
    assert listener.written == whole.tokens.tolist()
    other = make_engine(2, 2)
    for snapshot in listener.snapshots[:-1:5]:
        (resumed,) = candidates(other, replace(request, resume=snapshot))
        assert resumed.tokens.tolist() == whole.tokens.tolist()
        assert (resumed.nats, resumed.given_nats) == (whole.nats, whole.given_nats)
        begin = snapshot.state_tokens
        assert resumed.log_probabilities[begin:].tolist() == whole.log_probabilities[begin:].tolist()
    other.stop()
