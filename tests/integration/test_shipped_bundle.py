"""The bundle that a fresh clone plays: what it claims, and that load never changes what it writes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from music21 import corpus as music21_corpus

from fantasia_client import AsyncClient, Client, Piece
from music.bundle import load_bundle
from music.midi import read_midi, write_midi
from tests.integration.serving import serving
from training.evaluation import ClockMode, evaluate, evaluate_folder
from training.readers import CHORALE_PARTS, ReadOptions, read_file
from training.sources import chorale_sources

BUNDLE = Path("models/chorales")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """Address and process id of a server on the shipped models."""
    with serving("--provider", "cpu") as server:
        yield server


def test_it_keeps_its_promises() -> None:
    bundle = load_bundle(BUNDLE)
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) <= 24e6
    assert bundle.metrics["valid_nats_per_note_step"] <= 0.50
    assert bundle.network.parameters <= 8_000_000
    assert bundle.manifest.provenance["corpus"]["pieces"] == {"train": 243, "valid": 75, "test": 77}


def test_its_numbers_can_be_had_again_from_midi_files(tmp_path: Path) -> None:
    """Some validation chorales, through MIDI bytes and the folder command's own path, and straight from music21."""
    bundle = load_bundle(BUNDLE)
    root = Path(music21_corpus.__file__).parent / "bach"
    _, sides = chorale_sources()
    names = sorted(name for name, side in sides.items() if side.name == "VALID")[:6]
    scores = [read_file(root / name, name, ReadOptions(parts=CHORALE_PARTS)).readings[0].score for name in names]
    for name, score in zip(names, scores, strict=True):
        (tmp_path / f"{name}.mid").write_bytes(write_midi(score))
    direct = evaluate(bundle, scores, ClockMode.STATED)
    folder = evaluate_folder(bundle, tmp_path, ClockMode.STATED)
    assert folder.nats == pytest.approx(direct.nats, rel=1e-4)
    assert (folder.steps, folder.tokens, folder.dropped) == (direct.steps, direct.tokens, direct.dropped)
    assert 0.2 < folder.nats_per_note_step < 0.6
    hidden = evaluate_folder(bundle, tmp_path, ClockMode.MIXTURE)
    assert hidden.nats_per_note_step == pytest.approx(folder.nats_per_note_step, abs=0.03)


def test_it_writes_four_voices_for_as_long_as_asked(server: tuple[str, int]) -> None:
    with Client(server[0]) as client:
        piece = client.generate(bars=16, seed=3)
    score = read_midi(piece.midi)
    assert score.length_ticks == 16 * 1920
    assert {note.voice for note in piece.notes} == {0, 1, 2, 3}
    assert len({note.pitch for note in piece.notes if note.voice == 0}) >= 5, "a melody, not one note for ever"


def test_the_same_request_gives_the_same_bytes_alone_and_among_32_others(server: tuple[str, int]) -> None:
    async def crowd() -> list[Piece]:
        async with AsyncClient(server[0], timeout_seconds=110) as client:
            others = [client.generate(bars=4 + index % 9, seed=1000 + index) for index in range(32)]
            *_, first, second = await asyncio.gather(
                *others, client.generate(bars=8, seed=7), client.generate(bars=8, seed=7)
            )
            return [first, second]

    with Client(server[0]) as client:
        alone = client.generate(bars=8, seed=7)
        assert client.generate(bars=8, seed=7).midi == alone.midi
        assert client.generate(bars=8, seed=8).midi != alone.midi
    assert [piece.midi for piece in asyncio.run(crowd())] == [alone.midi] * 2


def test_left_to_itself_it_finds_an_end(server: tuple[str, int]) -> None:
    with Client(server[0], timeout_seconds=110) as client:
        piece = client.generate(seed=5)
    assert piece.finish_reason.name in ("END", "LENGTH")
    assert piece.token_count <= 4 * 4096 + 1


def test_it_fits_into_400_megabytes(server: tuple[str, int]) -> None:
    assert psutil.Process(server[1]).memory_info().rss < 400e6
