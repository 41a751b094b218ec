"""Resume tokens: the state of a piece, sealed, so that any replica with the same model and key continues it.

Layout, big-endian: magic `FRT`, a version byte, the length of the whole token (4 bytes), the id of the key (4 bytes),
HMAC-SHA256 of everything else (32 bytes), and a zlib stream. Uncompressed, the stream is:

- model: name (1 byte length, UTF-8), sha256 of its manifest, precision (1 byte length, ASCII)
- sha256 of the request's fields that may not change
- seed of the request, seed and number of the random stream (3 x 8 bytes)
- number of tokens that the state has seen (8 bytes), nats and given nats of these (2 x 8 bytes), whether one of them
  was sampled (1 byte)
- number of tokens after the primer (4 bytes), the tokens (2 bytes each)
- number of state arrays (1 byte), and for each: name, dtype (1 byte length each), number of dimensions (1 byte), sizes
  (4 bytes each), bytes (little-endian)

The tokens of the primer are not in the token: the request, which must be the same, has them. The state of the notes
(`music.tokenizers.note_tracker`) has 50 kB, and is computed again from the tokens.

The id of the key is the start of an HMAC with the key. It tells a token with another key from one that was changed. It
does not help to find the key: a guess can be checked with the HMAC of any token already.
"""

import hashlib
import hmac
import secrets
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from music.graph_names import NOTE_PROFILE, NOTE_STATE, REMAINING
from music.tokenizers import Tokenizer
from server.engine.snapshot import Snapshot
from server.errors import ResumeTokenError, SettingError

MAX_TOKEN_BYTES: Final = 16 << 10
"""Maximum size of a token."""
MIN_KEY_BYTES: Final = 32
MAX_KEY_BYTES: Final = 4096
_MAX_PAYLOAD_BYTES: Final = 1 << 20
"""Maximum size of the uncompressed content; more is not decompressed."""
_MAGIC: Final = b"FRT"
_VERSION: Final = 2
_HEAD: Final = struct.Struct(">3sBI4s")
_KEY_ID_BYTES: Final = 4
_KEY_ID_MESSAGE: Final = b"fantasia resume token key id"
_MAC_BYTES: Final = 32
_OVERHEAD: Final = _HEAD.size + _MAC_BYTES
_NUMBERS: Final = struct.Struct(">QQQQdd?")
_COUNT: Final = struct.Struct(">I")
_DTYPES: Final = {np.dtype(name).str: np.dtype(name) for name in ("<f4", "<i8", "<i4", "<u4", "|i1", "|u1", "|b1")}
_MAY_DIFFER: Final = (
    "model", "model_version", "bars", "steps", "seconds", "open", "seed", "candidates", "pieces", "candidate",
    "return_resume_token", "resume_token",
)  # fmt: skip
"""Fields of a request that may differ when its piece is continued."""
_STATE_BYTES_AT_MOST: Final = MAX_TOKEN_BYTES - 2048
"""Maximum size of a model's h and c for which resume tokens are offered. The rest is left for music."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What a token is tied to: the same arithmetic on the same weights."""

    name: str
    digest: str
    """sha256 of the manifest, in hex."""
    precision: str


@dataclass(frozen=True, slots=True, eq=False)
class ResumePoint:
    """The content of a token."""

    tokens: NDArray[np.int32]
    """(n,): the tokens after the primer."""
    state: Mapping[str, NDArray[Any]]
    state_tokens: int
    """Number of tokens, the primer's included, that the state has seen."""
    nats: float
    given_nats: float
    started: bool
    seed: int
    """Key of the random stream."""
    stream: int
    request_seed: int
    """Seed of the request that the piece comes from."""

    def snapshot(self, primer: tuple[int, ...], remaining: int, tokenizer: Tokenizer) -> Snapshot:
        """The point as the engine takes it, with the tokens of the request's primer before its own.

        A request may continue a piece to another length. The network gets that length from here on. If the network sees
        the notes so far, this takes about 0.5 ms a token.

        Args:
            primer: of the request that continues the piece.
            remaining: the remaining length before the primer, in that request.
            tokenizer: of the model.
        """
        tokens = np.concatenate([np.array(primer, np.int32), self.tokens])
        seen, state = tokens[: self.state_tokens], dict(self.state)
        if REMAINING in state:
            state[REMAINING] = np.array(tokenizer.remaining_length.before(remaining, seen)[-1], np.int64)
        if NOTE_PROFILE in state:
            assert tokenizer.note_tracker is not None
            state[NOTE_STATE] = tokenizer.note_tracker.row_after(seen)
        return Snapshot(
            tokens=tokens,
            state=state,
            state_tokens=self.state_tokens,
            nats=self.nats,
            given_nats=self.given_nats,
            started=self.started,
            seed=self.seed,
            stream=self.stream,
        )


class ResumeTokens:
    """Makes and opens tokens with one key.

    Args:
        key: at least `MIN_KEY_BYTES` bytes, the same on all replicas.
    """

    def __init__(self, key: bytes) -> None:
        assert len(key) >= MIN_KEY_BYTES
        self._key = key
        self._key_id = hmac.digest(key, _KEY_ID_MESSAGE, "sha256")[:_KEY_ID_BYTES]

    @classmethod
    def with_random_key(cls) -> Self:
        """Tokens that no other process opens."""
        return cls(secrets.token_bytes(MIN_KEY_BYTES))

    @classmethod
    def with_key_file(cls, path: Path) -> Self:
        """Tokens with the key that a file contains: all its bytes.

        Raises:
            SettingError: the file cannot be read, is too short or too long.
        """
        try:
            with path.open("rb") as file:
                key = file.read(MAX_KEY_BYTES + 1)
        except OSError as error:
            raise SettingError(f"--resume-key-file {path} cannot be read: {error.strerror or error}") from error
        if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
            size = f"more than {MAX_KEY_BYTES:,}" if len(key) > MAX_KEY_BYTES else str(len(key))
            raise SettingError(
                f"--resume-key-file {path} must have {MIN_KEY_BYTES} to {MAX_KEY_BYTES:,} bytes, not {size}"
            )
        return cls(key)

    def seal(
        self, snapshot: Snapshot, model: ModelIdentity, request_hash: bytes, *, request_seed: int, primer_tokens: int
    ) -> bytes:
        """The token of a point of a piece; empty if it would be larger than `MAX_TOKEN_BYTES`.

        Args:
            snapshot: the point.
            model: the model that wrote it.
            request_hash: sha256 of the fields of the request that may not change.
            request_seed: seed of the request.
            primer_tokens: number of tokens at the start that follow from the request.
        """
        if len(snapshot.tokens) < primer_tokens:
            return b""
        body = zlib.compress(_pack(snapshot, model, request_hash, request_seed, primer_tokens), 9)
        size = _OVERHEAD + len(body)
        if size > MAX_TOKEN_BYTES:
            return b""
        head = _HEAD.pack(_MAGIC, _VERSION, size, self._key_id)
        return head + self._mac(head, body) + body

    def open(self, token: bytes, model: ModelIdentity, request_hash: bytes) -> ResumePoint:
        """The content of a token, for a request to a model.

        Raises:
            ResumeTokenError: it cannot be used; the message says why.
        """
        reader = self._content(token)
        _check_model(reader, model)
        if not hmac.compare_digest(reader.take(32), request_hash):
            raise ResumeTokenError(
                "belongs to another request; only length, seed, candidates and the resume fields may differ"
            )
        return _unpack(reader)

    def digest_of(self, token: bytes, name: str) -> str | None:
        """Digest of the version that a token belongs to; None if it is no valid token of a model with this name."""
        try:
            reader = self._content(token)
        except ResumeTokenError:
            return None
        token_name, digest = reader.text(), reader.take(32).hex()
        return digest if token_name == name else None

    def _content(self, token: bytes) -> "_Reader":
        """The content of a token whose signature is right.

        Raises:
            ResumeTokenError: it is no token of this key.
        """
        if not token.startswith(_MAGIC) or len(token) > MAX_TOKEN_BYTES:
            raise ResumeTokenError("is not a resume token of this service")
        if len(token) < _OVERHEAD:
            raise ResumeTokenError("is truncated")
        _, version, size, key_id = _HEAD.unpack_from(token)
        if version != _VERSION:
            raise ResumeTokenError(f"has version {version}, which this server does not know; it knows {_VERSION}")
        if len(token) != size:
            raise ResumeTokenError(f"is truncated or extended: it has {len(token):,} bytes of {size:,}")
        if key_id != self._key_id:
            raise ResumeTokenError("comes from a server with another key")
        head, mac, body = token[: _HEAD.size], token[_HEAD.size : _OVERHEAD], token[_OVERHEAD:]
        if not hmac.compare_digest(mac, self._mac(head, body)):
            raise ResumeTokenError("was changed: its signature is not that of its content")
        return _Reader(_decompressed(body))

    def _mac(self, head: bytes, body: bytes) -> bytes:
        return hmac.digest(self._key, head + body, "sha256")


def can_resume(bundle: Bundle) -> bool:
    """Whether the state of the model fits into a token."""
    return state_bytes(bundle) <= _STATE_BYTES_AT_MOST


def state_bytes(bundle: Bundle) -> int:
    """Size of the model's h and c of one piece."""
    return 2 * bundle.network.layers * bundle.network.hidden * np.dtype(np.float32).itemsize


def _pack(
    snapshot: Snapshot, model: ModelIdentity, request_hash: bytes, request_seed: int, primer_tokens: int
) -> bytes:
    written = snapshot.tokens[primer_tokens:]
    state = {name: value for name, value in snapshot.state.items() if name != NOTE_STATE}
    parts = [
        _text(model.name),
        bytes.fromhex(model.digest),
        _text(model.precision),
        request_hash,
        _NUMBERS.pack(
            request_seed,
            snapshot.seed,
            snapshot.stream,
            snapshot.state_tokens,
            snapshot.nats,
            snapshot.given_nats,
            snapshot.started,
        ),
        _COUNT.pack(len(written)),
        written.astype("<u2").tobytes(),
        bytes([len(state)]),
    ]
    for name, value in sorted(state.items()):
        array = np.asarray(value)
        array = array.astype(array.dtype.newbyteorder("<"))
        assert array.dtype.str in _DTYPES, array.dtype
        parts += [_text(name), _text(array.dtype.str), bytes([array.ndim])]
        parts += [_COUNT.pack(size) for size in array.shape]
        parts.append(array.tobytes())
    return b"".join(parts)


def _unpack(reader: "_Reader") -> ResumePoint:
    request_seed, seed, stream, state_tokens, nats, given_nats, started = _NUMBERS.unpack(reader.take(_NUMBERS.size))
    count = reader.count()
    tokens = np.frombuffer(reader.take(2 * count), "<u2").astype(np.int32)
    state: dict[str, NDArray[Any]] = {}
    for _ in range(reader.take(1)[0]):
        name, dtype = reader.text(), _DTYPES[reader.text()]
        shape = tuple(reader.count() for _ in range(reader.take(1)[0]))
        values = np.frombuffer(reader.take(dtype.itemsize * int(np.prod(shape, dtype=np.int64))), dtype)
        state[name] = values.reshape(shape).astype(dtype.newbyteorder("="))
    return ResumePoint(tokens, state, state_tokens, nats, given_nats, started, seed, stream, request_seed)


def _check_model(reader: "_Reader", model: ModelIdentity) -> None:
    name, digest, precision = reader.text(), reader.take(32).hex(), reader.text()
    if name != model.name:
        raise ResumeTokenError(f"belongs to the model {name!r}, not to {model.name!r}")
    if digest != model.digest:
        raise ResumeTokenError(f"belongs to another version of {name}: digest {digest[:12]}, not {model.digest[:12]}")
    if precision != model.precision:
        raise ResumeTokenError(f"belongs to the precision {precision}; this server runs {name} in {model.precision}")


def _decompressed(body: bytes) -> bytes:
    stream = zlib.decompressobj()
    data = stream.decompress(body, _MAX_PAYLOAD_BYTES)
    if not stream.eof:
        raise ResumeTokenError("has too much content")
    return data


def _text(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


class _Reader:
    """Takes parts of the content from its start. The content is authenticated, so it is complete."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def take(self, size: int) -> bytes:
        part = self._data[self._place : self._place + size]
        self._place += size
        return part

    def text(self) -> str:
        return self.take(self.take(1)[0]).decode()

    def count(self) -> int:
        value: int = _COUNT.unpack(self.take(_COUNT.size))[0]
        return value


def request_hash(request: pb.GenerateRequest, seen_meter: str = "") -> bytes:
    """sha256 of what may not change of a request when its piece is continued.

    Args:
        request: its model is not part of the hash, because the token names its digest.
        seen_meter: the meter that the model sees, if that depends on the length of the piece.
    """
    fixed = pb.GenerateRequest()
    fixed.CopyFrom(request)
    fixed.DiscardUnknownFields()
    for field in _MAY_DIFFER:
        fixed.ClearField(field)
    return hashlib.sha256(fixed.SerializeToString(deterministic=True) + seen_meter.encode()).digest()
