"""Chunks, tracks and the errors of damaged files."""

import gzip
import io
import zipfile

import pytest

from music.errors import InvalidScoreError
from music.midi import MAX_FILE_BYTES, MidiLimits, read_midi, read_smf, write_midi
from music.note_counts import NoteCounts
from music.score import Note, Score
from tests.unit.music.midi.smf_bytes import END, chunk, meta, off, on, scale_of, smf, system_exclusive, track

KEYS = (60, 62, 64, 65, 67)
SCALE = scale_of(KEYS)
FILE = smf(track(SCALE))


def pitches(data: bytes) -> list[int]:
    return [note.pitch for note in read_midi(data).notes]


def anomalies(data: bytes) -> dict[str, int]:
    counts = NoteCounts()
    read_midi(data, counts)
    assert counts.balanced
    assert not counts.left_out
    return dict(counts.other)


@pytest.mark.parametrize("kind", [0, 1])
def test_a_valid_file_has_no_anomalies(kind: int) -> None:
    data = smf(track(SCALE), kind=kind)
    score = read_midi(data)
    assert [(n.onset, n.duration, n.pitch, n.velocity) for n in score.notes] == [
        (480 * index, 480, key, 80) for index, key in enumerate(KEYS)
    ]
    assert score.length_ticks == 2400
    assert anomalies(data) == {}


@pytest.mark.parametrize("announced", [0, 1, 3, 65535])
def test_every_track_is_read_whatever_the_header_announces(announced: int) -> None:
    data = smf(track(scale_of((72,))), track(scale_of((48,))), tracks=announced)
    assert pitches(data) == [72, 48]
    missing = max(announced - 2, 0)
    assert anomalies(data) == ({"missing_tracks": missing} if missing else {})


def test_running_status_continues_after_a_meta_event() -> None:
    running = on(0, 60) + b"\x83\x60\x3c\x00" + b"\x00\x3e\x50"  # 60 is released and 62 struck, without a status
    assert pitches(smf(track(running, off(480, 62)))) == [60, 62]
    assert anomalies(smf(track(running, off(480, 62)))) == {}
    interrupted = on(0, 60) + meta(0, 0x01, b"x") + b"\x83\x60\x3c\x00"
    assert anomalies(smf(track(interrupted))) == {"running_status": 1, "text": 1}
    assert [n.duration for n in read_midi(smf(track(interrupted))).notes] == [480]


def test_a_note_on_without_velocity_is_a_note_off() -> None:
    (note,) = read_midi(smf(track(on(0, 60), on(480, 60, 0)))).notes
    assert (note.onset, note.duration) == (0, 480)


def test_chunks_of_other_types_are_skipped_and_counted() -> None:
    data = smf(chunk(b"XFIH", b"MTrk is not here"), track(SCALE), chunk(b"abcd", b""), tracks=1)
    assert pitches(data) == list(KEYS)
    assert anomalies(data) == {"alien_chunks": 2}


def test_a_longer_header_is_skipped() -> None:
    header = chunk(b"MThd", FILE[8:14] + b"more")
    assert pitches(header + FILE[14:]) == list(KEYS)
    lying = FILE[:4] + (30).to_bytes(4, "big") + FILE[8:]  # its length leads into the track
    assert pitches(lying) == list(KEYS)


def test_bytes_between_chunks_are_skipped_and_counted() -> None:
    first, second = track(scale_of((72,))), track(scale_of((48,)))
    assert anomalies(smf(first, b"\x01\x02\x03", second, tracks=2)) == {"junk_bytes": 3}
    assert pitches(smf(first, b"\x01\x02\x03", second)) == [72, 48]
    assert anomalies(smf(first, b"end.", tracks=1)) == {"junk_bytes": 4}
    assert anomalies(smf(first, bytes(100), tracks=1)) == {}, "zeros fill up"


def test_a_second_file_after_the_first_is_counted() -> None:
    assert anomalies(FILE + FILE) == {"further_midi_files": 1}
    assert pitches(FILE + FILE) == list(KEYS)


@pytest.mark.parametrize("length", [0, 7, 10, 2**32 - 1])
def test_a_track_ends_at_its_end_event_at_any_chunk_length(length: int) -> None:
    data = smf(chunk(b"MTrk", SCALE + END, length), track(scale_of((48,))))
    assert pitches(data) == [60, 48, 62, 64, 65, 67]
    assert anomalies(data) == {"chunk_lengths": 1}


def test_a_track_without_an_end_event_is_read_and_counted() -> None:
    data = smf(track(SCALE, end=b""), track(scale_of((48,)), end=b""))
    assert pitches(data) == [60, 48, 62, 64, 65, 67]
    assert anomalies(data) == {"no_end_of_track": 2}


def test_events_after_the_end_of_a_track_are_ignored() -> None:
    data = smf(track(SCALE, END, scale_of((90,)), end=b""), track(scale_of((48,))))
    assert 90 not in pitches(data)
    assert anomalies(data) == {"after_end_of_track": 1}


def test_one_data_byte_above_127_is_accepted() -> None:
    data = smf(track(on(0, 60, 200), off(480, 60), SCALE))
    assert read_midi(data).notes[0].velocity == 127
    assert len(read_midi(data).notes) == 6
    assert anomalies(data) == {"bad_bytes": 1}


def test_a_key_above_127_is_left_out_and_counted() -> None:
    counts = NoteCounts()
    read_midi(smf(track(on(0, 188), off(480, 188), SCALE)), counts)
    assert (counts.written, counts.kept, counts.left_out) == (6, 5, {"bad_key": 1})
    assert counts.other == {"bad_bytes": 2}


def test_messages_of_a_live_stream_are_skipped() -> None:
    assert anomalies(smf(track(b"\x00\xf8", on(0, 60), b"\x10\xf2\x01\x02", off(480, 60)))) == {"bad_bytes": 2}
    assert [n.duration for n in read_midi(smf(track(on(0, 60), b"\x10\xf2\x01\x02", off(480, 60)))).notes] == [496]


def test_a_missing_byte_is_accepted() -> None:
    lost = smf(track(on(0, 60)[:-1], off(480, 60), SCALE))
    assert [note.pitch for note in read_midi(lost).notes] == [60, *KEYS]
    assert anomalies(lost) == {"bad_bytes": 1}


def test_a_bad_byte_in_an_invalid_track_is_named() -> None:
    with pytest.raises(InvalidScoreError) as refusal:
        read_midi(smf(track(on(0, 60, 200), off(480, 60), end=b"\x00\x90")))
    assert str(refusal.value) == (
        "bad byte 0xC8 at offset 25 in track 1, and later: truncated: the file breaks off at offset 33, in track 1"
    )
    moved = smf(chunk(b"MTrk", on(0, 60, 200) + off(480, 60) + SCALE + END, 50))
    with pytest.raises(InvalidScoreError, match="it ends at offset 80, where its chunk ends at 72"):
        read_midi(moved)
    read_midi(moved.replace(b"\xc8", b"\x64"))


FIRST, SECOND = track(scale_of((72,))), track(SCALE)
SECOND_BEGINS = 14 + len(FIRST)


@pytest.mark.parametrize("cut", [*range(22, SECOND_BEGINS), *range(SECOND_BEGINS + 8, SECOND_BEGINS + len(SECOND))])
def test_a_truncated_file_names_the_offset(cut: int) -> None:
    with pytest.raises(InvalidScoreError) as refusal:
        read_midi(smf(FIRST, SECOND)[:cut])
    number = 1 if cut < SECOND_BEGINS else 2
    assert str(refusal.value) == f"truncated: the file breaks off at offset {cut}, in track {number}"


@pytest.mark.parametrize("cut", range(SECOND_BEGINS, SECOND_BEGINS + 8))
def test_a_file_truncated_between_tracks_misses_one(cut: int) -> None:
    counts = NoteCounts()
    assert [note.pitch for note in read_midi(smf(FIRST, SECOND)[:cut], counts).notes] == [72]
    assert counts.other["missing_tracks"] == 1


def test_a_truncated_header_names_the_offset() -> None:
    with pytest.raises(InvalidScoreError, match="truncated: the MIDI header breaks off at offset 9"):
        read_midi(FILE[:9])
    with pytest.raises(InvalidScoreError, match="the MIDI file has no track"):
        read_midi(FILE[:14])


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (b"\x00\x3c\x50", "byte 0x3C at offset 23 in track 1 has no status byte"),
        (b"\x00\x90\x3c\x50\x81\x80\x80\x80\x00", "variable-length quantity at offset 26 in track 1 is longer than 4"),
        (meta(0, 0x01, b"")[:-1] + b"\x7f", "truncated: the file breaks off at offset 30, in track 1"),
    ],
)
def test_invalid_events_are_refused_with_their_offset(events: bytes, message: str) -> None:
    with pytest.raises(InvalidScoreError, match=message):
        read_midi(smf(track(events)))


def test_a_track_that_runs_into_the_next_is_refused() -> None:
    broken = chunk(b"MTrk", on(0, 60) + b"\x00\x90")
    with pytest.raises(InvalidScoreError, match="track 1 has no end before the next track"):
        read_midi(smf(broken, track(SCALE)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"garbage", "not a MIDI file: it looks like text"),
        (bytes(64), "it looks like zeros alone"),
        (b"\x01\x02\x03\x04", "it looks like data that begin with 01 02 03 04"),
        (b"<?xml version='1.0'?>\n<score-partwise version='4.0'>", "it looks like MusicXML"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><mei>", "it looks like MEI"),
        (b"<!DOCTYPE html><html>", "it looks like a web page"),
        (b"<svg>", "it looks like XML"),
        (b"X:1\nT:Tune\nK:C\nCDEF|", "it looks like ABC"),
        (b"**kern\t**kern\n", "it looks like Humdrum"),
        (gzip.compress(FILE, mtime=0), "it looks like a gzip archive"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "it looks like a RIFF container of the form WAVE"),
        (b"RIFF\x24\x00\x00\x00\n\x00\xffM", r"it looks like a RIFF container of the form \\n\\x00\\xffM"),
        (b"RIFF\x04\x00\x00\x00RMID", "the RMID container has no data chunk"),
        (b"RIFF\x10\x00\x00\x00RMIDdata\x04\x00\x00\x00none", "the data chunk at offset 12 .* holds no MIDI file"),
        (b"RIFF" + bytes(100), "it looks like a RIFF container"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"MThd", "truncated: the MIDI header breaks off at offset 4"),
        (b"MThd" + bytes(10), "has 0 ticks in a quarter note"),
        (smf(), "the MIDI file has no track"),
        (smf(track(SCALE), kind=7), "has format 7; allowed are 0, 1 and 2"),
        (smf(track(SCALE), division=0xE900), "has 23 frames in a second; allowed are 24, 25, 29 and 30"),
        (smf(track(SCALE), division=0xE800), "has 0 ticks in a frame"),
        (smf(track()), "no pitched note: it has no notes at all"),
        (smf(track(on(0, 35, 80, 9), off(9, 35, 9))), r"no pitched note: all its notes \(1\) are percussion"),
        (smf(track(on(0, 35, 80, 9), on(0, 200))), "of its notes, 1 are percussion and 1 have keys outside 0 to 127"),
        (smf(track(on(0, 60), off(2**27, 60))), "lasts 69,906 bars of 4/4, more than the maximum of 10,000"),
    ],
)
def test_each_error_has_its_message(data: bytes, message: str) -> None:
    with pytest.raises(InvalidScoreError, match=message):
        read_midi(data)


def test_a_zip_archive_is_named() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("score.xml", "<score-partwise/>")
    with pytest.raises(InvalidScoreError, match=r"a ZIP archive, as compressed MusicXML \(\.mxl\)"):
        read_midi(archive.getvalue())


def riff(form: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    body = form + b"".join(n + len(d).to_bytes(4, "little") + d + bytes(len(d) % 2) for n, d in chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def test_rmid_containers_and_macbinary_headers_are_read() -> None:
    assert pitches(riff(b"RMID", (b"LIST", b"INFOx"), (b"data", FILE), (b"DLS ", b"sounds"))) == list(KEYS)
    assert anomalies(riff(b"RMID", (b"data", FILE), (b"LIST", b"INFO"))) == {}
    assert pitches(bytes(128) + FILE) == list(KEYS)
    cut = riff(b"RMID", (b"data", FILE[:-6]), (b"LIST", b"INFO"))
    with pytest.raises(InvalidScoreError, match=f"truncated: the file breaks off at offset {20 + len(FILE) - 6}"):
        read_midi(cut)


def test_files_above_the_limits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidScoreError, match="the file is larger than the maximum of 16,777,216 bytes"):
        read_midi(FILE + bytes(MAX_FILE_BYTES))
    monkeypatch.setattr("music.midi.file.MAX_EVENTS", 11)
    assert len(read_smf(FILE).tracks) == 1  # ten events and the track's end
    with pytest.raises(InvalidScoreError, match="the MIDI file has more than 1,000,000 events"):
        read_smf(smf(track(scale_of((60,))), track(SCALE)))


@pytest.mark.parametrize(
    ("limit", "needed", "message"),
    [
        ("max_bytes", 92, "the file is larger than the maximum of 91 bytes"),
        ("max_tracks", 2, "the MIDI file has more than 1 tracks"),
        ("max_notes", 6, "the MIDI file holds 6 notes, more than the maximum of 5"),
        ("max_length_ticks", 2400, "lasts 2 bars of 4/4, more than the maximum of 1.249479167"),
    ],
)
def test_each_limit_of_a_caller_is_exact_and_named(limit: str, needed: int, message: str) -> None:
    data = smf(track(SCALE), track(scale_of((48,))))
    limits = {"max_bytes": 92, "max_tracks": 2, "max_notes": 6, "max_length_ticks": 2400}
    assert len(read_midi(data, limits=MidiLimits(**limits)).notes) == 6
    limits[limit] = needed - 1
    with pytest.raises(InvalidScoreError, match=message):
        read_midi(data, limits=MidiLimits(**limits))


def test_the_maximum_length_includes_the_rest_at_the_end() -> None:
    data = write_midi(Score((Note(0, 480, 60),), 4 * 1920))
    assert read_midi(data, limits=MidiLimits(max_length_ticks=4 * 1920)).length_ticks == 4 * 1920
    with pytest.raises(InvalidScoreError, match="lasts 4 bars of 4/4, more than the maximum of 3"):
        read_midi(data, limits=MidiLimits(max_length_ticks=3 * 1920))


def test_events_are_read_with_their_ticks() -> None:
    file = read_smf(smf(track(on(3, 60), meta(4, 0x51, b"\x07\xa1\x20"), system_exclusive(5, b"\x7e\xf7"), off(6, 60))))
    (only,) = file.tracks
    assert only.messages == [(3, 0x90, 60, 80), (18, 0x80, 60, 64)]
    assert only.meta_events == [(7, 0x51, b"\x07\xa1\x20")]
    assert only.system_exclusives == [(12, b"\x7e\xf7")]
    assert (only.number, only.end_tick) == (1, 18)
