from pathlib import Path

import pytest

from bench import growth
from bench.cores import Cores
from bench.growth import measure_memory, measure_networks, measure_pieces, measure_slots
from bench.options import Options, parse_options
from bench.rows import Memory
from bench.server import running_server
from bench.service import client_process
from music.bundle import Bundle, load_bundle


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture
def options() -> Options:
    return parse_options(["--provider", "cpu", "--steps", "4"])


def test_slots_and_pieces_and_networks_grow(
    small: Bundle, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "SLOTS", (8, 10))
    monkeypatch.setattr(growth, "PIECE_STEPS", (4, 8, 10**9))
    monkeypatch.setattr(growth, "NETWORKS", ((1, 16), (2, 32)))
    (slots,) = measure_slots(small, options, "float32", seconds=0.01)
    (pieces,) = measure_pieces(small, options, "float32", seconds=0.01)
    (networks,) = measure_networks(small, options, "int8", tmp_path, seconds=0.01)

    assert (slots.what, slots.base, slots.size) == ("slots", 8, 10)
    assert (pieces.what, pieces.base, pieces.size) == ("piece", 8, 16)
    assert networks.what == "bundle"
    assert networks.size > networks.base
    assert all(row.microseconds > 0.0 for row in (slots, pieces, networks))


def test_memory_is_watched_until_so_many_tokens_are_written(small_bundle: Path) -> None:
    with (
        running_server(small_bundle, provider="cpu", threads=1, precision="float32") as server,
        client_process(Cores(1).clients) as callers,
    ):
        memory = measure_memory(callers, server, clients=2, steps=8, tokens=200)

    assert memory.tokens[0] == 0
    assert memory.tokens[-2] < 200 <= memory.tokens[-1]
    assert len(memory.tokens) == len(memory.resident_bytes)
    assert min(memory.resident_bytes) > 1 << 20


def test_memory_that_settles_has_not_grown() -> None:
    settled = Memory(tokens=(0, 1, 2, 3), resident_bytes=(10, 100, 100, 100))
    leaking = Memory(tokens=(0, 1, 2, 3), resident_bytes=(10, 100, 200, 300))

    assert settled.growth == 0.0
    assert leaking.growth == pytest.approx(0.5)
