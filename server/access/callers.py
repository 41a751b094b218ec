"""The callers of a server: names, hashes of tokens, what each may use, and its limits, from a TOML file."""

import hashlib
import hmac
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from server.access.observer import AccessObserver
from server.access.watched_files import Contents, WatchedFiles
from server.errors import SettingError, shortened

CALLERS: Final = "--callers-file"
Service = Literal["generation", "health", "reflection", "metrics"]
_DEFAULT_SERVICES: Final[tuple[Service, ...]] = ("generation", "health", "reflection")
_MAX_CALLERS: Final = 10_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH_PREFIX: Final = "sha256:"
_BUCKET_BYTES: Final = 8
_NAMED_ERRORS: Final = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. Limits count per `key`."""

    key: str
    """Unique: `caller:` and a name of the callers file, `certificate:` and the name of a client certificate, or
    `connection:` and the peer as gRPC writes it."""
    services: frozenset[Service] = frozenset(("generation", "health", "reflection", "metrics"))
    """What it may use."""
    calls_per_minute: int | None = None
    """Its own limits; None: those of the settings."""
    tokens_per_minute: int | None = None
    max_pieces: int | None = None
    max_tokens: int | None = None

    @classmethod
    def of_connection(cls, peer: str) -> "Caller":
        """An unnamed caller: one connection."""
        return cls(f"connection:{peer}")

    @classmethod
    def of_certificate(cls, name: str) -> "Caller":
        """A caller known by the name in its client certificate only."""
        return cls(f"certificate:{name}")

    @property
    def is_configured(self) -> bool:
        """Whether it is an entry of the callers file."""
        return self.key.startswith("caller:")

    @property
    def is_connection(self) -> bool:
        """Whether nothing but its connection is known."""
        return self.key.startswith("connection:")

    @property
    def name(self) -> str:
        """Its name, for logs and metrics."""
        return self.key.partition(":")[2]

    def __str__(self) -> str:
        """As the subject of an error message."""
        return "this connection" if self.is_connection else f"the caller {shortened(self.name)}"


class CallerStore:
    """The callers in use. Any thread may read them; one thread loads them.

    Tokens are random and long (`python -m server.tokens new` makes them of 32 random bytes), so a fast hash is enough:
    2^256 tokens cannot be tried, as passwords can. Only hashes are in the file and in memory. The first 8
    bytes of a token's hash find its entry, and the whole hash is compared in constant time. The time of the search
    tells an attacker at most something about the hash of the token that he sent, which he knows.

    Args:
        path: of the file.
        observer: is told of reloads.

    Raises:
        SettingError: the file cannot be used.
    """

    def __init__(self, path: Path, observer: AccessObserver) -> None:
        self._path = path
        self._by_hash: Mapping[bytes, tuple[tuple[bytes, Caller], ...]] = {}
        self._by_certificate: Mapping[str, Caller] = {}
        self.files = WatchedFiles("callers", {CALLERS: path}, self._load, observer)
        """The file, to be polled."""

    def by_token(self, token: str) -> Caller | None:
        """The caller with this token; None if there is none."""
        digest = hash_token(token)
        found = None
        for known, caller in self._by_hash.get(digest[:_BUCKET_BYTES], ()):
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def by_certificate(self, name: str) -> Caller | None:
        """The caller with a client certificate of this name; None if there is none."""
        return self._by_certificate.get(name)

    def _load(self, contents: Contents) -> None:
        by_hash: dict[bytes, tuple[tuple[bytes, Caller], ...]] = {}
        by_certificate: dict[str, Caller] = {}
        for caller, entry in parse_callers(contents[CALLERS], self._path):
            for text in entry.tokens:
                digest = bytes.fromhex(text.removeprefix(_HASH_PREFIX))
                same = by_hash.get(digest[:_BUCKET_BYTES], ())
                if any(known == digest for known, _ in same):
                    raise SettingError(f"{CALLERS}: {self._path}: a token of {caller.name} is there twice")
                by_hash[digest[:_BUCKET_BYTES]] = (*same, (digest, caller))
            for name in entry.certificates:
                if name in by_certificate:
                    raise SettingError(f"{CALLERS}: {self._path}: the certificate {shortened(name)} is there twice")
                by_certificate[name] = caller
        self._by_hash, self._by_certificate = by_hash, by_certificate


_Limit = Annotated[int, Field(ge=1, le=1 << 40)]


class Entry(BaseModel):
    """One caller as the file describes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tokens: list[Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]] = Field(default=[], max_length=16)
    certificates: list[Annotated[str, StringConstraints(min_length=1, max_length=255)]] = Field(
        default=[], max_length=256
    )
    allow: list[Service] = Field(default=list(_DEFAULT_SERVICES), min_length=1, max_length=4)
    calls_per_minute: _Limit | None = None
    tokens_per_minute: _Limit | None = None
    max_pieces: _Limit | None = None
    max_tokens: _Limit | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    callers: dict[str, Entry] = Field(min_length=1, max_length=_MAX_CALLERS)


def parse_callers(data: bytes, path: Path) -> list[tuple[Caller, Entry]]:
    """The callers of a file.

    Args:
        data: its bytes.
        path: its path, for errors.

    Raises:
        SettingError: the file is not TOML, or an entry is wrong. The message does not repeat values: one may be a
            token.
    """
    try:
        document = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise SettingError(f"{CALLERS}: {path} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at .*\)", str(error))  # the rest may repeat what is in the file
        raise SettingError(f"{CALLERS}: {path} is not TOML {place[0] if place else ''}".rstrip()) from None
    try:
        callers = _File.model_validate(document).callers
    except ValidationError as error:
        raise SettingError(f"{CALLERS}: {path}: {_problems(error)}") from None
    for name, entry in callers.items():
        try:
            parse_name(name)
        except SettingError as error:
            raise SettingError(f"{CALLERS}: {path}: {error}") from None
        if not entry.tokens and not entry.certificates:
            raise SettingError(f"{CALLERS}: {path}: {name} needs tokens or certificates")
    return [(_caller(name, entry), entry) for name, entry in callers.items()]


def parse_name(name: str) -> str:
    """A caller's name, if it is one.

    Raises:
        SettingError: it is none.
    """
    if not _NAME.fullmatch(name):
        text = "must be 1 to 64 letters, digits, `.`, `_` or `-`, and begin with a letter or digit"
        raise SettingError(f"the name {shortened(name)!r} {text}")
    return name


def hash_token(token: str) -> bytes:
    """The SHA-256 of a token, 32 bytes."""
    return hashlib.sha256(token.encode()).digest()


def token_entry(token: str) -> str:
    """A token's hash, as the file has it."""
    return _HASH_PREFIX + hash_token(token).hex()


def _caller(name: str, entry: Entry) -> Caller:
    return Caller(
        f"caller:{name}",
        frozenset(entry.allow),
        entry.calls_per_minute,
        entry.tokens_per_minute,
        entry.max_pieces,
        entry.max_tokens,
    )


def _problems(error: ValidationError) -> str:
    """The first problems of a file, without the values."""
    problems = []
    for each in error.errors(include_input=False, include_url=False)[:_NAMED_ERRORS]:
        place = ".".join(shortened(str(part)) for part in each["loc"])
        text = "must be sha256: and 64 hex digits" if each["type"] == "string_pattern_mismatch" else each["msg"]
        problems.append(f"{place}: {text[0].lower()}{text[1:]}")
    others = ["and others"] if error.error_count() > _NAMED_ERRORS else []
    return "; ".join([*problems, *others])
