from pathlib import Path

import pytest
from music21 import corpus as music21_corpus

from music.errors import InvalidScoreError
from music.score import Meter, Note, Score
from training.corpus.abc_tunes import Bar, Tone, join_bars, quantize, read_tunes, with_doubled_values

HEADER = "X:{number}\nT:A tune\nM:{meter}\nL:1/8\nK:{key}\n"


def tune(body: str, *, number: int = 1, meter: str = "6/8", key: str = "G") -> str:
    return HEADER.format(number=number, meter=meter, key=key) + body + "\n\n"


def read(tmp_path: Path, text: str) -> list[Score]:
    path = tmp_path / "tunes.abc"
    path.write_text(text)
    tunes = read_tunes(path, "tunes.abc")
    assert not tunes.skipped
    return [reading.score for reading in tunes.readings]


def skipped(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "tunes.abc"
    path.write_text(text)
    return read_tunes(path, "tunes.abc").skipped


def bar(ticks: int, pitch: int = 60, *, starts_part: bool = False, ends_part: bool = False) -> Bar:
    """A bar that one note fills."""
    return Bar(ticks, (Tone(0, ticks, pitch),), starts_part, ends_part)


def test_a_jig_has_its_meter_pickup_and_whole_bars(tmp_path: Path) -> None:
    (score,) = read(tmp_path, tune("D|GAB c2d|edc B2A|GAB c2d|edc B2:|d|efg a2g|fed c2B|cde f2e|dcB A2:|"))
    assert (score.meter, score.pickup_ticks, score.key_sharps) == (Meter(6, 8), 240, 1)
    assert score.length_ticks == 240 + 8 * 1440 - 240, "the last bar leaves room for the pickup"
    assert [note.pitch for note in score.notes[:4]] == [62, 67, 69, 71]
    starts = {note.onset for note in score.notes}
    assert all(240 + 1440 * index in starts for index in range(8)), "every whole bar begins on a bar line"


def test_every_tune_of_a_file_is_known_by_its_number(tmp_path: Path) -> None:
    body = "GAB c2d|edc B2A|GAB c2d|edc B3|"
    path = tmp_path / "book.abc"
    path.write_text(tune(body, number=12) + tune("G2|", number=13) + tune(body, number=7, key="D"))
    tunes = read_tunes(path, "book/book.abc")
    assert [reading.name for reading in tunes.readings] == ["book/book.abc#7", "book/book.abc#12"]
    assert tunes.skipped == {"book/book.abc#13": "fewer than 4 bars"}


def test_a_tune_that_music21_cannot_read_costs_itself_alone(tmp_path: Path) -> None:
    body = "GAB c2d|edc B2A|GAB c2d|edc B3|"
    path = tmp_path / "book.abc"
    path.write_text(tune(body, number=1) + tune(body + "[CEG", number=2) + tune(body, number=3, key="D"))
    found = read_tunes(path, "book.abc")
    assert [(reading.name, reading.score.key_sharps) for reading in found.readings] == [
        ("book.abc#1", 1),
        ("book.abc#3", 2),
    ]
    assert found.skipped == {"book.abc#2": "music21 cannot read it (ABCHandlerException)"}


def test_notes_are_struck_once_and_accounted_for(tmp_path: Path) -> None:
    path = tmp_path / "tunes.abc"
    path.write_text(tune('|:"G"GAB {ab}c3-|c3 [GB]AB|1 cde d3-:|2 G3- [G-B]G2|c3 [EG]3|]', meter="6/8", key="C"))
    (reading,) = read_tunes(path, "tunes.abc").readings
    assert reading.counts.balanced, reading.counts
    assert reading.counts.left_out == {"grace": 2, "chord": 3, "earlier_ending": 4}
    assert reading.counts.other == {"chord_symbols": 1}
    assert reading.counts.kept == len(reading.score.notes)


def test_a_part_stands_once_with_its_last_ending(tmp_path: Path) -> None:
    (score,) = read(tmp_path, tune("|:GABc|defg|1 a2 g2:|2 b4||c'4|", meter="2/4", key="C"))
    assert [note.pitch for note in score.notes] == [67, 69, 71, 72, 74, 76, 77, 79, 83, 84]


def test_ties_join_and_ornaments_and_second_notes_go(tmp_path: Path) -> None:
    path = tmp_path / "tunes.abc"
    path.write_text(tune("{a}GAB c3-|c3 [GB]AB|cde d3|G3 G3|"))
    (reading,) = read_tunes(path, "tunes.abc").readings
    tied = next(note for note in reading.score.notes if note.pitch == 72)
    assert (tied.onset, tied.duration) == (720, 1440)
    assert reading.counts.left_out == {"grace": 1, "chord": 1}
    assert 71 in [note.pitch for note in reading.score.notes], "the higher note of two stays"


def test_two_four_is_brought_to_two_two(tmp_path: Path) -> None:
    (score,) = read(tmp_path, tune("G/A/|B/c/d/e/ dB|c/B/A/G/ A2|BdcA|G3|", meter="2/4"))
    assert (score.meter, score.pickup_ticks) == (Meter(2, 2), 480)
    assert [note.duration for note in score.notes[:3]] == [240, 240, 240]
    once = Score((Note(0, 120, 60),), 480, Meter(2, 4), 120)
    assert with_doubled_values(once) == Score((Note(0, 240, 60),), 960, Meter(2, 2), 240)


@pytest.mark.parametrize(
    ("body", "meter", "reason"),
    [
        ("GABc|def|gfed|c4|", "2/4", "bars that do not add up"),
        ("GABc|defga|gfed|c4|", "2/4", "no meter, a meter that changes, or a bar that is too long"),
        ("GABc|defg|gfed|c4|", "none", "no meter, a meter that changes, or a bar that is too long"),
        ("G/4A/4B/4c/4 d2e|dcB A3|GAB c3|def g3|", "6/8", "notes shorter than a 16th"),
        ("(3GAB (3GAB|(3GAB (3GAB|(3GAB (3GAB|(3GAB (3GAB|", "2/4", "more than a quarter of the notes off the grid"),
        ("GAB|cde|fga|g3|", "3/8", "a rare meter"),
        ("z6|z6|z6|z6|", "6/8", "no pitched note in it"),
    ],
)
def test_what_does_not_fit_is_left_out_by_reason(tmp_path: Path, body: str, meter: str, reason: str) -> None:
    (given,) = skipped(tmp_path, tune(body, meter=meter)).values()
    assert given.startswith(reason)


@pytest.mark.parametrize("content", [b"", b"\x00\xff nothing"])
def test_a_file_that_is_no_abc_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.abc").write_bytes(content)
    with pytest.raises(InvalidScoreError, match="ABCHandlerException"):
        read_tunes(tmp_path / "x.abc", "x.abc")


def test_a_reel_in_sixteenths_is_read_as_one_in_eighths() -> None:
    path = Path(music21_corpus.__file__).parent / "ryansMammoth" / "AcaciaReel.abc"
    (reading,) = read_tunes(path, path.name).readings
    score = reading.score
    assert (score.meter, score.pickup_ticks, score.length_ticks) == (Meter(2, 2), 480, 16 * 1920)
    assert [(note.onset, note.duration, note.pitch) for note in score.notes[:4]] == [
        (0, 120, 62), (120, 120, 64), (240, 240, 66), (480, 480, 67),
    ]  # fmt: skip
    assert reading.counts.left_out == {"grace": 7}
    assert reading.counts.changed == {"off_grid": 9}


def test_a_pickup_without_room_takes_its_time_from_the_note_before() -> None:
    whole = 1920
    bars = [
        bar(240, 59),
        bar(whole),
        bar(whole, ends_part=True),
        bar(240, 61, starts_part=True),
        bar(whole),
        bar(whole),
    ]
    notes, length, pickup = join_bars(bars, Meter(4, 4))
    assert (length, pickup) == (240 + 4 * whole, 240)
    assert notes[2:4] == [Note(240 + whole, whole - 240, 60), Note(2 * whole, 240, 61)]
    assert notes[4].onset == 240 + 2 * whole


def test_halves_of_a_bar_join_and_a_short_close_is_filled_up() -> None:
    bars = [
        bar(1920),
        bar(1440, ends_part=True),
        bar(480, starts_part=True),
        bar(1440, ends_part=True),
        bar(1920, starts_part=True),
    ]
    notes, length, pickup = join_bars(bars, Meter(4, 4))
    assert [note.onset for note in notes] == [0, 1920, 3360, 3840, 5760]
    assert (length, pickup) == (7680, 0)


def test_quantizing_makes_two_sixteenths_and_an_eighth_of_a_triplet() -> None:
    triplet = [Note(480, 160, 60), Note(640, 160, 62), Note(800, 160, 64)]
    rest = [Note(960 + 240 * index, 240, 65) for index in range(9)]
    notes, moved = quantize([*triplet, *rest])
    assert [(note.onset, note.duration) for note in notes[:4]] == [(480, 120), (600, 120), (720, 240), (960, 240)]
    assert moved == 3
