"""Fixtures for a server on a real socket. Everything is real except the model (`ArithmeticRunner`)."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.bundle import Bundle
from music.manifest import write_manifest
from music.tokenizers import GridTokenizer
from server.app import App, LoadModels
from server.catalogue import ServedModel
from server.loading import create_served_model
from server.metrics import Metrics
from server.settings import Settings
from tests.integration.arithmetic_runner import ArithmeticRunner


@pytest.fixture
def runner(bundle: Bundle) -> ArithmeticRunner:
    assert isinstance(bundle.tokenizer, GridTokenizer)
    return ArithmeticRunner(bundle.tokenizer)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, metrics_port=0, models=tmp_path, queue_limit=2, drain_seconds=5.0)


@pytest.fixture
def load(bundle: Bundle, runner: ArithmeticRunner) -> LoadModels:
    def load(settings: Settings, metrics: Metrics) -> list[ServedModel]:
        return [create_served_model(bundle, runner, settings.queue_limit, metrics)]

    return load


@pytest.fixture
async def app(settings: Settings, load: LoadModels, runner: ArithmeticRunner) -> AsyncIterator[App]:
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


@pytest.fixture
def models(bundle: Bundle, tmp_path: Path) -> Path:
    """A folder with a manifest for `arithmetic_server`."""
    folder = tmp_path / "models"
    folder.mkdir()
    write_manifest(folder, bundle.manifest)
    return folder
