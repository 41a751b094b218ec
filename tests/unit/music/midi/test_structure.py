"""Meter, tempo, key and length from meta events."""

import pytest

from music.errors import InvalidScoreError
from music.midi import read_midi, write_midi
from music.note_counts import NoteCounts
from music.score import Meter, Note, Score
from tests.unit.music.midi.smf_bytes import meta, off, on, scale_of, smf, track

BAR = 1920
SCALE = scale_of((60, 62, 64, 65, 67, 65, 64, 62))


def tempo(delta: int, bpm: int) -> bytes:
    return meta(delta, 0x51, (60_000_000 // bpm).to_bytes(3, "big"))


def meter(delta: int, numerator: int, power: int) -> bytes:
    return meta(delta, 0x58, bytes((numerator, power, 24, 8)))


def key(delta: int, sharps: int, minor: int = 0) -> bytes:
    return meta(delta, 0x59, sharps.to_bytes(1, "big", signed=True) + bytes((minor,)))


def read(*tracks: bytes, division: int = 480) -> tuple[Score, dict[str, int]]:
    counts = NoteCounts()
    score = read_midi(smf(*tracks, division=division), counts)
    return score, dict(counts.other)


def test_meter_tempo_and_key_come_from_all_tracks() -> None:
    score, other = read(track(SCALE), track(meter(0, 3, 2), key(0, -3, 1)), track(tempo(0, 75)))
    assert (score.meter, score.tempo_bpm, score.key_sharps) == (Meter(3, 4), 75.0, -3)
    assert other == {}


def test_missing_attributes_are_unknown_except_the_tempo() -> None:
    score, _ = read(track(SCALE))
    assert (score.meter, score.tempo_bpm, score.key_sharps, score.program) == (None, 120.0, None, 0)


def test_the_first_event_in_time_counts_in_any_track_order() -> None:
    score, other = read(track(tempo(480, 60), key(480, 1), SCALE), track(tempo(0, 100), key(480, 4)))
    assert (score.tempo_bpm, score.tempo_changes, score.key_sharps) == (100.0, ((480, 60.0),), 4)
    assert other == {"key_changes": 1}


def test_the_last_of_several_at_one_tick_holds() -> None:
    doubled = tempo(0, 100) + tempo(0, 80) + key(0, 0) + key(0, 2) + meter(0, 4, 2) + meter(0, 6, 3)
    score, other = read(track(doubled, SCALE))
    assert (score.tempo_bpm, score.key_sharps, score.meter) == (80.0, 2, Meter(6, 8))
    assert other == {}


def test_tempo_changes_come_from_all_tracks_in_score_ticks() -> None:
    score, other = read(track(SCALE), track(tempo(96, 75), tempo(96, 50)), track(tempo(144, 60)), division=96)
    assert (score.tempo_bpm, score.tempo_changes) == (75.0, ((720, 60.0), (960, 50.0)))
    assert other == {}


def test_a_tempo_that_is_repeated_is_no_change() -> None:
    score, other = read(track(tempo(0, 100), tempo(480, 100), tempo(480, 60), tempo(480, 60), SCALE))
    assert (score.tempo_bpm, score.tempo_changes, other) == (100.0, ((960, 60.0),), {})


def test_tempo_changes_that_a_score_cannot_hold_are_counted() -> None:
    score, other = read(track(SCALE), track(tempo(0, 100), tempo(3839, 60), tempo(1, 75)))
    assert (score.length_ticks, score.tempo_changes, other) == (3840, ((3839, 60.0),), {"tempo_changes": 1})
    fine = [tempo(0, 100), tempo(1, 60), tempo(1, 75), tempo(1, 50), scale_of((60, 62), 4800)]
    score, other = read(track(*fine), division=4800)  # ticks 1, 2 and 3 are at tick 0.1, 0.2 and 0.3 of the score
    assert (score.tempo_bpm, score.tempo_changes, other) == (100.0, ((1, 50.0),), {"tempo_changes": 2})
    closer = meta(0, 0x51, (600_000).to_bytes(3, "big")) + meta(1, 0x51, (600_001).to_bytes(3, "big"))
    assert read(track(closer, SCALE))[0].tempo_changes == (), "both are 100.000 quarters a minute"


def test_the_first_thousand_tempo_changes_are_kept() -> None:
    changes = [tempo(1, 60 + index % 2) for index in range(1003)]
    score, other = read(track(*changes, SCALE))
    assert len(score.tempo_changes) == 1000
    assert score.tempo_changes[-1].tick == 1001
    assert other == {"tempo_changes": 2}


def test_in_smpte_time_tempo_changes_change_nothing() -> None:
    score, other = read(track(tempo(0, 90), tempo(100, 60), on(0, 60), off(1000, 60)), division=(256 - 25) << 8 | 40)
    assert (score.tempo_bpm, score.tempo_changes, other) == (90.0 + 0.0, (), {"tempo_changes": 1})
    assert score.duration_seconds == pytest.approx(1.1, abs=0.001)


def test_the_same_meter_in_every_track_is_one_meter() -> None:
    score, other = read(*(track(meter(0, 3, 2), meter(1440, 3, 2), SCALE) for _ in range(3)))
    assert (score.meter, other) == (Meter(3, 4), {})


def test_a_first_bar_with_its_own_meter_is_a_pickup() -> None:
    score, other = read(track(SCALE), track(meter(0, 1, 2), meter(480, 3, 2)))
    assert (score.meter, score.pickup_ticks, other) == (Meter(3, 4), 480, {})


def test_later_meters_are_kept_where_they_stand() -> None:
    # The second 3/4 is no change, and the meter of the last tick of 4/4 is not heard.
    score, other = read(track(SCALE), track(meter(0, 4, 2), meter(1920, 3, 2), meter(960, 3, 2), meter(480, 6, 3)))
    assert (score.meter, score.pickup_ticks) == (Meter(4, 4), 0)
    assert score.meter_changes == ((1920, Meter(3, 4)), (3360, Meter(6, 8)))
    assert (score.single_meter, other) == (None, {})
    assert read(track(meter(0, 3, 2), SCALE))[0].single_meter == Meter(3, 4)


def test_before_the_first_time_signature_the_meter_is_unknown() -> None:
    score, other = read(track(meter(480, 3, 2), SCALE))
    assert (score.meter, score.meter_changes, other) == (None, ((480, Meter(3, 4)),), {})


def test_a_pickup_may_come_before_meters_that_change() -> None:
    score, _ = read(track(SCALE), track(meter(0, 1, 2), meter(480, 4, 2), meter(1920, 3, 2)))
    assert (score.meter, score.pickup_ticks, score.meter_changes) == (Meter(4, 4), 480, ((2400, Meter(3, 4)),))
    # A meter that comes again is no pickup.
    score, _ = read(track(SCALE), track(meter(0, 2, 2), meter(960, 3, 2), meter(1440, 2, 2)))
    assert (score.meter, score.pickup_ticks) == (Meter(2, 4), 0)
    assert score.meter_changes == ((960, Meter(3, 4)), (2400, Meter(2, 4)))


def test_meters_that_a_score_cannot_hold_are_counted() -> None:
    score, other = read(track(meter(0, 4, 2), meter(1920, 3, 2), meter(1440, 4, 200), SCALE))
    assert (score.meter, score.meter_changes, other) == (None, (), {"meter_changes": 2}), "a note of 2 to the -200"
    assert read(track(meter(0, 4, 200), SCALE))[0].meter is None
    score, other = read(track(SCALE), track(meter(0, 4, 2), meter(3839, 3, 2), meter(1, 2, 2)))
    assert (score.length_ticks, score.meter_changes, other) == (3840, ((3839, Meter(3, 4)),), {"meter_changes": 1})


def test_the_first_thousand_meter_changes_are_kept() -> None:
    changes = [meter(1, 3 + index % 2, 2) for index in range(1003)]
    score, other = read(track(*changes, SCALE))
    assert (len(score.meter_changes), score.meter_changes[-1].tick, other) == (1000, 1000, {"meter_changes": 3})


def test_invalid_meta_events_are_counted() -> None:
    bad = meta(0, 0x51, b"\x00\x00\x00") + meta(0, 0x51, b"\x07") + meta(0, 0x58, b"\x04") + meta(0, 0x59, b"\x0c\x00")
    score, other = read(track(bad, tempo(0, 90), SCALE))
    assert (score.tempo_bpm, score.key_sharps, other) == (90.0 + 0.0, None, {"bad_meta": 4})


def test_text_events_are_counted_and_names_are_not() -> None:
    names = b"".join(meta(0, kind, b"name") for kind in (0x00, 0x02, 0x03, 0x04, 0x08, 0x09, 0x20, 0x21))
    words = b"".join(meta(0, kind, b"la") for kind in (0x01, 0x05, 0x05, 0x06, 0x07, 0x54, 0x7F))
    _, other = read(track(names, words, SCALE))
    assert other == {
        "text": 1, "lyrics": 2, "markers": 1, "cue_points": 1, "smpte_offset": 1, "sequencer_specific": 1,
    }  # fmt: skip


@pytest.mark.parametrize("text", [b"end", b"End", b"fantasia:end"])
def test_a_marker_of_another_program_does_not_lengthen_a_piece(text: bytes) -> None:
    score, other = read(track(meter(0, 4, 2), SCALE, meta(9000 * BAR, 0x06, text)))
    assert score.length_ticks == 2 * BAR
    assert other == {"markers": 1}


PIECE = Score((Note(0, 480, 72), Note(480, 480, 74)), length_ticks=4 * BAR)


def test_our_own_marker_keeps_the_rest_at_the_end() -> None:
    counts = NoteCounts()
    assert read_midi(write_midi(PIECE), counts).length_ticks == 4 * BAR
    assert not counts.other


@pytest.mark.parametrize(
    ("written", "altered"),
    [
        (b"Voice 1", b"Piano 1"),
        (b"Voice 1", b"Voice x"),
        (b"\x03end", b"\x03End"),
        (b"\x00\x01\x00\x01\x01\xe0", b"\x00\x00\x00\x01\x01\xe0"),
        (b"\x00\x01\x00\x01\x01\xe0", b"\x00\x01\x00\x01\x00\xf0"),
        (b"\x03end\x01\xff\x2f", b"\x03end\x09\xff\x2f"),
    ],
)
def test_an_altered_file_is_not_our_own(written: bytes, altered: bytes) -> None:
    data = write_midi(PIECE)
    assert data.count(written) == 1
    counts = NoteCounts()
    score = read_midi(data.replace(written, altered), counts)
    assert score.length_ticks == max(note.end for note in score.notes)
    assert counts.other == {"markers": 1}


def test_the_rest_at_the_end_has_a_maximum() -> None:
    longest = Score(PIECE.notes, 960 + 256 * BAR)
    assert read_midi(write_midi(longest)).length_ticks == longest.length_ticks
    assert read_midi(write_midi(Score(PIECE.notes, longest.length_ticks + 1))).length_ticks == 960


@pytest.mark.parametrize(
    ("frames", "ticks_per_second"), [(24, 24.0), (25, 25.0), (29, 30_000 / 1001), (30, 30.0)], ids=str
)
def test_in_smpte_time_the_tempo_gives_the_quarter(frames: int, ticks_per_second: float) -> None:
    division = (256 - frames) << 8 | 40
    for bpm, events in ((120.0, b""), (90.0, tempo(0, 90))):
        score, _ = read(track(events, on(0, 60), off(1000, 60)), division=division)
        quarters = 1000 / (ticks_per_second * 40) * bpm / 60
        assert score.notes[0].duration == round(480 * quarters)
        assert score.tempo_bpm == pytest.approx(bpm, abs=0.001)


def test_any_number_of_ticks_in_a_quarter_is_scaled() -> None:
    for ticks in (1, 24, 96, 384, 1024, 32767):
        score, _ = read(track(on(0, 60), off(ticks, 60), on(ticks // 2, 62), off(ticks, 62)), division=ticks)
        assert score.notes[0].duration == 480
        assert score.notes[1].onset == 480 + round(480 * (ticks // 2) / ticks)


def test_independent_sequences_are_not_one_piece() -> None:
    with pytest.raises(InvalidScoreError, match=r"holds 2 independent sequences \(format 2\), not one piece"):
        read_midi(smf(track(SCALE), track(tempo(0, 90)), track(SCALE), kind=2))
    alone = read_midi(smf(track(tempo(0, 90)), track(SCALE), kind=2))
    assert (len(alone.notes), alone.tempo_bpm) == (8, 120.0), "the tempo of another sequence is not its own"
