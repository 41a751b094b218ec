"""Resume tokens come back as they were made, and nothing else is accepted."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fantasia.v1 import generation_pb2 as pb
from music.bundle import load_bundle
from music.graph_names import NOTE_PROFILE, NOTE_STATE
from music.remaining_length import UNKNOWN
from music.tokenizers import EventsTokenizer
from music.tokenizers.event_vocabulary import BAR
from runtime.state import initial_state
from server.engine.snapshot import Snapshot
from server.errors import ResumeTokenError, SettingError
from server.rpc.resume_token import (
    MAX_TOKEN_BYTES,
    ModelIdentity,
    ResumeTokens,
    can_resume,
    request_hash,
    state_bytes,
)
from tests.unit.music.tokenizers.test_note_tracker import random_piece

KEY = bytes(range(32))
TOKENS = ResumeTokens(KEY)
MODEL = ModelIdentity("quartet", "d" * 64, "int8")
REQUEST = pb.GenerateRequest(bars=8, tempo_bpm=90.0, seed=5)
HASH = request_hash(REQUEST)
EVENTS = EventsTokenizer(lowest_pitch=40, highest_pitch=80)


def snapshot(count: int = 20, **changes: object) -> Snapshot:
    rng = np.random.default_rng(count)
    state = {
        "h": rng.uniform(-1, 1, (2, 16)).astype(np.float32),
        "c": rng.normal(size=(2, 16)).astype(np.float32),
        "position": np.array(7, np.int64),
        "voices": rng.integers(0, 2, (5,)).astype(np.int8),
    }
    made = Snapshot(
        tokens=rng.integers(0, 300, count).astype(np.int32),
        state=state,
        state_tokens=count,
        nats=12.25,
        given_nats=0.1,
        started=True,
        seed=2**64 - 1,
        stream=3,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def sealed(made: Snapshot, primer_tokens: int = 0) -> bytes:
    return TOKENS.seal(made, MODEL, HASH, request_seed=5, primer_tokens=primer_tokens)


@pytest.mark.parametrize(("asked", "left"), [(UNKNOWN, UNKNOWN), (3, 1), (8, 6), (1, 0)])
def test_a_resumed_piece_gets_the_length_of_the_request_that_resumes_it(asked: int, left: int) -> None:
    made = snapshot(tokens=np.array([BAR, 9, BAR, BAR, 5], np.int32), state_tokens=3)
    made = replace(made, state={**made.state, "remaining": np.array(4)})
    point = TOKENS.open(sealed(made, 2), MODEL, HASH)
    assert point.state["remaining"] == 4
    assert point.snapshot((BAR, 9), asked, EVENTS).state["remaining"] == left


@pytest.mark.parametrize("primer_tokens", [0, 4, 20])
def test_a_snapshot_comes_back_bit_for_bit(primer_tokens: int) -> None:
    made = snapshot()
    point = TOKENS.open(sealed(made, primer_tokens), MODEL, HASH)
    found = point.snapshot(tuple(made.tokens[:primer_tokens].tolist()), UNKNOWN, EVENTS)

    assert found.tokens.tolist() == made.tokens.tolist()
    assert found.tokens.dtype == np.int32
    assert found.state.keys() == made.state.keys()
    for name, value in made.state.items():
        assert found.state[name].dtype == value.dtype
        assert found.state[name].shape == value.shape
        assert found.state[name].tobytes() == value.tobytes()
    numbers = ("state_tokens", "nats", "given_nats", "started", "seed", "stream")
    assert [getattr(found, name) for name in numbers] == [getattr(made, name) for name in numbers]
    assert point.request_seed == 5


def test_a_shipped_model_has_tokens_for_long_pieces() -> None:
    bundle = load_bundle(Path("models/chorales"))
    rng = np.random.default_rng(0)
    state = {name: np.array(value) for name, value in initial_state(bundle).items()}
    for name in ("h", "c"):
        state[name] = rng.uniform(-1, 1, state[name].shape).astype(np.float32)
    held = np.where(rng.random(4096) < 0.7, 3, rng.integers(4, 50, 4096)).astype(np.int32)

    token = sealed(replace(snapshot(), state=state, tokens=held, state_tokens=4096))
    assert can_resume(bundle)
    assert state_bytes(bundle) < len(token) <= MAX_TOKEN_BYTES
    assert TOKENS.open(token, MODEL, HASH).tokens.tolist() == held.tolist()


@pytest.mark.parametrize("seen", [0, 1, 700])
def test_the_state_of_the_notes_is_computed_again(seen: int) -> None:
    tracker = EVENTS.note_tracker
    assert tracker is not None
    tokens = random_piece(EVENTS, 2, 700)
    profile = np.linspace(0, 1, len(tracker.initial_profile), dtype=np.float32)
    state = {**snapshot().state, NOTE_STATE: tracker.row_after(tokens[:seen]), NOTE_PROFILE: profile}
    made = snapshot(tokens=tokens, state=state, state_tokens=seen)
    token = sealed(made, 4)
    found = TOKENS.open(token, MODEL, HASH).snapshot(tuple(tokens[:4].tolist()), UNKNOWN, EVENTS)

    assert len(token) < 4000
    assert found.state.keys() == state.keys()
    for name, value in state.items():
        assert found.state[name].dtype == value.dtype
        np.testing.assert_array_equal(found.state[name], value)


def test_a_piece_whose_token_would_be_too_large_has_none() -> None:
    assert sealed(snapshot(20_000)) == b""


def test_a_piece_without_its_whole_primer_has_none() -> None:
    assert sealed(snapshot(3), primer_tokens=4) == b""


def refusal(token: bytes, model: ModelIdentity = MODEL, hash_: bytes = HASH, tokens: ResumeTokens = TOKENS) -> str:
    with pytest.raises(ResumeTokenError) as caught:
        tokens.open(token, model, hash_)
    return str(caught.value)


def test_each_refusal_has_its_own_sentence() -> None:
    token = sealed(snapshot())
    other_version = token[:3] + b"\x01" + token[4:]
    refusals = [
        refusal(b"nonsense"),
        refusal(token[:20]),
        refusal(token[:-1]),
        refusal(other_version),
        refusal(token[:-1] + bytes([token[-1] ^ 1])),
        refusal(token, tokens=ResumeTokens.with_random_key()),
        refusal(token, replace(MODEL, name="duo")),
        refusal(token, replace(MODEL, digest="e" * 64)),
        refusal(token, replace(MODEL, precision="float32")),
        refusal(token, hash_=request_hash(pb.GenerateRequest(bars=8, tempo_bpm=91.0))),
    ]

    assert refusals == [
        "is not a resume token of this service",
        "is truncated",
        f"is truncated or extended: it has {len(token) - 1:,} bytes of {len(token):,}",
        "has version 1, which this server does not know; it knows 2",
        "was changed: its signature is not that of its content",
        "comes from a server with another key",
        "belongs to the model 'quartet', not to 'duo'",
        "belongs to another version of quartet: digest dddddddddddd, not eeeeeeeeeeee",
        "belongs to the precision int8; this server runs quartet in float32",
        "belongs to another request; only length, seed, candidates and the resume fields may differ",
    ]


def test_a_token_is_signed_with_the_id_of_its_key() -> None:
    """A changed id is that of another key; the id of this server on a token with another key does not help either."""
    token, other = sealed(snapshot()), ResumeTokens(KEY[::-1])
    foreign = other.seal(snapshot(), MODEL, HASH, request_seed=5, primer_tokens=0)
    assert token[8:12] != foreign[8:12]
    assert refusal(token[:8] + bytes([token[8] ^ 1]) + token[9:]) == "comes from a server with another key"
    assert refusal(foreign[:8] + token[8:12] + foreign[12:]).startswith("was changed")
    assert sealed(snapshot(21))[8:12] == token[8:12]
    assert KEY[:4] not in token


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(1, 255))
def test_changed_bytes_are_refused(noise: bytes, place: int, change: int) -> None:
    token = bytearray(sealed(snapshot()))
    token[place % len(token)] ^= change
    for broken in (bytes(token), noise, b"FRT\x02" + noise, bytes(token[: place % len(token)])):
        refusal(broken)


def test_a_token_cannot_unpack_to_much_memory() -> None:
    """Not even one that has the right key."""
    body = zlib.compress(bytes(10 << 20), 9)
    head = struct.pack(">3sBI", b"FRT", 2, 44 + len(body)) + sealed(snapshot())[8:12]
    token = head + TOKENS._mac(head, body) + body

    assert len(token) < MAX_TOKEN_BYTES
    assert refusal(token) == "has too much content"


def test_only_some_fields_may_differ() -> None:
    may_differ = [
        pb.GenerateRequest(steps=3, tempo_bpm=90.0),
        pb.GenerateRequest(open=pb.OpenLength(min_bars=2), tempo_bpm=90.0, model="quartet"),
        pb.GenerateRequest(tempo_bpm=90.0, candidates=1, pieces=1, candidate=0, return_resume_token=True),
        pb.GenerateRequest(tempo_bpm=90.0, resume_token=b"x", seed=6),
    ]
    must_not = [
        pb.GenerateRequest(),
        pb.GenerateRequest(tempo_bpm=90.0, program=1),
        pb.GenerateRequest(tempo_bpm=90.0, constraints=pb.Constraints(scale="A minor")),
        pb.GenerateRequest(tempo_bpm=90.0, rewrite=[pb.Region()]),
        pb.GenerateRequest(tempo_bpm=90.0, sampling=pb.Sampling(temperature=1.0)),
    ]

    assert {request_hash(request) for request in may_differ} == {HASH}
    assert not any(request_hash(request) == HASH for request in must_not)
    assert pb.GenerateRequest(bars=8, tempo_bpm=90.0, seed=5) == REQUEST, "it is not changed"


def test_the_key_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY)
    token = sealed(snapshot())

    assert ResumeTokens.with_key_file(file).open(token, MODEL, HASH).seed == 2**64 - 1
    for content, text in ((KEY[:31], "must have 32 to 4,096 bytes, not 31"), (bytes(4097), "not more than 4,096")):
        file.write_bytes(content)
        with pytest.raises(SettingError, match=text):
            ResumeTokens.with_key_file(file)
    with pytest.raises(SettingError, match="cannot be read: No such file or directory"):
        ResumeTokens.with_key_file(tmp_path / "none")
    with pytest.raises(SettingError, match="cannot be read: Is a directory"):
        ResumeTokens.with_key_file(tmp_path)
