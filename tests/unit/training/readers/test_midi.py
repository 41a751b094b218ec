from pathlib import Path

import pytest

from music.errors import InvalidScoreError
from music.midi import MAX_FILE_BYTES
from tests.unit.music.midi.smf_bytes import meta, on, program, scale_of, smf, track
from training.readers import MIDI_SUFFIXES, SUFFIXES, ReadOptions, read_file

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
    assert [reading.counts.written for reading in file.readings] == [2, 1]
    assert [reading.counts.other["junk_bytes"] for reading in file.readings] == [4, 0]
    assert file.skipped == {
        "patterns.mid#2": "the MIDI file holds no pitched note: all its notes (1) are percussion",
    }
    path.write_bytes(smf(track(scale_of((60,))), kind=2))
    assert [reading.name for reading in read_file(path, "patterns.mid").readings] == ["patterns.mid"]


def test_a_file_of_sequences_without_pitches_says_so(tmp_path: Path) -> None:
    path = tmp_path / "drums.mid"
    path.write_bytes(smf(*[track(on(0, 36, 80, 9))] * 2, kind=2))
    with pytest.raises(InvalidScoreError, match=r"none of its 2 sequences can be read; the first: .* percussion"):
        read_file(path, "drums.mid")


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "huge.mid").open("wb") as file:
        file.truncate(64 * MAX_FILE_BYTES)  # a hole: it takes no room on disk
    with pytest.raises(InvalidScoreError, match="larger than the maximum of 16,777,216 bytes"):
        read_file(tmp_path / "huge.mid", "huge.mid")


def test_the_list_of_suffixes_has_them_all() -> None:
    assert {".mid", ".midi", ".smf", ".kar", ".rmi"} == MIDI_SUFFIXES
    assert MIDI_SUFFIXES < SUFFIXES


def test_a_corpus_has_no_meter_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "piece.mid"
    path.write_bytes(smf(track(meta(0, 0x58, b"\x03\x02"), meta(480, 0x58, b"\x02\x02"), scale_of((60, 62)))))
    (reading,) = read_file(path, "piece.mid").readings
    assert (reading.score.meter, reading.score.meter_changes) == (None, ())
    assert reading.counts.other == {"meter_changes": 1}


def test_a_corpus_has_one_tempo_and_one_program(tmp_path: Path) -> None:
    path = tmp_path / "piece.mid"
    tempos = meta(0, 0x51, b"\x09\x27\xc0") + meta(480, 0x51, b"\x07\xa1\x20")
    path.write_bytes(smf(track(tempos, program(0, 40), scale_of((72, 74, 76))), track(program(0, 7), scale_of((50,)))))
    (reading,) = read_file(path, "piece").readings
    assert (reading.score.tempo_bpm, reading.score.tempo_changes) == (100.0, ())
    assert (reading.score.program, reading.score.programs) == (40, ())
    assert reading.counts.other == {"tempo_changes": 1, "other_programs": 1}


def test_the_tracks_of_a_piano_piece_are_its_staves(tmp_path: Path) -> None:
    def voices(*tracks: bytes) -> dict[int, int]:
        path = tmp_path / "piano.mid"
        path.write_bytes(smf(*tracks))
        (reading,) = read_file(path, "piano", ReadOptions(by_staff=True)).readings
        assert reading.counts.balanced
        assert reading.counts.kept == len(reading.score.notes)
        return {note.pitch: note.voice for note in reading.score.notes}

    high, low = scale_of((60, 60)), scale_of((59,))
    named = [track(meta(0, 3, name), scale_of((key,))) for name, key in ((b"up:", 50), (b"Lower:", 70), (b"mid", 65))]
    assert voices(track(high), track(low)) == {60: 0, 59: 1}
    assert voices(track(scale_of((59,))), track(scale_of((61,)))) == {59: 0, 61: 1}  # the hands cross
    assert voices(track(scale_of((50,))), track(scale_of((60,)))) == {50: 1, 60: 0}  # the lower staff comes first
    assert voices(*named) == {50: 0, 70: 1, 65: 0}


def test_bars_begin_at_every_change_of_the_meter(tmp_path: Path) -> None:
    path = tmp_path / "piano.mid"
    signatures = (meta(0, 0x58, b"\x03\x02"), meta(0, 0x59, b"\xff\x00"), meta(1920, 0x58, b"\x02\x02"))
    path.write_bytes(smf(track(*signatures, meta(960, 0x51, b"\x07\xa1\x20")), track(scale_of((60,), 3840))))
    (reading,) = read_file(path, "piano", ReadOptions(by_staff=True)).readings
    assert [bar.tick for bar in reading.bars] == [0, 1440, 1920, 2880]
    assert [bar.meter for bar in reading.bars] == [(3, 4), (3, 4), (2, 4), (2, 4)]
    assert [bar.tempo_bpm for bar in reading.bars] == [None, None, None, 120.0]
    assert reading.bars[0].key_sharps == -1
