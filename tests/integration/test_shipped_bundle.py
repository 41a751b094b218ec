"""The bundle that a fresh clone serves: its published metrics, and the same bytes at any load."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from music21 import corpus as music21_corpus

from fantasia_client import AsyncClient, Client, Piece
from fantasia_client.cli import main
from music.bundle import load_bundle
from music.midi import read_midi, write_midi
from tests.integration.serving import serving
from training.corpus.sources import chorale_sources
from training.evaluation.likelihood import MeterMode, evaluate_folder, evaluate_pieces
from training.readers import CHORALE_PARTS, ReadOptions, read_file

BUNDLE = Path("models/chorales")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """Address and process id of a server on the shipped models."""
    with serving("--provider", "cpu") as server:
        yield server


def test_its_size_and_its_metrics_are_as_published() -> None:
    bundle = load_bundle(BUNDLE)
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) <= 24e6
    assert bundle.metrics["valid_nats_per_note_step"] <= 0.50
    assert bundle.network.parameters <= 8_000_000
    assert bundle.manifest.provenance["corpus"]["pieces"] == {"train": 243, "valid": 75, "test": 77}


def test_its_metrics_are_reproduced_from_midi_files(tmp_path: Path) -> None:
    """Some validation chorales, read as MIDI files by the folder command, and directly from music21."""
    bundle = load_bundle(BUNDLE)
    root = Path(music21_corpus.__file__).parent / "bach"
    _, sides = chorale_sources()
    names = sorted(name for name, side in sides.items() if side.name == "VALID")[:6]
    scores = [read_file(root / name, name, ReadOptions(parts=CHORALE_PARTS)).readings[0].score for name in names]
    for name, score in zip(names, scores, strict=True):
        (tmp_path / f"{name}.mid").write_bytes(write_midi(score))
    direct = evaluate_pieces(bundle, scores, MeterMode.GIVEN)
    folder = evaluate_folder(bundle, tmp_path, MeterMode.GIVEN)
    assert folder.nats == pytest.approx(direct.nats, rel=1e-4)
    assert (folder.steps, folder.tokens, folder.dropped) == (direct.steps, direct.tokens, direct.dropped)
    assert 0.2 < folder.nats_per_note_step < 0.6
    hidden = evaluate_folder(bundle, tmp_path, MeterMode.UNKNOWN)
    assert hidden.nats_per_note_step == pytest.approx(folder.nats_per_note_step, abs=0.03)


def test_it_generates_four_voices_of_the_requested_length(server: tuple[str, int]) -> None:
    with Client(server[0]) as client:
        piece = client.generate(bars=16, seed=3)
    score = read_midi(piece.midi)
    assert score.length_ticks == 16 * 1920
    assert {note.voice for note in piece.notes} == {0, 1, 2, 3}
    assert len({note.pitch for note in piece.notes if note.voice == 0}) >= 5, "a melody, not one note for ever"


def test_the_melody_of_a_piece_with_four_voices_is_harmonized(server: tuple[str, int], tmp_path: Path) -> None:
    song, harmonized = BUNDLE / "samples" / "1.mid", tmp_path / "a.mid"
    options = ("--candidates", "4", "--seed", "9", "-o", str(harmonized))  # the sample has seed 1
    result = CliRunner().invoke(main, ["--server", server[0], "harmonize", str(song), *options])
    assert result.exit_code == 0, result.output
    assert "left out of the given piece: 3 voices" in result.output

    before, after = read_midi(song.read_bytes()), read_midi(harmonized.read_bytes())
    assert before.voices == after.voices == 4
    assert (after.key_sharps, after.length_ticks) == (before.key_sharps, before.length_ticks)
    of_song, of_answer = (
        [[note for note in score.notes if note.voice == voice] for voice in range(4)] for score in (before, after)
    )
    assert of_answer[0] == of_song[0]
    assert of_answer[1:] != of_song[1:]


def test_the_same_request_gives_the_same_bytes_alone_and_among_32_others(server: tuple[str, int]) -> None:
    async def under_load() -> list[Piece]:
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
    assert [piece.midi for piece in asyncio.run(under_load())] == [alone.midi] * 2


def test_without_a_length_the_piece_ends(server: tuple[str, int]) -> None:
    with Client(server[0], timeout_seconds=110) as client:
        piece = client.generate(seed=5)
    assert piece.finish_reason.name in ("END", "LENGTH")
    assert piece.token_count <= 4 * 4096 + 1


def test_it_needs_less_than_550_megabytes(server: tuple[str, int]) -> None:
    assert psutil.Process(server[1]).memory_info().rss < 550e6
