"""Start, cancellation and stop, over a real socket."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeAlias

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc

import server.rpc.responses
from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.score import Score
from server.app import App, LoadModels, serve
from server.catalogue import ServedModel
from server.engine.errors import EngineFailedError
from server.errors import StartupError
from server.metrics import Metrics
from server.settings import Settings
from tests.integration.arithmetic_runner import ArithmeticRunner
from tests.integration.replicas import free_port
from tests.integration.scraping import scrape, scrape_until
from tests.integration.statuses import rich_status

Stub: TypeAlias = "pb_grpc.GenerationServiceAsyncStub"  # known to type checkers only
SERVICE = "fantasia.v1.GenerationService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(channel: grpc.aio.Channel) -> set[int]:
    """Health of the server and of its service."""
    stub = health_pb2_grpc.HealthStub(channel)
    return {(await stub.Check(health_pb2.HealthCheckRequest(service=name))).status for name in ("", SERVICE)}


async def listening(app: App) -> str:
    async with asyncio.timeout(10):
        while not app.address:
            await asyncio.sleep(0.01)
    return app.address


async def test_health_is_serving_only_after_the_model_has_run(
    settings: Settings, load: LoadModels, runner: ArithmeticRunner
) -> None:
    runner.go.clear()
    app = App(settings, load)
    entering = asyncio.create_task(app.__aenter__())
    async with grpc.aio.insecure_channel(await listening(app)) as channel:
        assert await health(channel) == {NOT_SERVING}
        code, status = await rich_status(pb_grpc.GenerationServiceStub(channel).Generate(pb.GenerateRequest()))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert status.details[0].Unpack(RetryInfo())
        assert "starting" in status.message

        runner.go.set()
        await entering
        assert await health(channel) == {SERVING}
        await app.__aexit__(None, None, None)
    assert runner.closed


async def test_a_cancelled_call_frees_its_slot(stub: Stub, app: App, runner: ArithmeticRunner) -> None:
    runner.run_seconds = 0.02
    calls = [stub.Generate(pb.GenerateRequest(bars=32)) for _ in range(runner.slots)]
    await scrape_until(app, "fantasia_slots_used", runner.slots)
    for call in calls:
        call.cancel()
    found = await scrape_until(app, "fantasia_requests_finished_total", runner.slots, code="CANCELLED")
    found = await scrape_until(app, "fantasia_slots_used", 0)

    assert found.sum("fantasia_sequences_finished_total", outcome="cancelled") == runner.slots
    assert found.sum("fantasia_requests_in_flight") == 0
    assert found.sum("fantasia_cancellation_duration_seconds_count") == runner.slots


async def test_a_passed_deadline_frees_its_slot(stub: Stub, app: App, runner: ArithmeticRunner) -> None:
    runner.run_seconds = 0.05
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Generate(pb.GenerateRequest(bars=32), timeout=2)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await scrape_until(app, "fantasia_requests_finished_total", 1, code="DEADLINE_EXCEEDED")
    await scrape_until(app, "fantasia_sequences_finished_total", 1, outcome="cancelled")
    await scrape_until(app, "fantasia_slots_used", 0)


async def test_a_lost_client_frees_its_slot(app: App, runner: ArithmeticRunner) -> None:
    runner.run_seconds = 0.02
    async with grpc.aio.insecure_channel(app.address) as channel:
        call = pb_grpc.GenerationServiceStub(channel).Generate(pb.GenerateRequest(bars=32))
        task = asyncio.ensure_future(call)
        await scrape_until(app, "fantasia_slots_used", 1)
    with pytest.raises(asyncio.CancelledError):
        await task

    await scrape_until(app, "fantasia_slots_used", 0)


async def test_draining_finishes_running_calls_and_refuses_new_ones(
    settings: Settings, load: LoadModels, runner: ArithmeticRunner
) -> None:
    app = await App(settings, load).__aenter__()
    async with grpc.aio.insecure_channel(app.address) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        runner.go.clear()
        running = asyncio.ensure_future(stub.Generate(pb.GenerateRequest(bars=1)))
        await scrape_until(app, "fantasia_slots_used", 1)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        leaving = asyncio.create_task(app.__aexit__(None, None, None))
        assert (await watch.read()).status == NOT_SERVING

        # The client has got GOAWAY, and nothing listens any more.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Generate(pb.GenerateRequest(bars=1), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not running.done()
        runner.go.set()
        assert (await running).pieces[0].length_ticks == 1920
        await leaving
    assert runner.closed


async def test_calls_that_do_not_finish_in_time_are_unavailable(
    settings: Settings, load: LoadModels, runner: ArithmeticRunner
) -> None:
    runner.run_seconds = 0.02
    app = await App(settings.model_copy(update={"drain_seconds": 0.1}), load).__aenter__()
    async with grpc.aio.insecure_channel(app.address) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        running = [asyncio.ensure_future(stub.Generate(pb.GenerateRequest(bars=32))) for _ in range(6)]
        await scrape_until(app, "fantasia_sequences_in_flight", 6)
        async with asyncio.timeout(4):
            await app.__aexit__(None, None, None)
        for call in running:
            code, _ = await rich_status(call)
            assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_taken_port_is_a_startup_error(app: App, settings: Settings, load: LoadModels) -> None:
    port = int(app.address.rpartition(":")[2])
    for update in ({"port": port}, {"metrics_port": app.metrics_port}):
        with pytest.raises(StartupError, match=r"cannot listen on 127\.0\.0\.1:"):
            await App(settings.model_copy(update=update), load).__aenter__()


async def test_a_failed_start_releases_everything(
    settings: Settings, load: LoadModels, runner: ArithmeticRunner
) -> None:
    runner.fail = True
    with pytest.raises(EngineFailedError):
        await App(settings, load).__aenter__()
    assert runner.closed


async def test_an_unknown_default_model_stops_the_start(settings: Settings, load: LoadModels) -> None:
    with pytest.raises(StartupError, match="'nemo' is not loaded; loaded models: quartet"):
        await App(settings.model_copy(update={"default_model": "nemo"}), load).__aenter__()


async def test_a_broken_engine_ends_the_server(settings: Settings, load: LoadModels) -> None:
    models: list[ServedModel] = []

    def keep(settings: Settings, metrics: Metrics) -> list[ServedModel]:
        models.extend(load(settings, metrics))
        return models

    serving = asyncio.create_task(serve(settings, keep))
    async with asyncio.timeout(10):
        while not models or not models[0].engine.accepting:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(models[0].engine.stop)
        with pytest.raises(EngineFailedError, match="quartet"):
            await serving


async def test_a_device_that_vanishes_ends_the_server_and_is_logged_and_counted(
    settings: Settings, load: LoadModels, runner: ArithmeticRunner, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[Metrics] = []

    def keep(settings: Settings, metrics: Metrics) -> list[ServedModel]:
        kept.append(metrics)
        return load(settings, metrics)

    port = free_port()
    runner.run_seconds = 0.01
    serving = asyncio.create_task(serve(settings.model_copy(update={"port": port}), keep))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(90):
        stub = pb_grpc.GenerationServiceStub(channel)
        await stub.Generate(pb.GenerateRequest(bars=1), wait_for_ready=True)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == SERVING
        running = [stub.Generate(pb.GenerateRequest(bars=32)) for _ in range(6)]  # two of them wait for a slot
        await asyncio.sleep(0.2)

        runner.fail = True

        codes = {(await rich_status(call))[0] for call in running}
        assert codes == {grpc.StatusCode.INTERNAL}
        assert (await watch.read()).status == NOT_SERVING
        with pytest.raises(EngineFailedError, match="quartet"):
            await serving
    assert "the secret of the graph" in caplog.text  # the reason is for the log, not for callers
    finished = [
        sample
        for family in kept[0].registry.collect()
        for sample in family.samples
        if sample.name == "fantasia_sequences_finished_total" and sample.labels["outcome"] == "failed"
    ]
    assert sum(sample.value for sample in finished) == 6


async def test_every_scrape_adds_up_during_a_storm_of_calls(stub: Stub, app: App, runner: ArithmeticRunner) -> None:
    runner.run_seconds = 0.005
    given_up = [stub.Generate(pb.GenerateRequest(bars=32)) for _ in range(2)]
    await scrape_until(app, "fantasia_slots_used", 2)

    def call(number: int) -> Awaitable[object]:
        request = pb.GenerateRequest(bars=-1 if number % 5 == 0 else 1 + number % 8)
        return stub.Generate(request, timeout=0.2 if number % 7 == 0 else 10)

    storm = asyncio.gather(*map(call, range(60)), return_exceptions=True)
    while not storm.done():
        found = await scrape(app)
        for noun, entered in (("requests", "received"), ("sequences", "submitted")):
            entries = found.sum(f"fantasia_{noun}_{entered}_total")
            exits = found.sum(f"fantasia_{noun}_finished_total")
            assert entries == exits + found.sum(f"fantasia_{noun}_in_flight")
        for outgoing in given_up:
            outgoing.cancel()
    await scrape_until(app, "fantasia_sequences_in_flight", 0)
    found = await scrape_until(app, "fantasia_requests_in_flight", 0)

    # A call whose deadline passes on its way is never received.
    assert 2 < found.sum("fantasia_requests_received_total", method="Generate") <= 62
    assert found.sum("fantasia_requests_finished_total", code="CANCELLED") == 2
    for code in ("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"):
        assert found.sum("fantasia_requests_finished_total", code=code) > 0, code


async def test_draining_waits_until_the_last_response_is_built(
    settings: Settings, load: LoadModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(score: Score) -> bytes:
        time.sleep(1.0)
        return b"MThd"

    monkeypatch.setattr(server.rpc.responses, "write_midi", slow)
    app = await App(settings, load).__aenter__()
    async with grpc.aio.insecure_channel(app.address) as channel:
        running = asyncio.ensure_future(pb_grpc.GenerationServiceStub(channel).Generate(pb.GenerateRequest(bars=1)))
        await scrape_until(app, "fantasia_sequences_finished_total", 1)
        await app.__aexit__(None, None, None)
        assert (await running).pieces[0].midi == b"MThd"
