"""Tokens: where they come from, and that every call of both clients sends them."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from click.testing import CliRunner

from fantasia_client import AccessDeniedError, Client, InsecureTokenWarning, Token
from fantasia_client.cli import main

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer

SECRET = "fantasia_secret"  # noqa: S105


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FANTASIA_TOKEN", "FANTASIA_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


def sent(server: "ScriptedServer") -> list[str | bytes | None]:
    return [metadata.get("authorization") for metadata in server.metadata]


async def test_every_call_sends_the_token(server: "ScriptedServer", connect: "Connect") -> None:
    call = connect(server.address, token=SECRET)
    for method, arguments in [
        ("generate", {"bars": 2}),
        ("generate_many", {"pieces": 1, "bars": 2}),
        ("list_models", {}),
        ("get_model", {}),
    ]:
        await call(method, **arguments)
    await call.updates(bars=2)
    assert sent(server) == [f"Bearer {SECRET}"] * 5


async def test_without_a_token_none_is_sent(server: "ScriptedServer", connect: "Connect") -> None:
    await connect(server.address)("list_models")
    assert sent(server) == [None]


async def test_a_file_is_read_for_every_call(server: "ScriptedServer", connect: "Connect", tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    call = connect(server.address, token=Token.from_file(path))
    await call("list_models")
    path.write_text(" two ")
    await call("list_models")
    path.write_text("not valid: spaces")
    await call("list_models")
    path.unlink()
    await call("list_models")
    assert sent(server) == ["Bearer one", "Bearer two", "Bearer two", "Bearer two"]


async def test_a_refused_token_is_an_access_error(server: "ScriptedServer", connect: "Connect") -> None:
    server.script.append(server.fail(grpc.StatusCode.UNAUTHENTICATED, "the server does not know this token"))
    with pytest.raises(AccessDeniedError, match="does not know this token"):
        await connect(server.address, token=SECRET)("list_models")
    assert len(server.requests) == 1, "it is not retried"


def test_the_environment_names_a_file_or_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Token.from_environment() is None
    monkeypatch.setenv("FANTASIA_TOKEN", f"{SECRET}\n")
    token = Token.from_environment()
    assert token is not None
    assert token.metadata() == (("authorization", f"Bearer {SECRET}"),)
    (tmp_path / "token").write_text("other")
    monkeypatch.setenv("FANTASIA_TOKEN_FILE", str(tmp_path / "token"))
    token = Token.from_environment()
    assert token is not None
    assert token.metadata() == (("authorization", "Bearer other"),)


@pytest.mark.parametrize("text", ["", "two words", "line\nbreak", "é", "x" * 4097])
def test_a_wrong_token_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    with pytest.raises(ValueError, match="the token") as of_text:
        Token(text)
    with pytest.raises(ValueError, match="the token in ") as of_file:
        Token.from_file(path)
    assert len(text) < 2 or text not in f"{of_text.value} {of_file.value}"


def test_a_token_is_not_shown() -> None:
    assert SECRET not in repr(Token(SECRET))
    assert SECRET not in str(Token(SECRET))


@pytest.mark.parametrize(
    ("server", "warns"),
    [
        ("localhost:1", False),
        ("127.0.0.1:1", False),
        ("[::1]:1", False),
        ("unix:/tmp/x", False),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", False),
        ("dns:///localhost:1", False),
        ("example.com:1", True),
        ("10.0.0.1", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", True),
    ],
)
def test_a_token_that_leaves_the_machine_without_tls_is_warned_of(server: str, warns: bool) -> None:
    with pytest.warns(InsecureTokenWarning) if warns else nullcontext():
        Client(server, token=SECRET).close()


@pytest.mark.parametrize("by", ["option", "variable of a file", "variable"])
def test_the_command_sends_the_token(
    server: "ScriptedServer", monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    path = tmp_path / "token"
    path.write_text(SECRET)
    options = ["--token-file", str(path)] if by == "option" else []
    if by == "variable of a file":
        monkeypatch.setenv("FANTASIA_TOKEN_FILE", str(path))
    elif by == "variable":
        monkeypatch.setenv("FANTASIA_TOKEN", SECRET)
    result = CliRunner().invoke(main, ["--server", server.address, *options, "models"])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert set(sent(server)) == {f"Bearer {SECRET}"}


def test_the_command_explains_a_wrong_file_and_warns_of_plaintext(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("two words")
    result = CliRunner().invoke(main, ["--token-file", str(path), "health"])
    assert result.exit_code == 2
    assert "printable ASCII characters without spaces" in result.stderr
    path.write_text(SECRET)
    result = CliRunner().invoke(
        main, ["--server", "192.0.2.1:1", "--timeout", "0.05", "--token-file", str(path), "health"]
    )
    assert result.stderr.startswith("Warning: the token is sent to 192.0.2.1:1 without TLS")
    assert SECRET not in result.output
