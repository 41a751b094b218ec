"""A folder of small songs for the experiment: each runs up and down a scale over a sustained bass."""

from pathlib import Path

from music.midi import write_midi
from music.score import Meter, Note, Score

SCALE = (60, 62, 64, 65, 67, 69, 71, 72)


def song(index: int, notes: int = 30) -> Score:
    line = []
    for step in range(notes):
        pitch = SCALE[(step * (1 + index % 3) + index) % len(SCALE)]
        line.append(Note(step * 240, 240, pitch, 70 + step % 20, 0))
        if step % 5 == 0:
            line.append(Note(step * 240, 240, pitch + 4, 70, 0))
        if step % 8 == 0:
            line.append(Note(step * 240, 960, 36 + index, 60, 1))
    return Score(tuple(sorted(line)), notes * 240, Meter(4, 4))


def write_folder(path: Path, songs: int = 8) -> Path:
    path.mkdir()
    for index in range(songs):
        (path / f"song{index}.mid").write_bytes(write_midi(song(index)))
    return path
