"""Bearer tokens over a real socket: who may call, and callers that change while the server runs."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
import trustme
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from server.access import watched_files
from server.access.callers import token_entry
from server.app import App, LoadModels
from server.settings import Settings
from tests.integration.arithmetic_runner import ArithmeticRunner
from tests.integration.certificates import secure_channel, stub_of, tls_settings, write_server_certificate
from tests.integration.scraping import scrape, scrape_until
from tests.integration.statuses import rich_status

STUDIO, MONITOR, NEW = "token-of-studio", "token-of-monitor", "another-token"
REFUSALS = "fantasia_access_refusals_total"


def entry(name: str, *tokens: str, more: str = "") -> str:
    return f"[callers.{name}]\ntokens = {[token_entry(token) for token in tokens]}\n{more}\n"


CALLERS = entry("studio", STUDIO) + entry("monitor", MONITOR, more='allow = ["health", "metrics"]')


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@pytest.fixture(autouse=True)
def poll_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_files, "POLL_SECONDS", 0.05)


@pytest.fixture
def callers_file(tmp_path: Path) -> Path:
    path = tmp_path / "callers.toml"
    path.write_text(CALLERS)
    return path


@pytest.fixture
def settings(settings: Settings, callers_file: Path) -> Settings:
    return settings.model_copy(update={"callers_file": str(callers_file)})


async def code_of(stub: "pb_grpc.GenerationServiceAsyncStub", *tokens: str) -> grpc.StatusCode:
    """The code of a call with these tokens."""
    metadata = sum((bearer(token) for token in tokens), ())
    return await stub.ListModels(pb.ListModelsRequest(), metadata=metadata).code()


async def test_a_caller_with_a_token_is_served_counted_and_logged_by_name(
    app: App, stub: "pb_grpc.GenerationServiceAsyncStub", caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "server.rpc.logging_interceptor")
    await stub.Generate(pb.GenerateRequest(bars=1), metadata=bearer(STUDIO))
    await stub.ListModels(pb.ListModelsRequest(), metadata=(("authorization", f"bearer  {STUDIO} "),))
    await scrape_until(app, "fantasia_caller_requests_total", 2, caller="studio", code="OK")
    calls = [record.__dict__["fields"] for record in caplog.records if record.message == "call"]
    assert [call["caller"] for call in calls] == ["studio", "studio"]
    assert STUDIO not in caplog.text
    assert STUDIO not in str(calls)


@pytest.mark.parametrize(
    ("metadata", "reason", "message"),
    [
        ((), "no_token", "this server needs a token"),
        ((("authorization", ""),), "no_token", "this server needs a token"),
        ((("authorization", "Bearer "),), "no_token", "this server needs a token"),
        ((("authorization", f"Basic {STUDIO}"),), "no_token", "`authorization: Bearer TOKEN`"),
        ((("authorization", STUDIO),), "no_token", "`authorization: Bearer TOKEN`"),
        ((*bearer(STUDIO), *bearer(STUDIO)), "no_token", "this server needs a token"),
        (bearer(STUDIO[:-1]), "unknown_token", "does not know this token"),
        (bearer(STUDIO + "x"), "unknown_token", "does not know this token"),
        (bearer(token_entry(STUDIO)), "unknown_token", "does not know this token"),
    ],
)
async def test_a_call_without_a_known_token_is_refused_counted_and_logged(
    app: App,
    stub: "pb_grpc.GenerationServiceAsyncStub",
    caplog: pytest.LogCaptureFixture,
    metadata: tuple[tuple[str, str], ...],
    reason: str,
    message: str,
) -> None:
    caplog.set_level(logging.INFO, "server.rpc.logging_interceptor")
    code, status = await rich_status(stub.Generate(pb.GenerateRequest(bars=1), metadata=metadata))
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert message in status.message
    found = await scrape_until(app, REFUSALS, 1, reason=reason)
    assert found.sum("fantasia_requests_finished_total", method="Generate", code="UNAUTHENTICATED") == 1
    assert found.sum("fantasia_requests_in_flight") == 0
    assert found.sum("fantasia_sequences_submitted_total") == 0
    (call,) = [record.__dict__["fields"] for record in caplog.records if record.message == "call"]
    assert (call["code"], call["reason"]) == ("UNAUTHENTICATED", status.message)
    assert "caller" not in call


async def test_a_caller_may_use_only_what_its_entry_allows(
    app: App, stub: "pb_grpc.GenerationServiceAsyncStub"
) -> None:
    code, status = await rich_status(stub.Generate(pb.GenerateRequest(bars=1), metadata=bearer(MONITOR)))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert status.message == (
        "the caller monitor may not use generation: its entry in the server's callers file allows health, metrics"
    )
    await scrape_until(app, REFUSALS, 1, reason="not_allowed")


async def test_the_body_of_a_refused_call_is_not_read(app: App, channel: grpc.aio.Channel) -> None:
    """A peer without a token cannot make the server parse what it sends."""
    garbage: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/fantasia.v1.GenerationService/Generate"
    )
    code, _ = await rich_status(garbage(b"\xff\xff"))
    assert code is grpc.StatusCode.UNAUTHENTICATED
    code, _ = await rich_status(garbage(b"\xff\xff", metadata=bearer(STUDIO)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_tokens_are_added_and_revoked_without_restart_on_open_connections(
    app: App, stub: "pb_grpc.GenerationServiceAsyncStub", callers_file: Path
) -> None:
    assert await code_of(stub, STUDIO) is grpc.StatusCode.OK
    assert await code_of(stub, NEW) is grpc.StatusCode.UNAUTHENTICATED
    callers_file.write_text(entry("studio", STUDIO, NEW))  # while it is being replaced, both are valid
    await scrape_until(app, "fantasia_file_reloads_total", 1, files="callers", outcome="ok")
    assert [await code_of(stub, token) for token in (STUDIO, NEW)] == [grpc.StatusCode.OK] * 2
    callers_file.write_text(entry("studio", NEW))
    await scrape_until(app, "fantasia_file_reloads_total", 2, files="callers", outcome="ok")
    assert await code_of(stub, STUDIO) is grpc.StatusCode.UNAUTHENTICATED
    assert await code_of(stub, NEW) is grpc.StatusCode.OK


async def test_a_broken_file_leaves_the_earlier_callers(
    app: App, stub: "pb_grpc.GenerationServiceAsyncStub", callers_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, (text, reason) in enumerate(
        [
            ("[callers.studio\n", "is not TOML (at line 1, column 16)"),
            (f'[callers.studio]\ntokens = ["{NEW}"]\n', "must be sha256: and 64 hex digits"),
            ("", "callers: field required"),
        ],
        start=1,
    ):
        callers_file.write_text(text)
        await scrape_until(app, "fantasia_file_reloads_total", number, files="callers", outcome="failed")
        assert await code_of(stub, STUDIO) is grpc.StatusCode.OK
        fields = caplog.records[-1].__dict__["fields"]
        assert caplog.records[-1].levelno == logging.WARNING
        assert reason in fields["reason"]
        assert NEW not in fields["reason"], "the file may hold a token by mistake"
    callers_file.unlink()
    await scrape_until(app, "fantasia_file_reloads_total", 4, files="callers", outcome="failed")
    assert await code_of(stub, STUDIO) is grpc.StatusCode.OK


async def reflects(channel: grpc.aio.Channel, token: str = "") -> grpc.StatusCode:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    call = stub.ServerReflectionInfo(requests, metadata=bearer(token) if token else ())
    with suppress(grpc.aio.AioRpcError):
        assert [response.WhichOneof("message_response") async for response in call] == ["list_services_response"]
    return await call.code()  # type: ignore[no-any-return]


async def is_healthy(channel: grpc.aio.Channel, token: str = "") -> grpc.StatusCode:
    stub = health_pb2_grpc.HealthStub(channel)
    return await stub.Check(health_pb2.HealthCheckRequest(), metadata=bearer(token) if token else ()).code()  # type: ignore[no-any-return]


OK, NO, DENIED, NONE = (
    grpc.StatusCode.OK,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)


@pytest.mark.parametrize(
    ("access", "without", "studio", "monitor"),
    [("open", OK, OK, OK), ("checked", NO, OK, DENIED), ("off", NONE, NONE, NONE)],
)
async def test_reflection_is_open_checked_or_off(
    settings: Settings,
    load: LoadModels,
    access: str,
    without: grpc.StatusCode,
    studio: grpc.StatusCode,
    monitor: grpc.StatusCode,
) -> None:
    async with (
        App(settings.model_copy(update={"reflection_access": access}), load) as app,
        grpc.aio.insecure_channel(app.address) as channel,
    ):
        assert await reflects(channel) is without
        assert await reflects(channel, STUDIO) is studio
        assert await reflects(channel, MONITOR) is monitor


@pytest.mark.parametrize(("access", "without", "monitor"), [("open", OK, OK), ("checked", NO, OK), ("off", NONE, NONE)])
async def test_health_is_open_checked_or_off_and_its_own_port_is_open(
    settings: Settings, load: LoadModels, access: str, without: grpc.StatusCode, monitor: grpc.StatusCode
) -> None:
    update = {"health_access": access, "health_host": "127.0.0.1", "health_port": 0}
    async with (
        App(settings.model_copy(update=update), load) as app,
        grpc.aio.insecure_channel(app.address) as channel,
        grpc.aio.insecure_channel(app.health_address) as probe,
    ):
        assert await is_healthy(channel) is without
        assert await is_healthy(channel, MONITOR) is monitor
        assert await is_healthy(probe) is OK
        assert await stub_of(probe).ListModels(pb.ListModelsRequest()).code() is NONE


async def test_the_health_port_speaks_plaintext_beside_mutual_tls_and_tells_of_the_drain(
    settings: Settings, load: LoadModels, runner: ArithmeticRunner, tmp_path: Path
) -> None:
    ca = trustme.CA()
    write_server_certificate(tmp_path / "tls", ca)
    (tmp_path / "tls" / "ca.crt").write_bytes(ca.cert_pem.bytes())
    update = {**tls_settings(tmp_path / "tls", mutual=True), "health_host": "127.0.0.1", "health_port": 0}
    update["callers_file"] = ""
    app = await App(settings.model_copy(update=update), load).__aenter__()
    async with (
        grpc.aio.insecure_channel(app.health_address) as probe,
        secure_channel(app.address, ca, ca.issue_cert("studio")) as channel,
    ):
        check = health_pb2_grpc.HealthStub(probe).Check
        assert (await check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        runner.go.clear()
        call = asyncio.ensure_future(stub_of(channel).Generate(pb.GenerateRequest(bars=1)))
        await scrape_until(app, "fantasia_slots_used", 1)
        draining = asyncio.create_task(app.__aexit__(None, None, None))
        async with asyncio.timeout(10):
            while (await check(health_pb2.HealthCheckRequest())).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                await asyncio.sleep(0.02)
        runner.go.set()
        await call
        await draining


async def test_a_client_certificate_may_take_the_place_of_a_token(
    settings: Settings, load: LoadModels, tmp_path: Path, callers_file: Path
) -> None:
    ca = trustme.CA()
    write_server_certificate(tmp_path / "tls", ca)
    (tmp_path / "tls" / "ca.crt").write_bytes(ca.cert_pem.bytes())
    callers_file.write_text(CALLERS + '[callers.desk]\ncertificates = ["desk.example"]\n')
    update = tls_settings(tmp_path / "tls", mutual=True)
    async with (
        App(settings.model_copy(update=update), load) as app,
        secure_channel(app.address, ca, ca.issue_cert("desk.example")) as desk,
        secure_channel(app.address, ca, ca.issue_cert("stranger.example")) as stranger,
    ):
        assert await code_of(stub_of(desk)) is OK
        assert await code_of(stub_of(desk), "wrong") is NO, "a token that is sent must be right"
        assert await code_of(stub_of(stranger), STUDIO) is OK
        code, status = await rich_status(stub_of(stranger).ListModels(pb.ListModelsRequest()))
        assert code is NO
        assert "no caller has the client certificate stranger.example" in status.message
        found = await scrape(app)
        assert found.sum("fantasia_caller_requests_total", caller="desk") == 1
        assert found.sum("fantasia_caller_requests_total", caller="studio") == 1


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("0.0.0.0", True)])  # noqa: S104
async def test_tokens_without_tls_beyond_this_machine_are_warned_of(
    settings: Settings, load: LoadModels, caplog: pytest.LogCaptureFixture, host: str, warns: bool
) -> None:
    async with App(settings.model_copy(update={"host": host}), load):
        pass
    assert any(record.message.startswith("tokens without TLS") for record in caplog.records) is warns


async def test_a_caller_has_a_limit_of_calls_a_minute_of_its_own(
    app: App, stub: "pb_grpc.GenerationServiceAsyncStub", callers_file: Path
) -> None:
    callers_file.write_text(entry("studio", STUDIO, more="calls_per_minute = 3") + entry("desk", NEW))
    await scrape_until(app, "fantasia_file_reloads_total", 1, outcome="ok")
    assert [await code_of(stub, STUDIO) for _ in range(4)] == [*[OK] * 3, grpc.StatusCode.RESOURCE_EXHAUSTED]
    code, status = await rich_status(stub.ListModels(pb.ListModelsRequest(), metadata=bearer(STUDIO)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "the caller studio has reached the server's limit of 3 calls a minute: try again in " in status.message
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    assert 10_000 < retry.retry_delay.ToMilliseconds() <= 20_000
    assert [await code_of(stub, NEW) for _ in range(9)] == [OK] * 9
    await scrape_until(app, REFUSALS, 2, reason="calls")


async def test_a_caller_has_a_limit_of_tokens_a_minute_of_its_own(
    app: App, stub: "pb_grpc.GenerationServiceAsyncStub", callers_file: Path
) -> None:
    callers_file.write_text(entry("studio", STUDIO, more="tokens_per_minute = 200"))
    await scrape_until(app, "fantasia_file_reloads_total", 1, outcome="ok")
    request, metadata = pb.GenerateRequest(bars=1), bearer(STUDIO)  # 64 tokens
    for _ in range(3):
        await stub.Generate(request, metadata=metadata)
    code, status = await rich_status(stub.Generate(request, metadata=metadata))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "limit of 200 tokens a minute" in status.message
    assert status.details[0].Unpack(RetryInfo())
    await stub.ListModels(pb.ListModelsRequest(), metadata=metadata)
    await scrape_until(app, REFUSALS, 1, reason="tokens")
    assert app.quota.pieces == 0


async def test_a_caller_has_limits_in_flight_of_its_own_over_all_its_connections(
    app: App, callers_file: Path, runner: ArithmeticRunner
) -> None:
    callers_file.write_text(entry("studio", STUDIO, more="max_pieces = 2") + entry("desk", NEW))
    await scrape_until(app, "fantasia_file_reloads_total", 1, outcome="ok")
    runner.go.clear()
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        grpc.aio.insecure_channel(app.address, own) as one,
        grpc.aio.insecure_channel(app.address, own) as two,
    ):
        request = pb.GenerateRequest(bars=1)
        running = [
            asyncio.ensure_future(stub_of(each).Generate(request, metadata=bearer(STUDIO))) for each in (one, two)
        ]
        await scrape_until(app, "fantasia_sequences_in_flight", 2)
        code, status = await rich_status(stub_of(two).Generate(request, metadata=bearer(STUDIO)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the caller studio has 2 pieces in flight, and 1 more would exceed" in status.message
        other = asyncio.ensure_future(stub_of(two).Generate(request, metadata=bearer(NEW)))
        await scrape_until(app, "fantasia_sequences_in_flight", 3)
        runner.go.set()
        await asyncio.gather(*running, other)
