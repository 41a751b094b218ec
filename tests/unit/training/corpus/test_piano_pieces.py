"""Hands, doubled keys, and the sections of piano pieces."""

from pathlib import Path

import pytest

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import DEFAULT_VELOCITY, NOTE_ORDER, Meter, Note, Score
from tests.unit.music.midi.smf_bytes import meta, off, on, program, smf, track
from training.corpus.piano_pieces import cut_at_changes, merge_keys, read_piano_file
from training.corpus.sources import Source
from training.readers import ReadOptions
from training.readers.reading import PlayedBar

QUARTER = 480


def read(tmp_path: Path, *lines: str) -> list[tuple[str, Score]]:
    """The sections of a piece of two spines, the left hand in the first. A line of one token is in both spines."""
    path = tmp_path / "a.krn"
    both = [line if " " in line else f"{line} {line}" for line in ("**kern", *lines, "*-")]
    path.write_text("\n".join(line.replace(" ", "\t") for line in both))
    file = read_piano_file(Source("a", path, ReadOptions(play_graces=True, by_staff=True)))
    for _, packed, counts in file.scores:
        assert counts.balanced
        assert counts.kept == len(packed.notes)
    return [(name, packed.score()) for name, packed, _ in file.scores]


def bars(meter: str, count: int) -> list[str]:
    return [f"*M{meter}", *["=", *["4C 4c"] * int(meter[0])] * count]


def lengths(*quarters: int, meter: tuple[int, int] = (3, 4)) -> tuple[list[PlayedBar], int]:
    starts = [sum(quarters[:index]) * QUARTER for index in range(len(quarters) + 1)]
    return [PlayedBar(start, meter, None, None) for start in starts[:-1]], starts[-1]


def test_the_hands_are_the_voices_whatever_they_play(tmp_path: Path) -> None:
    ((name, score),) = read(tmp_path, "*M4/4 *M4/4", *["=", "4cc 4c", "4cc 4c", "4cc 4c", "4cc 4c"] * 4)
    assert name == "a"
    assert {(note.voice, note.pitch) for note in score.notes} == {(1, 72), (0, 60)}
    assert (score.meter, score.pickup_ticks, score.length_ticks) == (Meter(4, 4), 0, 16 * QUARTER)


def test_a_piece_is_cut_where_its_meter_changes(tmp_path: Path) -> None:
    lines = ["*k[b-] *k[b-]", *bars("4/4", 5), "*k[f#] *k[f#]", "*MM90 *MM90", *bars("3/4", 4)]
    (first, one), (second, two) = read(tmp_path, *lines)
    assert (first, second) == ("a#1", "a#2")
    assert (one.meter, one.length_ticks, one.key_sharps) == (Meter(4, 4), 20 * QUARTER, -1)
    assert (two.meter, two.length_ticks, two.key_sharps) == (Meter(3, 4), 12 * QUARTER, 1)
    assert (one.tempo_bpm, two.tempo_bpm) == (90.0, 90.0)
    assert two.notes[0].onset == 0


def test_notes_end_with_their_section(tmp_path: Path) -> None:
    tied = ["=", "1C [1c", "*M3/4", "=", "2.C 2.c]"]
    (_, one), (_, two) = read(tmp_path, *bars("4/4", 4), *tied, *bars("3/4", 3))
    assert max(note.end for note in one.notes) == one.length_ticks == 20 * QUARTER
    assert [note.voice for note in two.notes if note.onset == 0] == [1]


def test_a_few_bars_of_another_meter_belong_to_the_section_before(tmp_path: Path) -> None:
    (_, one), (_, two) = read(tmp_path, *bars("4/4", 4), *bars("3/4", 2), *bars("4/4", 4))
    assert (one.length_ticks, two.length_ticks) == (22 * QUARTER, 16 * QUARTER)
    ((_, only),) = read(tmp_path, *bars("3/4", 3), *bars("4/4", 4))
    assert (only.meter, only.length_ticks, len(only.notes)) == (Meter(4, 4), 16 * QUARTER, 32)
    with pytest.raises(InvalidScoreError, match="no section of at least 4 bars"):
        read(tmp_path, *bars("4/4", 3))


def test_a_piece_without_a_meter_has_none(tmp_path: Path) -> None:
    ((_, score),) = read(tmp_path, *["=", "4C 4c", "4C 4c"] * 8)
    assert (score.meter, score.pickup_ticks) == (None, 0)


@pytest.mark.parametrize(
    ("quarters", "sections"),
    [
        ((1, 3, 3, 3), [(0, 1, 10)]),  # a pickup
        ((3, 3, 3, 2), [(0, 0, 11)]),  # an incomplete end
        ((3, 2, 1, 3), [(0, 0, 9)]),  # a repeat sign within a bar
        ((3, 3, 2, 3, 3), [(0, 0, 6), (6, 2, 14)]),  # a short bar
        ((3, 3, 5, 3, 3), [(0, 0, 11), (11, 0, 17)]),  # a long bar
        ((3, 3, 0, 3), [(0, 0, 9)]),
    ],
)
def test_sections_tell_where_bars_begin(quarters: tuple[int, ...], sections: list[tuple[int, int, int]]) -> None:
    found = cut_at_changes(*lengths(*quarters))
    assert [(s.begin // QUARTER, s.pickup_ticks // QUARTER, s.end // QUARTER) for s in found] == sections


def test_common_time_and_alla_breve_are_one_meter() -> None:
    played = [PlayedBar(4 * QUARTER * n, (4, 4) if n < 4 else (2, 2), None, None) for n in range(8)]
    (section,) = cut_at_changes(played, 32 * QUARTER)
    assert section.meter == Meter(4, 4)
    played = [PlayedBar(3 * QUARTER * n, (3, 4) if n < 4 else (6, 8), None, None) for n in range(8)]
    assert [section.meter for section in cut_at_changes(played, 24 * QUARTER)] == [Meter(3, 4), Meter(6, 8)]


def test_a_key_that_two_voices_of_a_hand_strike_sounds_once() -> None:
    counts = NoteCounts()
    notes = [Note(0, 480, 60, 70), Note(4, 960, 60, 90), Note(0, 480, 60, 50, 1), Note(480, 480, 60, 80)]
    merged = merge_keys(sorted(notes, key=NOTE_ORDER), counts)
    assert merged == [Note(0, 480, 60, 90), Note(0, 480, 60, 50, 1), Note(480, 480, 60, 80)]
    assert counts.left_out == {"doubled_key": 1}
    assert counts.changed == {"key_struck_again": 1}


def test_three_staves_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.krn"
    path.write_text("**kern\t**kern\t**kern\n4c\t4c\t4c\n*-\t*-\t*-\n")
    with pytest.raises(InvalidScoreError, match="has 3 staves with notes"):
        read_piano_file(Source("a", path, ReadOptions(by_staff=True)))


def test_a_midi_file_has_the_pickup_that_its_notes_tell_or_no_meter(tmp_path: Path) -> None:
    melody = on(0, 79) + off(480, 79) + b"".join(on(0, key) + off(720, key) for key in (76, 72) * 16)
    chord = on(0, 60) + on(0, 64) + off(480, 60) + off(0, 64)
    basses = on(480, 36) + b"".join(off(480, 36) + chord + chord + on(0, 36) for _ in range(15)) + off(480, 36)
    even = b"".join(on(0, 60) + off(240, 60) for _ in range(96))
    path = tmp_path / "a.mid"
    three, five = meta(0, 0x58, b"\x03\x02"), meta(0, 0x58, b"\x05\x02")

    def counts_and_score(*tracks: bytes) -> tuple[NoteCounts, Score]:
        path.write_bytes(smf(*tracks))
        ((_, packed, counts),) = read_piano_file(Source("a", path, ReadOptions(by_staff=True))).scores
        return counts, packed.score()

    counts, score = counts_and_score(track(three, melody), track(basses))
    assert (score.meter, score.pickup_ticks) == (Meter(3, 4), QUARTER)
    assert (counts.other["pickups_found"], counts.other["meters_unsure"]) == (1, 0)
    counts, score = counts_and_score(track(five, even))
    assert (score.meter, score.pickup_ticks) == (None, 0)
    assert (counts.other["pickups_found"], counts.other["meters_unsure"]) == (0, 1)


def test_dynamics_are_known_if_velocities_really_vary(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    for loud, known in ((1, False), (4, True)):
        soft = b"".join(on(0, 60, 50) + off(480, 60) for _ in range(40 - loud))
        events = b"".join(on(0, 60, 90) + off(480, 60) for _ in range(loud))
        path.write_bytes(smf(track(events, soft)))
        ((_, packed, _),) = read_piano_file(Source("a", path, ReadOptions(by_staff=True))).scores
        score = packed.score()
        assert (score.has_dynamics, score.meter) == (known, None)
        assert {note.velocity for note in score.notes} == ({50, 90} if known else {DEFAULT_VELOCITY})


def test_other_instruments_than_the_harpsichord_are_a_piano(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    for number, kept in ((6, 6), (40, 0), (1, 0)):
        path.write_bytes(smf(track(program(0, number), *[on(0, 60) + off(480, 60)] * 20)))
        ((_, packed, _),) = read_piano_file(Source("a", path, ReadOptions(by_staff=True))).scores
        assert packed.score().program == kept
