"""Retries, keepalive, size limits and TLS, with real connections."""

import math
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import pytest
import trustme
from google.rpc.error_details_pb2 import RetryInfo
from hyperframe.frame import SettingsFrame

from clients.python.tests.conftest import piece_message
from fantasia_client import (
    TLS,
    DeadlineExceededError,
    Keepalive,
    Retry,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
)

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer


QUICK = Retry(initial_backoff_seconds=0.01, max_backoff_seconds=0.02)


async def test_unavailable_is_retried_with_the_same_request(server: "ScriptedServer", connect: "Connect") -> None:
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
async def test_no_other_status_is_retried(
    server: "ScriptedServer", connect: "Connect", code: grpc.StatusCode, error: type[Exception]
) -> None:
    server.script.append(server.fail(code, "no", RetryInfo()))
    with pytest.raises(error):
        await connect(server.address, retry=QUICK)("generate")
    assert len(server.requests) == 1


async def test_a_call_cancelled_by_a_stopping_server_is_retried(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.extend([server.fail(grpc.StatusCode.CANCELLED)] * 2)
    assert (await connect(server.address, retry=QUICK)("generate", bars=2)).bars == 2
    assert len(server.requests) == 3


async def test_one_failing_replica_does_not_stop_retries(
    server: "ScriptedServer", idle_server: "ScriptedServer", connect: "Connect"
) -> None:
    idle_server.start()
    server.script.extend([server.fail(grpc.StatusCode.UNAVAILABLE)] * 1000)
    addresses = ",".join(each.address.replace("localhost", "127.0.0.1") for each in (server, idle_server))
    client = connect(f"ipv4:{addresses}", retry=QUICK)

    for _ in range(100):
        await client("generate")  # none fails
    assert len(idle_server.requests) >= 100  # more if a connection is lost and gRPC sends a request again
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
def test_an_invalid_retry_policy_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Retry(**wrong)  # type: ignore[arg-type]


async def test_a_server_without_ping_answers_is_unavailable(connect: "Connect") -> None:
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
def test_an_invalid_keepalive_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Keepalive(**wrong)


async def test_the_user_agent_names_the_client(server: "ScriptedServer", connect: "Connect") -> None:
    await connect(server.address)("list_models")
    assert str(server.metadata[0]["user-agent"]).startswith("fantasia-client/")


async def test_a_large_piece_fits(server: "ScriptedServer", connect: "Connect") -> None:
    large = piece_message(bytes(6 * 2**20))  # gRPC's own limit is 4 MiB
    server.script.append(lambda *_: large)
    assert len((await connect(server.address)("generate")).midi) == 6 * 2**20


async def test_tls_trusts_only_the_given_authority(idle_server: "ScriptedServer", connect: "Connect") -> None:
    authority, other = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("localhost")
    chain = b"".join(link.bytes() for link in certificate.cert_chain_pems)
    idle_server.start("localhost:0", grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)]))
    trusted = authority.cert_pem.bytes()
    client = connect(idle_server.address, tls=TLS(root_certificates=trusted))
    assert (await client("generate")).bars == 2
    client = connect(idle_server.address, credentials=grpc.ssl_channel_credentials(trusted))
    assert (await client("generate")).bars == 2
    client = connect(idle_server.address, tls=TLS(other.cert_pem.bytes()), retry=QUICK)
    with pytest.raises(ServerUnavailableError, match="not signed by an authority that this client trusts"):
        await client("generate")
    client = connect(idle_server.address, retry=QUICK)
    with pytest.raises(ServerUnavailableError, match="cannot be reached"):
        await client("generate")


async def test_tls_and_credentials_together_are_refused(connect: "Connect") -> None:
    with pytest.raises(ValueError, match="not both"):
        connect("localhost:1", tls=TLS(), credentials=grpc.ssl_channel_credentials())


def test_invalid_pem_is_refused() -> None:
    with pytest.raises(ValueError, match="root_certificates contains no PEM data"):
        TLS(root_certificates=b"what")
    with pytest.raises(ValueError, match="must be given together"):
        TLS(private_key=b"-----BEGIN PRIVATE KEY-----")
