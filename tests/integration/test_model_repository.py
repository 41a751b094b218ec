"""Versions of models come and go while the server serves, over a real socket, with real bundles."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from server.app import App
from server.repository.repository import ModelRepository
from server.settings import Settings
from tests.integration.scraping import scrape, scrape_until
from tests.integration.statuses import rich_status
from tests.repositories import add_version, break_tokenizer, break_weights

Stub: TypeAlias = "pb_grpc.GenerationServiceAsyncStub"  # known to type checkers only
SERVICE = "fantasia.v1.GenerationService"
pytestmark = pytest.mark.slow


@pytest.fixture
def repository(small_bundle: Path, tmp_path: Path) -> Path:
    """A repository with version 1 of the model duo."""
    add_version(tmp_path / "models", small_bundle, "duo", 1)
    return tmp_path / "models"


@pytest.fixture
def settings(repository: Path) -> Settings:
    return Settings(port=0, metrics_port=0, models=repository, provider="cpu", model_poll_seconds=0, drain_seconds=5)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[App]:
    async with App(settings) as app:
        yield app


@pytest.fixture
async def stub(app: App) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(app.address) as channel:
        yield pb_grpc.GenerationServiceStub(channel)


def watcher(app: App) -> ModelRepository:
    """The repository of a server, which looks for changes when the test asks for it."""
    assert app._repository is not None
    return app._repository


async def loaded(stub: Stub) -> list[tuple[str, int, bool]]:
    """Name, version and whether it is the default version of every loaded model."""
    models = (await stub.ListModels(pb.ListModelsRequest())).models
    return [(model.name, model.version, model.default_version) for model in models]


async def unavailable(stub: Stub) -> list[tuple[str, int, int, str]]:
    models = (await stub.ListModels(pb.ListModelsRequest())).unavailable
    return [(model.name, model.version, model.state, model.reason) for model in models]


async def unloaded(app: App) -> None:
    async with asyncio.timeout(20):
        while watcher(app).unloading:
            await asyncio.sleep(0.01)


def piece(version: int = 0, bars: int = 4) -> pb.GenerateRequest:
    return pb.GenerateRequest(model="duo", model_version=version, bars=bars, seed=3)


async def test_a_new_version_takes_the_calls_that_name_none_and_the_old_one_stays(
    app: App, stub: Stub, repository: Path, small_bundle: Path
) -> None:
    assert await loaded(stub) == [("duo", 1, True)]
    add_version(repository, small_bundle, "duo", 2)
    await watcher(app).refresh()

    assert await loaded(stub) == [("duo", 2, True), ("duo", 1, False)]
    answers = [await stub.Generate(piece(version)) for version in (0, 1, 2)]
    assert [answer.model_version for answer in answers] == [2, 1, 2]
    assert answers[0].model_digest != answers[1].model_digest
    assert answers[0].pieces == answers[1].pieces  # the same weights
    described = (await stub.GetModel(pb.GetModelRequest(name="duo", version=1))).model
    assert (described.version, described.default_version, described.description) == (1, False, "Version 1.")
    found = await scrape(app)
    assert found.sum("fantasia_default_version", model="duo") == 2
    assert found.sum("fantasia_model_loads_total", outcome="loaded") == 1
    assert found.sum("fantasia_sequences_finished_total", version="1", outcome="length") == 1
    assert found.sum("fantasia_sequences_finished_total", version="2", outcome="length") == 2


async def test_a_third_version_replaces_the_oldest_when_its_pieces_are_finished(
    app: App, stub: Stub, repository: Path, small_bundle: Path
) -> None:
    add_version(repository, small_bundle, "duo", 2)
    await watcher(app).refresh()
    stream = stub.StreamGenerate(pb.StreamGenerateRequest(request=piece(1, bars=16)))
    messages = aiter(stream)
    first = await anext(messages)
    add_version(repository, small_bundle, "duo", 3)
    await watcher(app).refresh()

    assert await loaded(stub) == [("duo", 3, True), ("duo", 2, False)]
    code, status = await rich_status(stub.Generate(piece(1)))
    assert code is grpc.StatusCode.NOT_FOUND
    assert status.message == "version 1 of duo is not loaded; loaded versions: 3, 2"
    bad_request = BadRequest()
    assert any(detail.Unpack(bad_request) for detail in status.details)
    (violation,) = bad_request.field_violations
    assert (violation.field, violation.description) == ("model_version", "must be 0 or one of 3, 2, not 1")
    *_, last = [first, *[message async for message in messages]]
    assert last.response.model_version == 1
    await unloaded(app)
    assert await unavailable(stub) == []


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (break_weights, "duo/2: weights.bin has sha256"),
        (break_tokenizer, "duo/2: tokenizer 'grid' hashes to"),
        (lambda bundle: (bundle / "manifest.json").unlink(), "duo/2: manifest.json is missing or unreadable"),
    ],
)
async def test_a_bad_version_is_refused_by_name_and_the_old_one_stays(
    app: App,
    stub: Stub,
    repository: Path,
    small_bundle: Path,
    damage: object,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert callable(damage)
    damage(add_version(repository, small_bundle, "duo", 2))
    await watcher(app).refresh()
    assert await loaded(stub) == [("duo", 1, True)]
    assert await unavailable(stub) == [("duo", 2, pb.UNAVAILABLE_STATE_LOADING, "")], "it may still be copied"
    for _ in range(3):
        await watcher(app).refresh()

    ((name, version, state, reason),) = await unavailable(stub)
    assert (name, version, state) == ("duo", 2, pb.UNAVAILABLE_STATE_REFUSED)
    assert reason.startswith(sentence)
    refusals = [record for record in caplog.records if record.message == "model refused"]
    assert len(refusals) == 1, "once for each change"
    found = await scrape(app)
    assert found.sum("fantasia_models_refused") == 1
    assert found.sum("fantasia_model_loads_total", outcome="refused") == 1
    assert (await stub.Generate(piece())).model_version == 1

    shutil.rmtree(repository / "duo" / "2")
    add_version(repository, small_bundle, "duo", 2)
    await watcher(app).refresh()
    assert await loaded(stub) == [("duo", 2, True), ("duo", 1, False)]
    assert await unavailable(stub) == []
    assert (await scrape(app)).sum("fantasia_models_refused") == 0


async def test_a_bundle_that_is_copied_file_by_file_is_loaded_when_it_is_complete(
    app: App, stub: Stub, repository: Path, small_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = add_version(tmp_path / "elsewhere", small_bundle, "duo", 2)
    target = repository / "duo" / "2"
    target.mkdir()
    for file in sorted(whole.iterdir(), key=lambda file: file.name != "manifest.json"):
        shutil.copy(file, target)
        await watcher(app).refresh()

    assert await loaded(stub) == [("duo", 2, True), ("duo", 1, False)]
    assert not [record for record in caplog.records if record.message == "model refused"]


async def test_a_bundle_that_changes_in_place_is_replaced_and_one_that_breaks_in_place_is_not(
    app: App, stub: Stub, repository: Path, small_bundle: Path
) -> None:
    place = repository / "duo" / "1"
    before = (await stub.Generate(piece())).model_digest
    break_weights(place)
    for _ in range(2):
        await watcher(app).refresh()
    assert (await stub.Generate(piece())).model_digest == before
    assert [state for *_, state, _ in await unavailable(stub)] == [pb.UNAVAILABLE_STATE_REFUSED]

    shutil.rmtree(place)
    add_version(repository, small_bundle, "duo", 1, "Another one.")
    await watcher(app).refresh()
    assert (await stub.Generate(piece())).model_digest != before
    assert await loaded(stub) == [("duo", 1, True)]
    await unloaded(app)
    assert (await scrape(app)).sum("fantasia_slots", model="duo") == 256


async def test_a_resume_token_goes_on_with_its_version_until_that_is_unloaded(
    app: App, stub: Stub, repository: Path, small_bundle: Path
) -> None:
    request = piece(bars=2)
    request.return_resume_token = True
    begun = await stub.Generate(request)
    rest = piece(bars=6)
    rest.resume_token = begun.pieces[0].resume_token
    whole = await stub.Generate(rest)
    add_version(repository, small_bundle, "duo", 2)
    await watcher(app).refresh()

    resumed = await stub.Generate(rest)
    assert resumed.model_version == 1
    assert resumed.pieces[0].midi == whole.pieces[0].midi

    rest.model_version = 2
    code, status = await rich_status(stub.Generate(rest))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "resume_token belongs to another version of duo" in status.message

    rest.model_version = 0
    shutil.rmtree(repository / "duo" / "1")
    await watcher(app).refresh(asked=True)
    code, status = await rich_status(stub.Generate(rest))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "resume_token belongs to a version of duo that is not loaded" in status.message
    assert "loaded versions: 2 (" in status.message


async def test_the_alias_chooses_the_default_version(
    app: App, stub: Stub, repository: Path, small_bundle: Path
) -> None:
    add_version(repository, small_bundle, "duo", 2)
    (repository / "duo" / "default").symlink_to("1")
    await watcher(app).refresh()
    assert await loaded(stub) == [("duo", 1, True), ("duo", 2, False)]

    (repository / "duo" / "next").symlink_to("2")
    (repository / "duo" / "next").rename(repository / "duo" / "default")
    await watcher(app).refresh()
    assert await loaded(stub) == [("duo", 2, True), ("duo", 1, False)]

    (repository / "duo" / "default").unlink()
    (repository / "duo" / "default").write_text("1\n")
    for version in (3, 4):
        add_version(repository, small_bundle, "duo", version)
    await watcher(app).refresh()
    assert await loaded(stub) == [("duo", 1, True), ("duo", 4, False), ("duo", 3, False)]


async def test_a_default_version_that_is_removed_stays_loaded_while_the_alias_names_it(
    app: App, stub: Stub, repository: Path, small_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_version(repository, small_bundle, "duo", 2)
    (repository / "duo" / "default").write_text("1")
    await watcher(app).refresh()
    shutil.rmtree(repository / "duo" / "1")
    for _ in range(3):
        await watcher(app).refresh(asked=True)

    assert await loaded(stub) == [("duo", 1, True), ("duo", 2, False)]
    notes = [record.fields["reason"] for record in caplog.records if record.message == "repository"]  # type: ignore[attr-defined]
    assert notes == ["the default version 1 cannot be served: version 1 stays the default"]

    (repository / "duo" / "default").write_text("2")
    await watcher(app).refresh()
    assert await loaded(stub) == [("duo", 2, True)]


async def test_a_model_without_versions_is_unloaded_after_its_pieces_and_the_server_is_ready_while_it_has_one(
    app: App, stub: Stub, repository: Path, small_bundle: Path
) -> None:
    async def ready() -> list[int]:
        async with grpc.aio.insecure_channel(app.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            names = ("", SERVICE)
            return [(await health.Check(health_pb2.HealthCheckRequest(service=name))).status for name in names]

    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    stream = stub.StreamGenerate(pb.StreamGenerateRequest(request=piece(bars=16)))
    messages = aiter(stream)
    first = await anext(messages)
    shutil.rmtree(repository / "duo")
    await watcher(app).refresh()
    assert await loaded(stub) == [("duo", 1, True)], "another folder may take its place at once"
    await watcher(app).refresh()

    assert await loaded(stub) == []
    assert await ready() == [serving, not_serving]
    for request, sentence in (
        (piece(), "model 'duo' is not loaded; loaded models: none"),
        (pb.GenerateRequest(bars=4), "no model is named, and there is no default model; loaded models: none"),
    ):
        code, status = await rich_status(stub.Generate(request))
        assert (code, status.message) == (grpc.StatusCode.NOT_FOUND, sentence)
    *_, last = [first, *[message async for message in messages]]
    assert last.response.model_version == 1
    await unloaded(app)

    add_version(repository, small_bundle, "duo", 7)
    await watcher(app).refresh()
    assert await ready() == [serving, serving]
    assert (await stub.Generate(pb.GenerateRequest(bars=4))).model_version == 7


async def test_a_version_that_is_bad_at_the_start_is_left_out_and_counted(
    settings: Settings, repository: Path, small_bundle: Path
) -> None:
    break_weights(add_version(repository, small_bundle, "duo", 2))
    async with App(settings) as app, grpc.aio.insecure_channel(app.address) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        assert await loaded(stub) == [("duo", 1, True)]
        assert [each[:3] for each in await unavailable(stub)] == [("duo", 2, pb.UNAVAILABLE_STATE_REFUSED)]
        found = await scrape(app)
        assert found.sum("fantasia_models_refused") == found.sum("fantasia_model_loads_total", outcome="refused") == 1


async def test_two_folders_with_one_name_are_one_model_and_a_refused_bundle(
    app: App, stub: Stub, repository: Path, small_bundle: Path
) -> None:
    shutil.copytree(repository / "duo" / "1", repository / "another")
    await watcher(app).refresh(asked=True)

    assert await loaded(stub) == [("duo", 1, True)]
    ((name, _, _, reason),) = await unavailable(stub)
    assert (name, reason) == ("another", "another: duo already holds a model called duo")


async def test_a_folder_that_cannot_be_read_changes_nothing(
    app: App, stub: Stub, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.rename(repository.with_name("away"))
    for _ in range(3):
        await watcher(app).refresh(asked=True)
    assert (await stub.Generate(piece())).model_version == 1
    repository.with_name("away").rename(repository)
    await watcher(app).refresh()
    assert await loaded(stub) == [("duo", 1, True)]


async def test_a_model_is_refused_while_memory_is_short_and_loaded_afterwards(
    app: App, stub: Stub, repository: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.loading.free_memory", lambda: 1_000)
    add_version(repository, small_bundle, "duo", 2)
    for _ in range(2):
        await watcher(app).refresh()
    ((_, _, state, reason),) = await unavailable(stub)
    assert state == pb.UNAVAILABLE_STATE_REFUSED
    assert reason.startswith("duo/2: it needs about")

    monkeypatch.undo()
    await watcher(app).refresh()
    assert await loaded(stub) == [("duo", 2, True), ("duo", 1, False)]


async def test_pieces_get_the_same_bytes_while_a_version_is_loaded(
    app: App, stub: Stub, repository: Path, small_bundle: Path
) -> None:
    def requests() -> list[pb.GenerateRequest]:
        return [pb.GenerateRequest(model="duo", bars=12, seed=seed) for seed in range(64)]

    undisturbed = await asyncio.gather(*map(stub.Generate, requests()))
    running = asyncio.gather(*map(stub.Generate, requests()))
    await scrape_until(app, "fantasia_slots_used", 64)
    add_version(repository, small_bundle, "duo", 2)
    await watcher(app).refresh()
    disturbed = await running

    assert {answer.model_version for answer in disturbed} == {1}
    assert [answer.pieces[0].midi for answer in disturbed] == [answer.pieces[0].midi for answer in undisturbed]
