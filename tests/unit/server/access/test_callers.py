import hashlib
from pathlib import Path

import pytest

from server.access.callers import Caller, CallerStore, parse_callers, token_entry
from server.access.observer import AccessObserver
from server.errors import SettingError

PATH = Path("callers.toml")
HASH = token_entry("secret")


def store(path: Path, text: str) -> CallerStore:
    path.write_text(text)
    return CallerStore(path, AccessObserver())


def test_a_token_is_found_by_its_hash_alone(tmp_path: Path) -> None:
    callers = store(
        tmp_path / "callers.toml",
        f'[callers.studio]\ntokens = ["{HASH}", "{token_entry("second")}"]\n[callers.desk]\ntokens = '
        f'["{token_entry("third")}"]\ncertificates = ["desk.example", "spiffe://example/desk"]\n',
    )
    names = {token: callers.by_token(token) for token in ("secret", "second", "third", "secre", "", HASH)}
    assert {token: found and found.name for token, found in names.items()} == {
        "secret": "studio",
        "second": "studio",
        "third": "desk",
        "secre": None,
        "": None,
        HASH: None,
    }
    desk = callers.by_certificate("spiffe://example/desk")
    assert desk is not None
    assert desk.name == "desk"
    assert callers.by_certificate("studio") is None


def test_tokens_that_share_a_bucket_are_told_apart(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"secret").digest()
    other = digest[:8] + bytes(24)
    callers = store(
        tmp_path / "callers.toml",
        f'[callers.other]\ntokens = ["sha256:{other.hex()}"]\n[callers.studio]\ntokens = ["{HASH}"]\n',
    )
    found = callers.by_token("secret")
    assert found is not None
    assert found.name == "studio"


def test_an_entry_has_limits_and_services() -> None:
    text = f"""
        [callers."studio.one"]
        tokens = ["{HASH}"]
        allow = ["generation", "metrics"]
        calls_per_minute = 1
        tokens_per_minute = 2
        max_pieces = 3
        max_tokens = 4
    """
    ((caller, _),) = parse_callers(text.encode(), PATH)
    assert caller == Caller("caller:studio.one", frozenset(("generation", "metrics")), 1, 2, 3, 4)
    assert (caller.name, str(caller), caller.is_configured) == ("studio.one", "the caller studio.one", True)


def test_by_default_an_entry_allows_all_but_metrics() -> None:
    ((caller, _),) = parse_callers(f'[callers.a]\ntokens = ["{HASH}"]'.encode(), PATH)
    assert caller.services == {"generation", "health", "reflection"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "callers.toml: callers: field required"),
        ("x", "callers.toml is not TOML (at end of document)"),
        ("callers = 5", "callers: input should be a valid dictionary"),
        ("[callers]", "callers: dictionary should have at least 1 item after validation, not 0"),
        ("[callers.a]", "a needs tokens or certificates"),
        ("[callers.a]\ntokens = []", "a needs tokens or certificates"),
        ('[callers.a]\ntokens = ["secret"]', "callers.a.tokens.0: must be sha256: and 64 hex digits"),
        (f'[callers.a]\ntokens = ["{HASH}0"]', "callers.a.tokens.0: must be sha256: and 64 hex digits"),
        (f'[callers.a]\ntokens = ["{HASH}\\n"]', "callers.a.tokens.0: must be sha256: and 64 hex digits"),
        (f'[callers.a]\ntokens = "{HASH}"', "callers.a.tokens: input should be a valid list"),
        (f'[callers.a]\ntokens = ["{HASH}"]\nallow = ["all"]', "callers.a.allow.0: input should be 'generation', "),
        (f'[callers.a]\ntokens = ["{HASH}"]\nallow = []', "callers.a.allow: list should have at least 1 item"),
        (f'[callers.a]\ntokens = ["{HASH}"]\nmax_calls = 1', "callers.a.max_calls: extra inputs are not permitted"),
        (f'[callers.a]\ntokens = ["{HASH}"]\nmax_pieces = 0', "callers.a.max_pieces: input should be greater than"),
        (
            f'[callers.a]\ntokens = ["{HASH}"]\nmax_pieces = true',
            "callers.a.max_pieces: input should be a valid integer",
        ),
        (f'[callers."a b"]\ntokens = ["{HASH}"]', "the name 'a b' must be 1 to 64 letters"),
        (f'[callers.{"a" * 65}]\ntokens = ["{HASH}"]', "must be 1 to 64 letters"),
        (f'[callers.a]\ntokens = ["{HASH}"]\n[callers.a]', "is not TOML (at line 3, column 11)"),
        (f'[caller.a]\ntokens = ["{HASH}"]', "callers: field required; caller: extra inputs are not permitted"),
        ('[callers]\na = {tokens = ["x"]}\nb = {tokens = ["x"]}\nc = {tokens = ["x", "x"]}', "; and others"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(text: str, sentence: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_callers(text.encode(), PATH)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("--callers-file: callers.toml")
    assert "secret" not in str(caught.value)


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(SettingError, match="is not UTF-8"):
        parse_callers(b"\xff", PATH)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [(f'tokens = ["{HASH}"]', "a token of b is there twice"), ('certificates = ["x"]', "certificate x is there twice")],
)
def test_a_token_or_certificate_names_one_caller(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        store(tmp_path / "callers.toml", f"[callers.a]\n{line}\n[callers.b]\n{line}\n")
