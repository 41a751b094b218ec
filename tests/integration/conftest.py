"""A whole server over a socket: everything is real but the model, which is arithmetic."""

import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.bundle import Bundle
from music.tokenizers import GridTokenizer
from music.tokenizers.grid import END, FIRST_PITCH, HOLD
from server.app import App
from server.catalogue import ServedModel
from server.engine.runner import Chunk
from server.loading import serve_bundle
from server.metrics import Metrics
from server.settings import Settings


class ArithmeticRunner:
    """Writes what the grammar allows, chosen by the uniforms alone. Can be held, and made to fail."""

    chunk_sizes = (1, 8)
    provider = "ArithmeticProvider"

    def __init__(self, tokenizer: GridTokenizer, slots: int = 4) -> None:
        self.slots = slots
        self.vocabulary = tokenizer.vocabulary_size
        self.go = threading.Event()
        """Cleared, it holds every run."""
        self.go.set()
        self.fail = False
        self.closed = False
        self._grammar = tokenizer.grammar
        self._state = np.zeros(slots, np.int32)

    def reset(self, slot: int, clock_row: int) -> None:
        self._state[slot] = self._grammar.start

    def decode(self, chunk: Chunk) -> NDArray[np.int64]:
        assert self.go.wait(30)
        if self.fail:
            raise RuntimeError("the secret of the graph")
        tokens = np.empty((chunk.width, chunk.steps), np.int64)
        for index, row in enumerate(chunk.rows):
            for step in range(chunk.steps):
                allowed = self._grammar.allowed[self._state[row]] & chunk.allowed[index]
                token = _choose(allowed, float(chunk.uniforms[index, step]))
                tokens[index, step] = token
                self._state[row] = self._grammar.successor[self._state[row], token]
        return tokens

    def close(self) -> None:
        self.closed = True


def _choose(allowed: NDArray[np.bool_], uniform: float) -> int:
    if allowed[END] and uniform < 0.02:
        return END
    if allowed[HOLD] and uniform < 0.7:
        return HOLD
    choices = [token for token in np.flatnonzero(allowed) if token >= FIRST_PITCH]
    return int(choices[int(uniform * len(choices))]) if choices else END


@pytest.fixture
def runner(bundle: Bundle) -> ArithmeticRunner:
    assert isinstance(bundle.tokenizer, GridTokenizer)
    return ArithmeticRunner(bundle.tokenizer)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, metrics_port=0, models=tmp_path, queue_limit=2, drain_seconds=5.0)


@pytest.fixture
def load(bundle: Bundle, runner: ArithmeticRunner) -> Callable[[Settings, Metrics], list[ServedModel]]:
    def load(settings: Settings, metrics: Metrics) -> list[ServedModel]:
        return [serve_bundle(bundle, runner, settings.queue_limit, metrics)]

    return load


@pytest.fixture
async def app(
    settings: Settings, load: Callable[[Settings, Metrics], list[ServedModel]], runner: ArithmeticRunner
) -> AsyncIterator[App]:
    async with App(settings, load) as app:
        yield app
        runner.go.set()


@pytest.fixture
async def channel(app: App) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(app.address) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> "pb_grpc.GenerationServiceAsyncStub":  # known to type checkers only
    return pb_grpc.GenerationServiceStub(channel)
