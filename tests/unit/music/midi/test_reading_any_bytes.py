"""Any bytes give either a score with balanced counts or an error with a reason."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from music.errors import InvalidScoreError
from music.midi import read_midi, read_smf, write_midi
from music.midi.voices import PlayedNote, channel_voices
from music.note_counts import NoteCounts
from music.score import MAX_LENGTH_TICKS, Meter, Note, Score
from tests.unit.music.midi.smf_bytes import (
    control,
    meta,
    off,
    on,
    program,
    quantity,
    scale_of,
    smf,
    system_exclusive,
    track,
)  # fmt: skip
from tests.unit.music.strategies import any_scores

RICH = smf(
    track(meta(0, 0x03, b"Song"), meta(0, 0x51, b"\x07\xa1\x20"), meta(0, 0x58, b"\x03\x02\x18\x08")),
    track(program(0, 19), control(0, 64, 127), scale_of((60, 62, 64)), on(0, 60), control(480, 123)),
    track(on(0, 36, 80, 9), off(480, 36, 9), system_exclusive(0, b"\x7e\x7f\x09\x01\xf7"), on(0, 48, 80, 1)),
)
CONTAINER = b"RIFF\x00\x00\x00\x00RMIDdata" + len(RICH).to_bytes(4, "little") + RICH
FILES = (RICH, CONTAINER, write_midi(Score((Note(0, 480, 72), Note(0, 960, 48, 70, 1)), 1920, Meter(3, 4), 480)))


def read_or_refuse(data: bytes) -> None:
    counts = NoteCounts()
    score, refusal = None, ""
    try:
        score = read_midi(data, counts)
    except InvalidScoreError as error:
        refusal = str(error)
    if score is None:
        assert refusal
        assert "\n" not in refusal
        assert counts == NoteCounts(), "what is refused counts nothing"
        return
    assert counts.balanced
    assert counts.kept == len(score.notes)
    assert counts.repeated == 0
    strikes = sum(
        message.status & 0xF0 == 0x90 and message.data2 > 0
        for read in read_smf(data).tracks
        for message in read.messages
    )
    assert counts.written == strikes or read_smf(data).format == 2
    assert all(0 <= n.pitch <= 127 and 1 <= n.velocity <= 127 and n.duration >= 1 and n.onset >= 0 for n in score.notes)
    assert list(score.notes) == sorted(score.notes, key=lambda note: (note.onset, note.voice, note.pitch))
    assert max(note.end for note in score.notes) <= score.length_ticks <= MAX_LENGTH_TICKS
    assert {note.voice for note in score.notes} == set(range(score.voices))
    assert len(score.programs) in (0, score.voices)
    ticks = [0, *(change.tick for change in score.tempo_changes), score.length_ticks]
    assert ticks == sorted(set(ticks))
    write_midi(Score(score.notes, score.length_ticks))


@given(data=st.binary(max_size=300))
@example(data=b"MThd")
def test_any_bytes(data: bytes) -> None:
    read_or_refuse(data)
    read_or_refuse(smf(data))
    read_or_refuse(smf(track(data)))


@given(
    file=st.sampled_from(FILES),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 60),
    insertion=st.tuples(st.integers(0, 10_000), st.binary(max_size=5)),
)
def test_a_damaged_file(file: bytes, changes: list[tuple[int, int]], cut: int, insertion: tuple[int, bytes]) -> None:
    data = bytearray(file)
    for place, byte in changes:
        data[place % len(data)] = byte
    place, extra = insertion
    data[place % len(data) : place % len(data)] = extra
    read_or_refuse(bytes(data[: len(data) - cut]))


@pytest.mark.slow
def test_thousands_of_damaged_files() -> None:
    """Every single byte, and a few random bytes in each of some thousand files."""
    for place in range(len(RICH)):
        for byte in (0x00, 0x7F, 0x80, 0x90, 0xC8, 0xF0, 0xF7, 0xFF, RICH[place] ^ 1):
            read_or_refuse(RICH[:place] + bytes((byte,)) + RICH[place + 1 :])
    random = np.random.default_rng(0)
    for _ in range(2000):
        data = np.frombuffer(RICH, np.uint8).copy()
        places = random.integers(0, len(data), random.integers(1, 9))
        data[places] = random.integers(0, 256, len(places))
        read_or_refuse(data.tobytes())


_EVENTS = st.lists(
    st.one_of(
        st.builds(on, st.integers(0, 3), st.integers(60, 62), st.integers(0, 127), st.integers(0, 1)),
        st.builds(off, st.integers(0, 3), st.integers(60, 62), st.integers(0, 1)),
        st.builds(control, st.integers(0, 3), st.sampled_from((64, 120, 123)), st.sampled_from((0, 127))),
    ),
    max_size=60,
)


@pytest.mark.slow
@given(events=_EVENTS)
def test_every_note_on_is_a_note_that_ends_at_a_note_off_or_with_the_track(events: list[bytes]) -> None:
    (only,) = read_smf(smf(track(*events))).tracks
    for voice in channel_voices(only):
        strikes, ends = [], {only.end_tick}
        for tick, status, first, second in only.messages:
            if status & 0x0F == voice.channel:
                if status & 0xF0 == 0x90 and second:
                    strikes.append((tick, first, second))
                else:
                    ends.add(tick)
        voice.finish(only.end_tick)
        assert sorted((note.onset, note.pitch, note.velocity) for note in voice.notes) == sorted(strikes)
        assert all(note.onset <= note.end and note.end in ends for note in voice.notes)
        voice.finish(only.end_tick)
        assert len(voice.notes) == voice.note_ons == len(strikes)


@given(
    lengths=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 20), st.integers(60, 64)), min_size=1, max_size=30),
)
def test_notes_released_first_in_first_out_survive(lengths: list[tuple[int, int, int]]) -> None:
    onset, notes, last = 0, [], dict.fromkeys(range(128), 0)
    for wait, duration, key in lengths:
        onset += wait
        end = last[key] = max(onset + duration, last[key])
        notes.append(PlayedNote(onset, end, key, 80))
    events = [(note.onset, 1, note.pitch) for note in notes] + [(note.end, 0, note.pitch) for note in notes]
    data, tick = b"", 0
    for at, struck, key in sorted(events):
        data += quantity(at - tick) + bytes((0x90 if struck else 0x80, key, 80))
        tick = at
    (voice,) = channel_voices(read_smf(smf(track(data))).tracks[0])
    voice.finish(tick)
    assert voice.unreleased == 0
    assert sorted(voice.notes) == sorted(notes)


@given(score=any_scores())
def test_any_score_survives_the_file(score: Score) -> None:
    counts = NoteCounts()
    again = read_midi(write_midi(Score(score.notes, score.length_ticks)), counts)
    assert sorted(note[:4] for note in again.notes) == sorted(note[:4] for note in score.notes)
    assert again.length_ticks == score.length_ticks
    assert counts == NoteCounts(written=len(score.notes), kept=len(score.notes))


@pytest.mark.slow
def test_hundred_thousand_note_ons_of_one_key_take_linear_time() -> None:
    strikes = on(0, 60) + b"\x00\x3c\x50" * 100_000
    releases = off(0, 60) + b"\x00\x3c\x00" * 99_998
    counts = NoteCounts()
    read_midi(smf(track(strikes, releases)), counts)
    assert (counts.written, counts.changed) == (100_001, {"unreleased": 2})
