"""From three scores to MIDI bytes, through every command that a user needs."""

import io
import subprocess
import sys
from pathlib import Path

import mido
import pytest
from music21 import converter

from fantasia_client import Client
from music.midi import write_midi
from music.score import Meter, Note, Score
from tests.integration.serving import ENVIRONMENT, serving


def run(*arguments: str) -> str:
    ended = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, env=ENVIRONMENT)  # noqa: S603
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.timeout(240)
def test_three_scores_become_a_server_that_writes_music(tmp_path: Path) -> None:
    scores = tmp_path / "scores"
    scores.mkdir()
    for index in range(3):
        notes = [Note(step * 240, 240, 60 + (step * (index + 2)) % 12, 80, 0) for step in range(32)]
        notes += [Note(step * 960, 960, 43 + step % 5, 80, 1) for step in range(8)]
        (scores / f"{index}.mid").write_bytes(write_midi(Score(tuple(sorted(notes)), 7680, Meter(3, 4))))
    corpus, folder, models = tmp_path / "corpus.npz", tmp_path / "run", tmp_path / "models"

    prepared = run("training", "prepare", str(scores), "--out", str(corpus), "--quiet")
    assert "files: 3 read, 0 failed" in prepared
    assert "pieces: 1 train, 1 valid, 1 test" in prepared
    voices = ["--set", "tokenizer.parameters.voices=2"]
    trained = run("training", "train", "smoke", "--corpus", str(corpus), "--run", str(folder), "--quiet", *voices)
    assert "best epoch" in trained
    exported = run("training", "export", str(folder), "--out", str(models / "tiny"))
    assert "test_nats_per_note_step" in exported
    assert "nats per note-step" in run("training", "evaluate", str(models / "tiny"), "--midi", str(scores))

    with serving("--models", str(models)) as (address, _), Client(address) as client:
        piece = client.generate(bars=4, seed=11, meter="3/4", tempo_bpm=150, program=24)
        again = client.generate(bars=4, seed=11, meter="3/4", tempo_bpm=150, program=24)
        other = client.generate(bars=4, seed=12, meter="3/4", tempo_bpm=150, program=24)

    assert piece.midi == again.midi != other.midi
    file = mido.MidiFile(file=io.BytesIO(piece.midi))
    heard = sorted((m.note, m.velocity) for track in file.tracks for m in track if m.type == "note_on" and m.velocity)
    assert heard == sorted((note.pitch, note.velocity) for note in piece.notes)
    assert {m.program for t in file.tracks for m in t if m.type == "program_change"} == {24}
    assert file.length == pytest.approx(4 * 3 * 60 / 150, abs=0.01)
    parsed = converter.parseData(piece.midi, format="midi")
    assert len(parsed.flatten().notes) > 0
    assert sorted(p.midi for n in parsed.stripTies().flatten().notes for p in n.pitches) == sorted(
        note.pitch for note in piece.notes
    )
