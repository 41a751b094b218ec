import asyncio
import inspect
import json
import math
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import pytest
import trustme
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2
from hyperframe.frame import SettingsFrame

from clients.python.tests.conftest import piece_message
from fantasia.v1 import generation_pb2 as pb
from fantasia_client import (
    TLS,
    AsyncClient,
    CallCancelledError,
    Client,
    ClientClosedError,
    DeadlineExceededError,
    FinishReason,
    Health,
    Keepalive,
    Meter,
    Note,
    Retry,
    Sampling,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    Timing,
)

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer

QUICK = Retry(initial_backoff_seconds=0.01, max_backoff_seconds=0.02)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def test_a_piece_comes_back_whole(server: "ScriptedServer", connect: "Connect") -> None:
    piece = await connect(server.address)("generate", bars=2)
    assert piece.midi.startswith(b"MThd")
    assert piece.notes == (Note(0, 480, 72, 80, 0), Note(0, 1440, 48, 70, 1), Note(1440, 1440, 48, 70, 0))
    assert (piece.ticks_per_quarter, piece.length_ticks, piece.token_count) == (480, 2880, 96)
    assert piece.seed == 2**64 - 1
    assert piece.finish_reason is FinishReason.LENGTH
    assert (piece.model, piece.model_digest) == ("chorales", "ab" * 32)
    assert (piece.meter, piece.tempo_bpm, piece.program) == (Meter(3, 4), 90.0, 19)
    assert piece.timing == Timing(0.25, 0.5, 1.5)
    assert piece.bars == 2
    assert piece.duration_seconds == pytest.approx(4.0)


async def test_what_is_given_is_sent(server: "ScriptedServer", connect: "Connect") -> None:
    await connect(server.address)(
        "generate",
        seconds=2.5,
        seed=0,
        model="origin",
        sampling=Sampling(temperature=0.5, top_k=0, top_p=0.75),
        tempo_bpm=120,
        program=0,
        meter="6/8",
    )
    expected = pb.GenerateRequest(
        model="origin",
        seconds=2.5,
        seed=0,
        sampling=pb.Sampling(temperature=0.5, top_k=0, top_p=0.75),
        tempo_bpm=120,
        program=0,
        meter=pb.Meter(numerator=6, denominator=8),
    )
    assert server.requests == [expected]


@pytest.mark.parametrize("length", [{"bars": 3}, {"steps": 48}, {"seconds": 9.0}])
async def test_every_length_has_its_field(
    server: "ScriptedServer", connect: "Connect", length: dict[str, float]
) -> None:
    await connect(server.address)("generate", **length)
    ((name, value),) = length.items()
    assert server.requests[0].WhichOneof("length") == name
    assert getattr(server.requests[0], name) == value


@pytest.mark.parametrize("length", [{"bars": 0}, {"steps": 0}, {"seconds": 0.0}])
async def test_zero_is_not_taken_for_nothing(
    server: "ScriptedServer", connect: "Connect", length: dict[str, float]
) -> None:
    await connect(server.address)("generate", **length)
    assert server.requests[0].WhichOneof("length") == next(iter(length))


async def test_what_is_not_given_is_left_to_the_server(server: "ScriptedServer", connect: "Connect") -> None:
    await connect(server.address)("generate", sampling=Sampling(top_k=5))
    request = server.requests[0]
    assert request.WhichOneof("length") is None
    unset = ("seed", "tempo_bpm", "program", "meter")
    assert not any(request.HasField(name) for name in unset)
    assert request.sampling == pb.Sampling(top_k=5)


async def test_a_finish_reason_of_the_future_is_no_error(server: "ScriptedServer", connect: "Connect") -> None:
    message = piece_message()
    message.finish_reason = 77  # type: ignore[assignment]
    server.script.append(lambda *_: message)
    piece = await connect(server.address)("generate")
    assert piece.finish_reason is FinishReason.OTHER


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("ticks_per_quarter", 0, "its ticks_per_quarter is 0"),
        ("tempo_bpm", 0, r"its tempo_bpm is 0\.0"),
        ("tempo_bpm", math.nan, "its tempo_bpm is nan"),
        ("meter", pb.Meter(numerator=3), "its meter is 3/0"),
    ],
)
async def test_a_piece_that_makes_no_sense_is_the_servers_fault(
    server: "ScriptedServer", connect: "Connect", field: str, value: object, words: str
) -> None:
    message = piece_message()
    message.ClearField(field)  # type: ignore[arg-type]
    message.MergeFrom(pb.GenerateResponse(**{field: value}))  # type: ignore[arg-type]
    server.script.append(lambda *_: message)
    with pytest.raises(ServerError, match=f"the server's answer makes no sense: {words}"):
        await connect(server.address)("generate")


async def test_a_model_that_makes_no_sense_is_the_servers_fault(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(lambda *_: pb.ListModelsResponse(models=[pb.Model(name="chorales")]))
    with pytest.raises(ServerError, match="its steps_per_quarter is 0"):
        await connect(server.address)("list_models")


async def test_models_are_listed_in_the_servers_order(server: "ScriptedServer", connect: "Connect") -> None:
    models = await connect(server.address)("list_models")
    assert [model.name for model in models] == ["chorales", "origin"]
    first = models[0]
    assert first.default_sampling == Sampling(0.9, 0, 0.95)
    assert first.meters == (Meter(4, 4), Meter(3, 4))
    assert first.metrics == {"test_nats_per_token": 0.47}
    assert (first.parameters, first.provider) == (1234567, "CPUExecutionProvider")
    assert (first.max_bars(), first.max_bars(Meter(3, 4))) == (32, 42)
    assert json.loads(json.dumps(first.to_dict()))["meters"] == ["4/4", "3/4"]


async def test_one_model_is_described(server: "ScriptedServer", connect: "Connect") -> None:
    client = connect(server.address)
    assert (await client("get_model", "origin")).name == "origin"
    assert (await client("get_model")).name == "chorales"
    assert [request.name for request in server.requests] == ["origin", ""]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("SERVING", Health.SERVING), ("NOT_SERVING", Health.NOT_SERVING), ("SERVICE_UNKNOWN", Health.UNKNOWN)],
)
async def test_health_is_the_servers_word(
    server: "ScriptedServer", connect: "Connect", state: str, expected: Health
) -> None:
    server.set_health(health_pb2.HealthCheckResponse.ServingStatus.Value(state))
    assert await connect(server.address)("health") is expected


async def test_a_large_piece_fits(server: "ScriptedServer", connect: "Connect") -> None:
    large = piece_message(bytes(6 * 2**20))  # gRPC's own limit is 4 MiB
    server.script.append(lambda *_: large)
    assert len((await connect(server.address)("generate")).midi) == 6 * 2**20


# Deadlines and cancelling


async def test_the_default_deadline_ends_a_call_and_frees_the_server(
    server: "ScriptedServer", connect: "Connect"
) -> None:
    server.script.append(server.hang)
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"gave no answer within 0\.3 s"):
        await connect(server.address, timeout_seconds=0.3)("generate")
    assert 0.25 < time.monotonic() - started < 5
    assert await asyncio.to_thread(server.cancelled.wait, 5)


async def test_a_call_may_have_a_deadline_of_its_own(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(server.hang)
    with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"):
        await connect(server.address)("generate", timeout_seconds=0.2)


async def test_the_shortest_deadline_is_kept(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(server.hang)
    with pytest.raises(DeadlineExceededError, match=r"within 0\.01 s"):
        await connect(server.address)("generate", timeout_seconds=0.01)


async def test_the_server_is_told_the_deadline(server: "ScriptedServer", connect: "Connect") -> None:
    remaining: list[float] = []

    def measure(_request: object, context: grpc.ServicerContext) -> pb.GenerateResponse:
        remaining.append(context.time_remaining())
        return piece_message()

    server.script.extend([measure, measure])
    client = connect(server.address, timeout_seconds=29.5)  # gRPC sends tenths of a second, rounded up
    await client("generate")
    await client("generate", timeout_seconds=math.inf)
    assert 20 < remaining[0] <= 30
    assert remaining[1] is None or remaining[1] > 1e6


@pytest.mark.parametrize("timeout", [0, -1, 1e-9, 0.009, math.nan, "5", (5,)])
async def test_a_timeout_that_cannot_be_kept_is_refused(
    server: "ScriptedServer", connect: "Connect", timeout: float
) -> None:
    with pytest.raises(ValueError, match=r"timeout_seconds must be a number of at least 0\.01 seconds"):
        connect(server.address, timeout_seconds=timeout)
    with pytest.raises(ValueError, match=r"timeout_seconds must be a number of at least 0\.01 seconds"):
        await connect(server.address)("generate", timeout_seconds=timeout)
    assert server.requests == []


async def test_a_cancelled_task_cancels_its_call(server: "ScriptedServer") -> None:
    server.script.append(server.hang)
    async with AsyncClient(server.address) as client:
        task = asyncio.create_task(client.generate())
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(server.cancelled.wait, 5)


async def test_closing_cancels_what_runs(server: "ScriptedServer") -> None:
    server.script.append(server.hang)
    client = Client(server.address)
    task = asyncio.create_task(asyncio.to_thread(client.generate))
    while not server.requests:
        await asyncio.sleep(0.01)
    client.close()
    with pytest.raises(CallCancelledError):
        await task


# Retries


async def test_unavailable_is_tried_again_with_the_same_request(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.extend([server.fail(grpc.StatusCode.UNAVAILABLE)] * 3)
    piece = await connect(server.address, retry=QUICK)("generate", bars=2)
    assert piece.bars == 2
    assert len(server.requests) == 4
    assert all(request == server.requests[0] for request in server.requests)


async def test_retries_end(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.extend([server.fail(grpc.StatusCode.UNAVAILABLE)] * 9)
    with pytest.raises(ServerUnavailableError):
        await connect(server.address, retry=QUICK)("list_models")
    assert len(server.requests) == 4


async def test_retries_can_be_turned_off(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(server.fail(grpc.StatusCode.UNAVAILABLE))
    with pytest.raises(ServerUnavailableError):
        await connect(server.address, retry=Retry(attempts=1))("generate")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [(grpc.StatusCode.RESOURCE_EXHAUSTED, ServerBusyError), (grpc.StatusCode.INTERNAL, ServerError)],
)
async def test_nothing_else_is_tried_again(
    server: "ScriptedServer", connect: "Connect", code: grpc.StatusCode, error: type[Exception]
) -> None:
    server.script.append(server.fail(code, "no", RetryInfo()))
    with pytest.raises(error):
        await connect(server.address, retry=QUICK)("generate")
    assert len(server.requests) == 1


async def test_a_call_that_a_stopping_server_cancelled_is_tried_again(
    server: "ScriptedServer", connect: "Connect"
) -> None:
    server.script.extend([server.fail(grpc.StatusCode.CANCELLED)] * 2)
    assert (await connect(server.address, retry=QUICK)("generate", bars=2)).bars == 2
    assert len(server.requests) == 3


async def test_a_replica_that_fails_does_not_switch_retries_off(
    server: "ScriptedServer", idle_server: "ScriptedServer", connect: "Connect"
) -> None:
    idle_server.start()
    server.script.extend([server.fail(grpc.StatusCode.UNAVAILABLE)] * 1000)
    addresses = ",".join(each.address.replace("localhost", "127.0.0.1") for each in (server, idle_server))
    client = connect(f"ipv4:{addresses}", retry=QUICK)

    for _ in range(100):
        await client("generate")
    assert len(idle_server.requests) == 100
    assert len(server.requests) > 20


async def test_the_deadline_covers_all_attempts(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.extend([server.fail(grpc.StatusCode.UNAVAILABLE), server.hang])
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        await connect(server.address, retry=QUICK, timeout_seconds=0.5)("generate")
    assert time.monotonic() - started < 5
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 6},
        {"initial_backoff_seconds": 0},
        {"initial_backoff_seconds": 3},
        {"max_backoff_seconds": math.inf},
        {"multiplier": 0.5},
        {"multiplier": math.nan},
    ],
)
def test_a_retry_policy_that_grpc_would_not_follow_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Retry(**wrong)  # type: ignore[arg-type]


async def test_a_server_that_answers_no_ping_is_given_up(connect: "Connect") -> None:
    """It takes in all that comes, as a stopped process does whose kernel goes on."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.sendall(SettingsFrame(0).serialize() + SettingsFrame(0, flags=["ACK"]).serialize())
                while connection.recv(1 << 16):
                    pass

        serving = threads.submit(serve)
        client = connect(
            f"127.0.0.1:{listener.getsockname()[1]}",
            retry=Retry(attempts=1),
            keepalive=Keepalive(interval_seconds=0.5, timeout_seconds=0.5),
        )
        with pytest.raises(ServerUnavailableError):  # gRPC's own timeout of a ping is a minute
            await client("generate", timeout_seconds=30)
        serving.result(20)


@pytest.mark.parametrize("wrong", [{"interval_seconds": 0}, {"timeout_seconds": math.nan}])
def test_a_keepalive_that_grpc_would_not_follow_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Keepalive(**wrong)


# Connections


async def test_a_server_that_is_not_there(connect: "Connect") -> None:
    address = free_address()
    with pytest.raises(ServerUnavailableError, match=rf"^{address} cannot be reached: .*refused") as caught:
        await connect(address, retry=QUICK)("generate")
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["client", "call"])
async def test_a_server_that_comes_up_later_is_waited_for(
    idle_server: "ScriptedServer", connect: "Connect", where: str
) -> None:
    address = free_address()
    client = connect(address, wait_for_ready=where == "client", retry=Retry(attempts=1))
    options = {"wait_for_ready": True} if where == "call" else {}
    task = asyncio.create_task(client("generate", timeout_seconds=20, **options))
    await asyncio.sleep(0.2)
    assert not task.done()
    await asyncio.to_thread(idle_server.start, address)
    assert (await task).bars == 2


async def test_the_client_says_who_it_is(server: "ScriptedServer", connect: "Connect") -> None:
    await connect(server.address)("list_models")
    assert str(server.metadata[0]["user-agent"]).startswith("fantasia-client/")


async def test_a_closed_client_says_so(server: "ScriptedServer", connect: "Connect") -> None:
    client = connect(server.address)
    await client("generate")
    await client("close")
    await client("close")
    for method in ("generate", "list_models", "get_model", "health"):
        with pytest.raises(ClientClosedError, match="has been closed"):
            await client(method)


async def test_leaving_the_block_closes_the_client(server: "ScriptedServer") -> None:
    with Client(server.address) as client:
        client.generate()
    with pytest.raises(ClientClosedError):
        client.generate()
    async with AsyncClient(server.address) as async_client:
        await async_client.generate()
    with pytest.raises(ClientClosedError):
        await async_client.generate()


@pytest.mark.parametrize("address", [" ", "http://localhost:50051", "localhost:70000"])
async def test_a_wrong_address_is_refused_at_once(connect: "Connect", address: str) -> None:
    with pytest.raises(ValueError, match="server's address"):
        connect(address)


def test_the_asyncio_client_needs_a_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        AsyncClient("localhost:1")


async def test_tls_trusts_its_authority_alone(idle_server: "ScriptedServer", connect: "Connect") -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("localhost")
    chain = b"".join(link.bytes() for link in certificate.cert_chain_pems)
    idle_server.start("localhost:0", grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)]))
    trusted = authority.cert_pem.bytes()
    client = connect(idle_server.address, tls=TLS(root_certificates=trusted))
    assert (await client("generate")).bars == 2
    client = connect(idle_server.address, credentials=grpc.ssl_channel_credentials(trusted))
    assert (await client("generate")).bars == 2
    client = connect(idle_server.address, tls=TLS(stranger.cert_pem.bytes()), retry=QUICK)
    with pytest.raises(ServerUnavailableError, match="not from an authority that this client trusts"):
        await client("generate")
    client = connect(idle_server.address, retry=QUICK)
    with pytest.raises(ServerUnavailableError, match="cannot be reached"):
        await client("generate")


async def test_tls_and_credentials_exclude_each_other(connect: "Connect") -> None:
    with pytest.raises(ValueError, match="not both"):
        connect("localhost:1", tls=TLS(), credentials=grpc.ssl_channel_credentials())


def test_tls_is_checked_before_it_is_used() -> None:
    with pytest.raises(ValueError, match="root_certificates holds nothing in PEM"):
        TLS(root_certificates=b"what")
    with pytest.raises(ValueError, match="go together"):
        TLS(private_key=b"-----BEGIN PRIVATE KEY-----")


# What holds for the package


def test_both_clients_have_the_same_methods() -> None:
    def surface(client: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(function)
            for name, function in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }

    assert surface(Client) == surface(AsyncClient)
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
    assert set(surface(Client)) == {"generate", "list_models", "get_model", "health", "close"}


def test_importing_the_client_imports_neither_server_nor_numbers() -> None:
    heavy = {"music", "server", "training", "torch", "music21", "numpy", "matplotlib", "onnxruntime"}
    code = f"import sys, fantasia_client, fantasia_client.cli; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert result.stdout.strip() == "[]"
