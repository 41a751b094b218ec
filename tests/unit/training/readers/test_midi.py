from pathlib import Path

import pytest

from music.errors import InvalidScoreError
from music.midi import MAX_FILE_BYTES
from tests.unit.music.midi.smf_bytes import meta, on, scale_of, smf, track
from training.readers import MIDI_SUFFIXES, SUFFIXES, read_file

FILE = smf(track(scale_of((60, 62, 64))))


@pytest.mark.parametrize("name", ["a.mid", "a.midi", "a.smf", "a.kar", "a.rmi", "a.MID", "a.Kar"])
def test_midi_is_read_under_each_of_its_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILE)
    (reading,) = read_file(tmp_path / name, name).readings
    assert reading.name == name
    assert [note.pitch for note in reading.score.notes] == [60, 62, 64]
    assert reading.counts.balanced


def test_karaoke_and_containers_are_read_by_what_is_in_them(tmp_path: Path) -> None:
    words = track(meta(0, 0x01, b"@KMIDI KARAOKE FILE"), meta(0, 0x01, b"\\La"))
    (tmp_path / "song.kar").write_bytes(smf(words, track(scale_of((60,)))))
    (reading,) = read_file(tmp_path / "song.kar", "song.kar").readings
    assert reading.counts.other == {"text": 2}
    body = b"RMIDdata" + len(FILE).to_bytes(4, "little") + FILE
    (tmp_path / "song.rmi").write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    assert len(read_file(tmp_path / "song.rmi", "song.rmi").readings[0].score.notes) == 3


def test_the_sequences_of_format_2_are_pieces_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "patterns.mid"
    drums, tempo_alone = track(on(0, 36, 80, 9)), track(meta(0, 0x51, b"\x07\xa1\x20"))
    path.write_bytes(smf(tempo_alone, track(scale_of((60, 62))), drums, track(scale_of((72,))), b"junk", kind=2))
    file = read_file(path, "patterns.mid")
    assert [reading.name for reading in file.readings] == ["patterns.mid#1", "patterns.mid#3"]
    assert [[note.pitch for note in reading.score.notes] for reading in file.readings] == [[60, 62], [72]]
    assert all(note.onset in (0, 480) for reading in file.readings for note in reading.score.notes)
    assert [reading.counts.struck for reading in file.readings] == [2, 1]
    assert [reading.counts.other["junk_bytes"] for reading in file.readings] == [4, 0]
    assert file.skipped == {
        "patterns.mid#2": "the MIDI file holds no pitched note: all its notes (1) are percussion",
    }
    path.write_bytes(smf(track(scale_of((60,))), kind=2))
    assert [reading.name for reading in read_file(path, "patterns.mid").readings] == ["patterns.mid"]


def test_a_file_of_sequences_without_pitches_says_so(tmp_path: Path) -> None:
    path = tmp_path / "drums.mid"
    path.write_bytes(smf(*[track(on(0, 36, 80, 9))] * 2, kind=2))
    with pytest.raises(InvalidScoreError, match=r"none of its 2 sequences can be read, the first since .* percussion"):
        read_file(path, "drums.mid")


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "huge.mid").open("wb") as file:
        file.truncate(64 * MAX_FILE_BYTES)  # a hole: it takes no room on disk
    with pytest.raises(InvalidScoreError, match="larger than the 16,777,216 bytes"):
        read_file(tmp_path / "huge.mid", "huge.mid")


def test_the_list_of_suffixes_has_them_all() -> None:
    assert {".mid", ".midi", ".smf", ".kar", ".rmi"} == MIDI_SUFFIXES
    assert MIDI_SUFFIXES < SUFFIXES
