"""Note-ons and note-offs, channels, programs, controllers."""

import pytest

from music.midi import read_midi
from music.note_counts import NoteCounts
from tests.unit.music.midi.smf_bytes import control, meta, off, on, program, scale_of, smf, system_exclusive, track

Sound = tuple[int, int, int]
"""Onset, duration and pitch."""


def heard(*events: bytes) -> tuple[list[Sound], NoteCounts]:
    counts = NoteCounts()
    score = read_midi(smf(track(*events)), counts)
    assert counts.balanced
    return [(note.onset, note.duration, note.pitch) for note in score.notes], counts


def test_notes_without_note_off_end_with_the_track() -> None:
    sounds, counts = heard(*(on(480 * bool(i), 60 + i % 8) for i in range(16)), meta(480, 0x01, b"x"))
    assert sounds == [(480 * i, 7680 - 480 * i, 60 + i % 8) for i in range(16)]
    assert (counts.written, counts.kept, counts.changed) == (16, 16, {"unreleased": 16})


def test_a_note_without_note_off_does_not_affect_others() -> None:
    sounds, counts = heard(on(0, 48), scale_of((60, 62, 60)))
    assert sounds == [(0, 1440, 48), (0, 480, 60), (480, 480, 62), (960, 480, 60)]
    assert counts.changed == {"unreleased": 1}


def test_a_missing_note_off_lengthens_one_note_only() -> None:
    sounds, counts = heard(on(0, 60), scale_of((60, 62, 60)), on(0, 60), off(240, 60))
    assert sounds == [(0, 480, 60), (0, 1680, 60), (480, 480, 62), (960, 480, 60), (1440, 240, 60)]
    assert counts.changed == {"unreleased": 1}


def test_a_note_off_at_the_tick_of_a_note_on_ends_the_note_before() -> None:
    repeated = on(0, 60) + on(480, 60) + off(0, 60) + on(480, 60) + off(0, 60)  # the last is never released
    sounds, counts = heard(repeated, meta(480, 0x01))
    assert sounds == [(0, 480, 60), (480, 480, 60), (960, 480, 60)]
    assert counts.changed == {"unreleased": 1}


@pytest.mark.parametrize("controller", [120, 123, 124, 125, 126, 127])
def test_all_notes_off_ends_the_notes_of_its_channel(controller: int) -> None:
    sounds, counts = heard(
        on(0, 60), on(0, 64), on(0, 48, 80, 1), control(480, controller), off(480, 48, 1), off(0, 60), meta(960, 0x01)
    )
    assert sounds == [(0, 480, 60), (0, 480, 64), (0, 960, 48)]
    assert counts.changed == {"unreleased": 2}


@pytest.mark.parametrize("controller", [1, 7, 10, 11, 119, 121, 122])
def test_no_other_controller_ends_a_note(controller: int) -> None:
    sounds, counts = heard(on(0, 60), control(480, controller), off(480, 60))
    assert sounds == [(0, 960, 60)]
    assert not counts.changed


def test_an_unreleased_note_ends_at_most_sixteen_bars_after_the_last_event() -> None:
    far = meta(9000 * 1920, 0x01)
    sounds, counts = heard(on(0, 60), scale_of((62, 64)), far)
    assert sounds == [(0, 960 + 16 * 1920, 60), (0, 480, 62), (480, 480, 64)]
    assert counts.changed == {"unreleased": 1}
    sounds, _ = heard(on(0, 60), meta(16 * 1920, 0x01))
    assert sounds == [(0, 16 * 1920, 60)]


def test_the_first_note_off_ends_the_first_note_on() -> None:
    sounds, counts = heard(on(0, 60), on(240, 60), off(240, 60), off(480, 60))
    assert sounds == [(0, 480, 60), (240, 720, 60)]
    assert not counts.changed


def test_a_note_off_without_a_note_is_ignored() -> None:
    sounds, counts = heard(off(0, 60), scale_of((60,)), off(0, 60), off(10, 72))
    assert sounds == [(0, 480, 60)]
    assert (counts.written, counts.changed, counts.other) == (1, {}, {})


def test_a_note_of_no_length_gets_one_tick() -> None:
    assert heard(on(0, 60), off(0, 60), scale_of((62,)))[0] == [(0, 1, 60), (0, 480, 62)]


def test_the_channels_of_one_track_are_voices() -> None:
    counts = NoteCounts()
    events = [on(0, key, 80, channel) for channel, key in ((3, 48), (0, 72), (9, 36), (5, 60))]
    events += [off(480 if channel == 3 else 0, key, channel) for channel, key in ((3, 48), (0, 72), (9, 36), (5, 60))]
    score = read_midi(smf(track(program(0, 32, 3), program(0, 73, 0), program(0, 41, 5), *events), kind=0), counts)
    assert [(note.voice, note.pitch) for note in score.notes] == [(0, 72), (1, 60), (2, 48)]
    assert (score.program, score.programs) == (73, (73, 41, 32))
    assert (counts.written, counts.kept, counts.left_out) == (4, 3, {"percussion": 1})
    assert not counts.other


def test_a_program_change_makes_no_new_voice() -> None:
    counts = NoteCounts()
    data = smf(track(program(0, 40), scale_of((60,)), program(0, 45), program(0, 45), scale_of((62, 64))))
    score = read_midi(data, counts)
    assert (score.voices, score.program) == (1, 40)
    assert counts.other == {"program_changes": 1}


@pytest.mark.parametrize("place", ["before", "at the first note", "in another track"])
def test_the_program_comes_from_all_tracks(place: str) -> None:
    change = program(0, 19)
    own = {"before": change + scale_of((60,)), "at the first note": on(0, 60) + change + off(480, 60)}
    counts = NoteCounts()
    data = smf(track(change if place not in own else b""), track(own.get(place, scale_of((60,)))))
    assert read_midi(data, counts).program == 19
    assert not counts.other


def test_pedals_bends_and_controllers_are_counted() -> None:
    down_and_up = control(0, 64, 127) + control(9, 64, 100) + control(9, 64, 0)
    bends = b"\x00\xe0\x00\x50\x01\xe0\x00\x60\x01\xe0\x00\x40\x01\xe0\x00\x30"
    pressure = b"\x00\xd0\x40\x00\xa0\x3c\x40"
    events = (down_and_up, down_and_up, control(0, 66, 64), control(0, 67, 64), control(0, 7, 100), bends, pressure)
    _, counts = heard(*events, system_exclusive(0, b"\x7e\x7f\x09\x01\xf7"), scale_of((60,)))
    assert counts.other == {
        "pedal": 2, "sostenuto": 1, "soft_pedal": 1, "controllers": 1, "pitch_bend": 2, "pressure": 2,
        "system_exclusive": 1,
    }  # fmt: skip
    _, counts = heard(control(0, 64, 127), control(0, 121), control(0, 64, 127), scale_of((60,)))
    assert counts.other == {"pedal": 2}, "resetting all controllers lifts the pedal"


def tuned(semitones: int, high: int = 0, low: int = 2) -> bytes:
    """Registered parameter 2, coarse tuning."""
    return control(0, 101, high) + control(0, 100, low) + control(0, 6, 64 + semitones)


def test_coarse_tuning_changes_pitches() -> None:
    assert heard(tuned(-12), scale_of((60, 62)))[0] == [(0, 480, 48), (480, 480, 50)]
    assert heard(on(0, 60), tuned(7), off(480, 60), scale_of((60,)))[0] == [(0, 480, 60), (480, 480, 67)]
    assert heard(tuned(5, low=0), scale_of((60,)))[0] == [(0, 480, 60)], "parameter 0 is the wheel's range"
    ended = control(0, 101, 127) + control(0, 100, 127) + control(0, 6, 90)
    assert heard(tuned(2), ended, scale_of((60,)))[0] == [(0, 480, 62)]
    unregistered = control(0, 99, 0) + control(0, 98, 2) + control(0, 6, 90)
    assert heard(unregistered, scale_of((60,)))[0] == [(0, 480, 60)]
    sounds, counts = heard(tuned(-3, low=1), scale_of((60,)), tuned(0, low=1))
    assert (sounds, counts.other) == ([(0, 480, 60)], {"fine_tuning": 1})
    sounds, counts = heard(tuned(24), scale_of((110, 60)))
    assert sounds == [(480, 480, 84)]
    assert (counts.written, counts.left_out) == (2, {"out_of_range": 1})


XG_ON = system_exclusive(0, b"\x43\x10\x4c\x00\x00\x7e\x00\xf7")
GM2_ON = system_exclusive(0, b"\x7e\x7f\x09\x03\xf7")


def gs_rhythm(part: int, on_: int) -> bytes:
    return system_exclusive(0, bytes((0x41, 0x10, 0x42, 0x12, 0x40, 0x10 | part, 0x15, on_, 0x00, 0xF7)))


@pytest.mark.parametrize(
    ("setting", "percussion"),
    [
        (b"", {9}),
        (control(0, 0, 127, 3), {9}),  # in GS this is a bank of melodic sounds
        (XG_ON + control(0, 0, 127, 3), {3, 9}),
        (XG_ON + control(0, 0, 126, 3), {3, 9}),
        (XG_ON + control(0, 0, 0, 9), set()),
        (GM2_ON + control(0, 0, 120, 3), {3, 9}),
        (GM2_ON + control(0, 0, 121, 9), set()),
        (gs_rhythm(4, 1), {3, 9}),
        (gs_rhythm(0, 0), set()),
        (gs_rhythm(0xB, 2), {9, 11}),
    ],
)
def test_percussion_channels_of_general_midi_gs_and_xg(setting: bytes, percussion: set[int]) -> None:
    counts = NoteCounts()
    strikes = [on(0, 40 + channel, 80, channel) for channel in range(16)]
    releases = [off(480 * (channel == 0), 40 + channel, channel) for channel in range(16)]
    score = read_midi(smf(track(setting, *strikes, *releases)), counts)
    assert {note.pitch - 40 for note in score.notes} == set(range(16)) - percussion
    assert counts.left_out["percussion"] == len(percussion)
    assert counts.balanced


def test_voices_are_ordered_by_mean_pitch_then_track() -> None:
    data = smf(*(track(scale_of(keys)) for keys in ((50,), (60, 62), (61,), (70,))))
    assert [(n.voice, n.pitch) for n in read_midi(data).notes if n.onset == 0] == [(0, 70), (1, 60), (2, 61), (3, 50)]
