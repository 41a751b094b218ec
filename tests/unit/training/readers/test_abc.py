"""What ABC means: each row is a feature of the ABC 2.1 standard, with the notes that a player would play."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from music.errors import InvalidScoreError
from music.score import Meter, Score
from training.readers import FileReadings, Reading, ReadOptions
from training.readers.abc import read_abc_file

TUNE = "X:{number}\nT:Tune\nM:4/4\nL:1/4\nK:C\nCDEF|GABc|\n\n"
OCTAVE = [60, 62, 64, 65, 67, 69, 71, 72]


def read_all(folder: Path, text: str | bytes, **options: object) -> FileReadings:
    path = folder / "book.abc"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_abc_file(path, "book.abc", ReadOptions(**options))  # type: ignore[arg-type]


def read(folder: Path, text: str, **options: object) -> Reading:
    """The only tune of a text; its counts add up."""
    (reading,) = read_all(folder, text, **options).readings
    assert reading.counts.balanced, reading.counts
    assert reading.counts.kept == len(reading.score.notes)
    return reading


def tune(body: str, header: str = "M:4/4\nL:1/4\n", key: str = "C") -> str:
    return f"X:1\nT:Tune\n{header}K:{key}\n{body}\n"


def pitches(score: Score) -> list[int]:
    return [note.pitch for note in score.notes]


def sounding(score: Score) -> list[tuple[float, float, int]]:
    """Onset and duration in quarters, and pitch."""
    return [(note.onset / 480, note.duration / 480, note.pitch) for note in score.notes]


# --- Books ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("M:4/4\nL:1/4\nK:C\n[CEG", "a chord without an end"),
        ("M:4/4\nL:1/4\nK:C\n" + "[CEG\n" * 9999, "a chord without an end; it begins in line 76"),
        (f"m:n={'n' * 9000}\nK:C\n{'CDEF|' * 3000}", "macros make a line too long"),
        ("M:\nL:1/8\nK:C\nCDEFG|", "M: is not a valid meter; free time is M:none"),
        ("M:4/4\nL:1/4\nK:C\nL:1/0\nCDEF|", "L:1/0 is not a valid unit note length, such as 1/8"),
        ("M:4/4\nL:1/4\nK:C\nQ:1/4=abc\nCDEF|", "Q:1/4=abc is not a valid tempo, such as 1/4=120"),
        ("K:H\nCDEF|", "K:H is not a valid key"),
        ("K:C\nCD{EF|", "grace notes without an end"),
        ('K:C\nCD"EF|', "a text without an end"),
        ("K:C\n[CEx#]|", "[CEx#] is not a valid chord"),
        ("K:C\nC/0|", "/0 is not a valid length"),
        ("K:C\n(1C|", "a tuplet of 1 notes in the time of None"),
        ("K:C\n>C|", "a broken rhythm without a note before it"),
        ("K:C\nCD(&EF|GA&)B|", "an overlay over several bars"),
        ("K:C\nC|[0 D|", "[0 is not a valid ending; the maximum is 32"),
        ("K:C\nZ99999|C|", "a rest of 99999 bars"),
        ("P:A(B\nK:C\nC|", "P:A(B leaves a bracket open"),
        ("P:(A999)999\nK:C\nC|", "P:(A999)999 names more than 1000 parts"),
        ("m:nothing\nK:C\nC|", "m:nothing is not a valid macro"),
        ("K:C transpose=many\nC|", "transpose=many is not a number of semitones"),
        ("K:C\nz4|z4|", "no pitched note in it"),
        ("K:C", "no pitched note in it"),
    ],
)
def test_a_bad_tune_costs_itself_alone_and_is_named(tmp_path: Path, bad: str, reason: str) -> None:
    text = "".join(TUNE.format(number=number) for number in range(1, 11)) + f"X:11\nT:Bad\n{bad}\n\n"
    found = read_all(tmp_path, text + TUNE.format(number=12))
    assert [reading.name for reading in found.readings] == [f"book.abc#{number}" for number in (*range(1, 11), 12)]
    assert all(pitches(reading.score) == OCTAVE for reading in found.readings)
    assert list(found.skipped) == ["book.abc#11"]
    assert found.skipped["book.abc#11"].endswith(reason)
    assert found.skipped["book.abc#11"].startswith("line ") or reason == "no pitched note in it"


def test_a_reason_tells_the_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidScoreError, match="line 6: L:1/0 is not a valid unit note length"):
        read_all(tmp_path, tune("L:1/0\nCDEF|"))
    with pytest.raises(InvalidScoreError, match="none of 2 tunes: line 3: M:x is not a valid meter"):
        read_all(tmp_path, "X:1\nT:One\nM:x\nK:C\nC|\n\nX:2\nM:y\nK:C\nC|\n")


def test_free_text_and_directives_between_tunes_are_no_music(tmp_path: Path) -> None:
    text = (
        "This is my tune book, typed in 1998.\n\n%%pagewidth 21cm\n\n" + TUNE.format(number=1)
        + "Some words: about the next tune.\n\n%%begintext\nX:99\nABC\n%%endtext\n\n" + TUNE.format(number=2)
    )  # fmt: skip
    found = read_all(tmp_path, text)
    assert [reading.name for reading in found.readings] == ["book.abc#1", "book.abc#2"]
    assert all(pitches(reading.score) == OCTAVE for reading in found.readings)
    assert not found.skipped


def test_the_file_header_holds_for_every_tune(tmp_path: Path) -> None:
    header = "%abc-2.1\nM:3/4\nL:1/16\nB:A book\nM: as in music\n\n"
    first, second = read_all(tmp_path, header + "X:1\nK:C\nC4|\n\nX:2\nL:1/2\nK:C\nC|\n").readings
    assert (first.score.meter, first.score.notes[0].duration) == (Meter(3, 4), 480)
    assert (second.score.meter, second.score.notes[0].duration) == (Meter(3, 4), 960)


def test_numbers_that_are_there_twice_give_way_to_places(tmp_path: Path) -> None:
    text = TUNE.format(number=7) + TUNE.format(number=7) + TUNE.format(number="")
    assert [reading.name for reading in read_all(tmp_path, text).readings] == [f"book.abc#{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "data",
    [
        "X:1\nT:Bourr\u00e9e\nK:C\nCDEF|GABc|\n".encode("latin-1"),
        "X:1\nT:Bourr\u00e9e \u201cA\u201d\nK:C\nCDEF|GABc|\n".encode("cp1252"),
        "%%abc-charset iso-8859-2\nX:1\nT:\u0158\u00ed\u010dka\nK:C\nCDEF|GABc|\n".encode("iso-8859-2"),
        "I:abc-charset no-such-thing\nX:1\nT:\u0158\nK:C\nCDEF|GABc|\n".encode("iso-8859-2"),
        "\ufeffX:1\nT:Bourr\u00e9e\nK:C\nCDEF|GABc|\n".encode(),
        "X:1\nT:Bourr\u00e9e\nK:C\nCDEF|GABc|\n".encode("utf-16"),
        b"X:1\r\nT:Windows\r\nK:C\r\nCDEF|\r\nGABc|\r\n",
        b"X:1\rT:Macintosh\rK:C\rCDEF|\rGABc|\r",
        b"X:1\nT:odd \x81\x8d\nK:C\nCDEF|GABc|",
        b"T:a fragment\nK:C\nCDEF|GABc|",
        b"X:1\n\nT:an empty line in the header\nK:C\nCDEF|GABc|",
    ],
)
def test_any_character_set_and_line_end_is_read(tmp_path: Path, data: bytes) -> None:
    (reading,) = read_all(tmp_path, data).readings
    assert (reading.name, pitches(reading.score)) == ("book.abc", OCTAVE)


@pytest.mark.parametrize("data", [b"\n", b"\x00\xff nothing", b"CDEF|GABc|"])
def test_a_file_that_is_no_abc_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidScoreError, match="no line begins with X:"):
        read_all(tmp_path, data)


@pytest.mark.parametrize(
    "text",
    [
        "X:1\nH:It was heard\nABC at a fair\nL:1/4\nK:C\nCDEF|GABc|",  # words that go on in the next line
        "X:1\nL:1/4\nK:C\nC: Trad.\nB:A book\nCDEF|GABc|",  # header fields in the body
        "X:1\nK:C\nL:1/4\nV:1\nCDEF|GABc|",
        "X:1\nL:1/4\nV:1\tclef=bass\nK:C\n[V:1\tname=x]CDEF|GABc|",
    ],
)
def test_fields_out_of_place_are_no_music(tmp_path: Path, text: str) -> None:
    reading = read(tmp_path, text)
    assert (pitches(reading.score), reading.score.notes[0].duration) == (OCTAVE, 480)
    assert +reading.counts.other == {}


def test_fields_before_any_voice_hold_for_all(tmp_path: Path) -> None:
    text = "X:1\nK:C\nM:3/4\nL:1/4\nK:G\nV:1\nF3|\nV:2\nF,3|"
    score = read(tmp_path, text).score
    assert (score.meter, score.key_sharps, sounding(score)) == (Meter(3, 4), 1, [(0, 3, 66), (0, 3, 54)])


# --- Fields --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ("M:4/4\n", 240), ("M:3/4\n", 240), ("M:2/4\n", 120), ("M:5/8\n", 120), ("M:6/8\n", 240), ("M:none\n", 240),
        ("", 240), ("M:C|\n", 240), ("M:2/4\nL:1/4\n", 480), ("L:1\n", 1920), ("L: 1/64\n", 30),
    ],
)  # fmt: skip
def test_the_unit_note_length_follows_the_meter(tmp_path: Path, header: str, length: int) -> None:
    assert read(tmp_path, tune("C|D|", header)).score.notes[0].duration == length


@pytest.mark.parametrize(
    ("field", "meter"),
    [
        ("C", Meter(4, 4)), ("C|", Meter(2, 2)), ("6/8", Meter(6, 8)), ("2+2+3/8", Meter(7, 8)),
        (" 3 / 4", Meter(3, 4)),
        ("(2+3)/8", Meter(5, 8)), ("none", None), ("4/3", None),
    ],
)  # fmt: skip
def test_meters(tmp_path: Path, field: str, meter: Meter | None) -> None:
    assert read(tmp_path, tune("C8|D8|", f"M:{field}\nL:1/8\n")).score.meter == meter


def test_a_meter_that_changes_is_none_and_counted(tmp_path: Path) -> None:
    for change in ("\nM:3/4\n", "[M:3/4]"):
        reading = read(tmp_path, tune(f"CDEF|{change}CDE|FGA|"))
        assert reading.score.meter is None
        assert +reading.counts.other == {"meter_changes": 1}
        assert reading.score.length_ticks == 10 * 480


def test_a_short_first_bar_is_a_pickup(tmp_path: Path) -> None:
    assert read(tmp_path, tune("G|CDEF|GAB|")).score.pickup_ticks == 480
    assert read(tmp_path, tune("CDEF|GAB|")).score.pickup_ticks == 0
    two = tune("V:1\nz|CDEF|\nV:2\nGABc|C4|")
    assert read(tmp_path, two).score.pickup_ticks == 0, "all voices are looked at"


@pytest.mark.parametrize(
    ("field", "bpm"),
    [
        ("1/4=120", 120), ("3/8=50", 75), ('"Allegro" 1/4=90', 90), ('1/2=60 "slow"', 120), ("1/4 3/8 1/4 3/8=40", 200),
        ("60", 30), ("C=100", 50), ("C3=40", 60), ("1/4 = 66.5", 66.5), ('"Andante"', 100), ("Lively", 100),
        ("1/4=1", 100),
    ],
)  # fmt: skip
def test_tempo_fields_of_all_ages(tmp_path: Path, field: str, bpm: float) -> None:
    assert read(tmp_path, tune("C|D|", f"M:4/4\nL:1/8\nQ:{field}\n")).score.tempo_bpm == pytest.approx(bpm)


def test_a_tempo_that_changes_is_counted(tmp_path: Path) -> None:
    reading = read(tmp_path, tune("CDEF|[Q:1/4=80]GABc|", "M:4/4\nL:1/4\nQ:1/4=120\n"))
    assert (reading.score.tempo_bpm, +reading.counts.other) == (120, {"tempo_changes": 1})


def test_the_first_tempo_that_can_be_played_sounds(tmp_path: Path) -> None:
    assert read(tmp_path, tune("CDEF|[Q:1/4=80]GABc|", "M:4/4\nL:1/4\nQ:1/4=1\n")).score.tempo_bpm == 80


@pytest.mark.parametrize(
    ("music", "changes"),
    [("CDEF|[K:G]CDEF|K:G\nCDEF|", 1), ("CDEF|\nK:D\nCDEF|\nK:C\nCDEF|", 2), ("[K:G]CDEF|GABc|", 0)],
)
def test_keys_that_change_are_counted(tmp_path: Path, music: str, changes: int) -> None:
    assert read(tmp_path, tune(music.replace("|K:", "|\nK:"))).counts.other["key_changes"] == changes


def test_a_key_that_changes_in_two_voices_is_counted_once(tmp_path: Path) -> None:
    music = "[V:1]CDEF|[K:G]CDEF|\n[V:2]CDEF|[K:G]CDEF|"
    assert read(tmp_path, tune(music)).counts.other["key_changes"] == 1


@pytest.mark.parametrize(
    ("key", "sharps", "expected"),
    [
        ("C", 0, [65, 71]), ("G", 1, [66, 71]), ("F", -1, [65, 70]), ("Bb", -2, [65, 70]), ("F#", 6, [66, 71]),
        ("Am", 0, [65, 71]), ("A minor", 0, [65, 71]), ("Amin", 0, [65, 71]), ("F#m", 3, [66, 71]), ("EM", 4, [66, 71]),
        ("D Mix", 1, [66, 71]), ("ADorian", 1, [66, 71]), ("E phr", 0, [65, 71]), ("Flyd", 0, [65, 71]),
        ("B Loc", 0, [65, 71]), ("G ionian", 1, [66, 71]), ("E aeo", 1, [66, 71]), ("Cb", -7, [64, 70]),
        ("none", 0, [65, 71]), ("", None, [65, 71]), ("HP", 2, [66, 71]), ("Hp", 2, [66, 71]),
        ("D =f", None, [65, 71]), ("D exp _b ^f", None, [66, 70]), ("C exp ^f", 1, [66, 71]), ("^f", 1, [66, 71]),
        ("G clef=bass", 1, [66, 71]), ("G bass", 1, [66, 71]), ("G#", None, [67, 72]), ("D Phr ^f", None, [66, 70]),
    ],
)  # fmt: skip
def test_keys_modes_and_explicit_accidentals(tmp_path: Path, key: str, sharps: int | None, expected: list[int]) -> None:
    score = read(tmp_path, tune("FB|", key=key)).score
    assert (score.key_sharps, pitches(score)) == (sharps, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (tune("CE|", key="C transpose=-2"), [58, 62]),
        (tune("CE|", key="C octave=-1"), [48, 52]),
        (tune("CE|", key="C treble-8"), [48, 52]),
        (tune("CE|", key="C clef=treble+8"), [72, 76]),
        (tune("CE|", key="C clef=bass"), [60, 64]),
        (tune("CE|", key="C treble-15 transpose=1"), [37, 41]),
        (tune("V:1 transpose=3\nCE|"), [63, 67]),
        (tune("C[K:clef=treble-8]E|"), [60, 52]),
        (tune("%%MIDI transpose -12\nCE|"), [48, 52]),
        (tune("CE|", "I:MIDI transpose 5\nL:1/4\n"), [65, 69]),
        (tune("C\n%%MIDI rtranspose 2\nE|"), [60, 66]),
    ],
)
def test_transposition_is_what_sounds(tmp_path: Path, text: str, expected: list[int]) -> None:
    assert pitches(read(tmp_path, text).score) == expected


def test_the_key_is_the_one_that_sounds(tmp_path: Path) -> None:
    assert read(tmp_path, tune("DF|", key="D transpose=-2")).score.key_sharps == 0
    assert read(tmp_path, tune("[K:D]DF|", key="C")).score.key_sharps == 2
    assert read(tmp_path, tune("CE|[K:D]DF|", key="C")).score.key_sharps == 0


# --- Music code ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # pitch and length
        ("C,C c c'|", [(0, 1, 48), (1, 1, 60), (2, 1, 72), (3, 1, 84)]),
        ("C2 C/ C/2 C3/2|", [(0, 2, 60), (2, 0.5, 60), (2.5, 0.5, 60), (3, 1.5, 60)]),
        ("C//C/4 z C|", [(0, 0.25, 60), (0.25, 0.25, 60), (1.5, 1, 60)]),
        ("C z2 x C|", [(0, 1, 60), (4, 1, 60)]),
        ("C y D y3 E|", [(0, 1, 60), (1, 1, 62), (2, 1, 64)]),
        ("C|Z2|D4|X|E|", [(0, 1, 60), (9, 4, 62), (17, 1, 64)]),
        # accidentals hold in their bar, in every octave
        ("^C C|C =C|", [(0, 1, 61), (1, 1, 61), (2, 1, 60), (3, 1, 60)]),
        ("^C c|__D D|", [(0, 1, 61), (1, 1, 73), (2, 1, 60), (3, 1, 60)]),
        ("^^C _C =C C|", [(0, 1, 62), (1, 1, 59), (2, 1, 60), (3, 1, 60)]),
        ("[K:G]F =F F|F|", [(0, 1, 66), (1, 1, 65), (2, 1, 65), (3, 1, 66)]),
        ("^/C _3/2D|", [(0, 1, 60), (1, 1, 61)]),
        # ties, also over bars, with their accidental
        ("C-C2 D|", [(0, 3, 60), (3, 1, 62)]),
        ("C -C|", [(0, 2, 60)]),
        ("^C-|C C|", [(0, 2, 61), (2, 1, 60)]),
        ("[CE]-[CG]|", [(0, 2, 60), (0, 1, 64), (1, 1, 67)]),
        ("[C-E]C|", [(0, 2, 60), (0, 1, 64)]),
        ("C-D C|", [(0, 1, 60), (1, 1, 62), (2, 1, 60)]),
        # chords
        ("[CEG]2 [C2E2]/|", [(0, 2, 60), (0, 2, 64), (0, 2, 67), (2, 1, 60), (2, 1, 64)]),
        ('[C4E2]G|["Am"CE]|', [(0, 4, 60), (0, 2, 64), (4, 1, 67), (5, 1, 60), (5, 1, 64)]),
        ("+CEG+ D|", [(0, 1, 60), (0, 1, 64), (0, 1, 67), (1, 1, 62)]),
        ("[CE\nG] D|", [(0, 1, 60), (0, 1, 64), (0, 1, 67), (1, 1, 62)]),
        # broken rhythm
        ("C>D E<F|", [(0, 1.5, 60), (1.5, 0.5, 62), (2, 0.5, 64), (2.5, 1.5, 65)]),
        ("C>>D E > F|", [(0, 1.75, 60), (1.75, 0.25, 62), (2, 1.5, 64), (3.5, 0.5, 65)]),
        ("(C>.D) C2>D2|", [(0, 1.5, 60), (1.5, 0.5, 62), (2, 3, 60), (5, 1, 62)]),
        ("C>{E}D [CE]>z C|", [(0, 1.5, 60), (1.5, 0.5, 62), (2, 1.5, 60), (2, 1.5, 64), (4, 1, 60)]),
        ("C->C|", [(0, 2, 60)]),
        # tuplets
        ("(3CDE F|", [(0, 2 / 3, 60), (2 / 3, 2 / 3, 62), (4 / 3, 2 / 3, 64), (2, 1, 65)]),
        ("((3CDE) F|", [(0, 2 / 3, 60), (2 / 3, 2 / 3, 62), (4 / 3, 2 / 3, 64), (2, 1, 65)]),
        ("(2CD E|", [(0, 1.5, 60), (1.5, 1.5, 62), (3, 1, 64)]),
        ("(4CDEF G|", [(0, 0.75, 60), (0.75, 0.75, 62), (1.5, 0.75, 64), (2.25, 0.75, 65), (3, 1, 67)]),
        ("(3:2:2C2D E|", [(0, 4 / 3, 60), (4 / 3, 2 / 3, 62), (2, 1, 64)]),
        ("(3::2C2D E|", [(0, 4 / 3, 60), (4 / 3, 2 / 3, 62), (2, 1, 64)]),
        ("(3z{C}D[EG] F|", [(2 / 3, 2 / 3, 62), (4 / 3, 2 / 3, 64), (4 / 3, 2 / 3, 67), (2, 1, 65)]),
        ("(5CDCDC z3|", [(0.4 * place, 0.4, 60 + place % 2 * 2) for place in range(5)]),
        ("[M:6/8](5CDCDC z3|", [(0.6 * place, 0.6, 60 + place % 2 * 2) for place in range(5)]),
        # what is no note
        ("!trill!C +fermata+D ~E .F|", [(0, 1, 60), (1, 1, 62), (2, 1, 64), (3, 1, 65)]),
        ("uCvD TEHF|", [(0, 1, 60), (1, 1, 62), (2, 1, 64), (3, 1, 65)]),
        ("(CD) .(EF)|", [(0, 1, 60), (1, 1, 62), (2, 1, 64), (3, 1, 65)]),
        ("C `D` \\\nE % D E F\nF|", [(0, 1, 60), (1, 1, 62), (2, 1, 64), (3, 1, 65)]),
        ("CD|\nw:la la\n+:la\nW:more\ns:!p! *\nr:remark\nN:note\n% a comment\nEF|", [
            (0, 1, 60), (1, 1, 62), (2, 1, 64), (3, 1, 65),
        ]),
        ("C|\\\nD|!E!F|", [(0, 1, 60), (1, 1, 62), (2, 1, 65)]),
        # fields inside
        ("C[L:1/8]C[L:1/4]C|", [(0, 1, 60), (1, 0.5, 60), (1.5, 1, 60)]),
        ("C\nL:1/8\nC|", [(0, 1, 60), (1, 0.5, 60)]),
        ("F[K:G]F|[K:C]F|", [(0, 1, 65), (1, 1, 66), (2, 1, 65)]),
        ("F\nK:G\nF|", [(0, 1, 65), (1, 1, 66)]),
        ("A:|\nB|", [(0, 1, 69), (1, 1, 69), (2, 1, 71)]),
        # overlays
        ("C4&E2G2|D|", [(0, 4, 60), (0, 2, 64), (2, 2, 67), (4, 1, 62)]),
    ],
)  # fmt: skip
def test_music_code(tmp_path: Path, body: str, expected: list[tuple[float, float, int]]) -> None:
    reading = read(tmp_path, tune(body))
    found = sounding(reading.score)
    assert [note[2] for note in found] == [note[2] for note in expected]
    for note, right in zip(found, expected, strict=True):
        assert note[:2] == pytest.approx(right[:2], abs=1e-9)
    assert "unread_signs" not in reading.counts.other


@pytest.mark.parametrize(
    ("reach", "expected"),
    [("not", [61, 60, 72]), ("octave", [61, 61, 72]), ("pitch", [61, 61, 73])],
)
def test_how_far_an_accidental_reaches_can_be_said(tmp_path: Path, reach: str, expected: list[int]) -> None:
    for place in (
        tune("^C C c|", f"L:1/4\n%%propagate-accidentals {reach}\n"),
        tune(f"I:propagate-accidentals {reach}\n^C C c|"),
    ):
        assert pitches(read(tmp_path, place).score) == expected


@pytest.mark.parametrize(
    ("macro", "body", "expected"),
    [
        ("m: ~G2 = {A}G{F}G", "~G2 C|", [67, 67, 60]),
        ("m: ~n2 = o/n/m/n/", "~G2 ~c2|", [69, 67, 65, 67, 74, 72, 71, 72]),
        ("m: ~n2 = o/n/m/n/", "~C2 ~b2|", [62, 60, 59, 60, 84, 83, 81, 83]),
        ("U: W = !trill!", "WC WD|", [60, 62]),
    ],
)
def test_macros_are_played(tmp_path: Path, macro: str, body: str, expected: list[int]) -> None:
    assert pitches(read(tmp_path, tune(body, f"M:4/4\nL:1/4\n{macro}\n")).score) == expected
    assert pitches(read(tmp_path, tune(f"{macro}\n{body}")).score) == expected


# --- Voices --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        tune("V:1\nCDEF|GABc|\nV:2\nC,4|G,4|"),
        tune("V:2\nC,4|G,4|\nV:1\nCDEF|GABc|"),
        tune("V:low name=Bass\nC,4|\n\nV:high\nCDEF|\nV:low\nG,4|\nV:high\nGABc|"),
        tune("[V:T]CDEF|GABc|\n[V:B]C,4|G,4|", "M:4/4\nL:1/4\nV:T name=Top\nV:B clef=bass\n"),
        tune("[V:1]CDEF|[V:2]C,4|[V:1]GABc|[V:2]G,4|"),
    ],
)
def test_voices_sound_together_the_highest_first(tmp_path: Path, text: str) -> None:
    score = read(tmp_path, text).score
    assert [note.pitch for note in score.notes if note.voice == 0] == OCTAVE
    assert [(note.onset, note.pitch) for note in score.notes if note.voice == 1] == [(0, 48), (1920, 55)]
    assert score.length_ticks == 2 * 1920


def test_voices_stay_together_where_a_bar_of_one_does_not_add_up(tmp_path: Path) -> None:
    score = read(tmp_path, tune("V:1\nCDE|GABc|\nV:2\nC,4|G,4|")).score
    assert [note.onset for note in score.notes if note.pitch in (67, 55)] == [1920, 1920]


def test_each_voice_has_its_own_key_length_and_sound(tmp_path: Path) -> None:
    text = tune("V:1\n[K:G]F4|\nV:2 octave=-1\nL:1/8\nF8|", "M:4/4\nL:1/4\n")
    assert sounding(read(tmp_path, text).score) == [(0, 4, 66), (0, 4, 53)]


def test_parts_are_chosen_by_name(tmp_path: Path) -> None:
    text = tune("V:1\nCDEF|\nV:2\nC,4|\nV:3\nE4|", 'M:4/4\nL:1/4\nV:1 name="Soprano I"\nV:2 nm=Bass\nV:3\n')
    reading = read(tmp_path, text, parts=("Bass", "Soprano"))
    assert [(note.pitch, note.voice) for note in reading.score.notes if note.onset == 0] == [(48, 0), (60, 1)]
    assert reading.counts.left_out == {"other_parts": 1}
    with pytest.raises(InvalidScoreError, match="has no parts called Alto"):
        read(tmp_path, text, parts=("Alto",))


# --- Order of bars -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "played"),
    [
        ("C|D|E|", "CDE"),
        ("|:C|D:|E|", "CDCDE"),
        ("C|D:|E|", "CDCDE"),
        ("C|D::E|F:|", "CDCDEFEF"),
        ("C:|:D:|", "CCDD"),
        ("C|D||E|F:|", "CDEFEF"),
        ("|:C||D:|", "CDCD"),
        ("||C|D:|", "CDCD"),
        ("|::C::|D|", "CCCD"),
        ("|:C|1 D:|2 E|]F|", "CDCEF"),
        ("|:C|1 D:|2 E||F|1 G:|2 A|]", "CDCEFGFA"),
        ("|:C[1 D:|[2 E|]", "CDCE"),
        ("|:C|[1 D:|[2 E|]", "CDCE"),
        ("|:C|1,3 D:|2 E:|4 F|]", "CDCECDCF"),
        ("|:C|1-3 D:|4 E|]", "CDCDCDCE"),
        ("|:C|1 D|E:|2 F|G|]A|", "CDECFGA"),
        ("|:C|1 D:|2 E:|F|", "CDCEF"),
        ("C|1 D||2 E|]", "CDCE"),
        ("|:C|1 D:|E|", "CDCE"),
        ("|:C:|\n|:D:|", "CCDD"),
        ("|:AB|c:||:d|e:|", "ABcABcdede"),
        ("G|:C|D:|", "GCDCD"),
        ("C|D!fine!|E|F!D.C.alfine!|", "CDEFCD"),
        ("C|D !fine!|E|F !D.C.!|", "CDEFCD"),
        ("C|!segno!D|E!fine!|F!D.S.!|", "CDEFDE"),
        ("C|SD|E!fine!|F!D.S.alfine!|", "CDEFDE"),
        ("C|D!coda!|E|F!dacoda!|!coda!G|A|", "CDEFCDGA"),
        ("C|D O|E|F!D.C.alcoda!|O G|A|", "CDEFCDGA"),
        ('C|D "Fine"|E|F "^D.C. al Fine"|', "CDEFCD"),
        ("|:C:|D!fine!|E!D.C.!|", "CCDECD"),
        ("|:C|1 D:|2 E|]F!fine!|G!D.C.!|", "CDCEFGCEF"),
        ("P:A\nC|D|\nP:B\nE|F|", "CDEF"),
    ],
)  # fmt: skip
def test_repeats_endings_and_jumps_are_played(tmp_path: Path, body: str, played: str) -> None:
    naturals = dict(zip("CDEFGABcde", (60, 62, 64, 65, 67, 69, 71, 72, 74, 76), strict=True))
    reading = read(tmp_path, tune(body))
    assert pitches(reading.score) == [naturals[letter] for letter in played]
    assert reading.counts.repeated == len(played) - reading.counts.written
    once = read(tmp_path, tune(body), play_repeats=False)
    assert once.counts.repeated == 0
    assert len(once.score.notes) == once.counts.written == reading.counts.written


@pytest.mark.parametrize(
    ("order", "played"),
    [
        ("AB", "CCDE"), ("AABB", "CCCCDEDE"), ("A2B", "CCCCDE"), ("(AB)2", "CCDECCDE"), ("A.B.A", "CCDECC"),
        ("A(AB)2B", "CCCCDECCDEDE"), ("B", "DE"), ("AXB", "CCDE"), ("", "CCDE"),
    ],
)  # fmt: skip
def test_parts_are_played_in_their_order(tmp_path: Path, order: str, played: str) -> None:
    naturals = {"C": 60, "D": 62, "E": 64, "G": 67}
    text = tune("G|\nP:A\n|:C:|\n[P:B]D|E|", f"P:{order}\nM:4/4\nL:1/4\n")
    reading = read(tmp_path, text)
    assert pitches(reading.score) == [naturals[letter] for letter in "G" + played]
    assert reading.counts.left_out == ({"not_played": 1} if order == "B" else {})


def test_repeats_of_one_voice_hold_for_all(tmp_path: Path) -> None:
    score = read(tmp_path, tune("V:1\n|:CDEF:|G4|\nV:2\nC,4|G,4|")).score
    assert [(note.onset, note.pitch) for note in score.notes if note.voice == 1] == [(0, 48), (1920, 48), (3840, 55)]


def test_a_tie_leads_into_every_ending(tmp_path: Path) -> None:
    reading = read(tmp_path, tune("|:C4-|1 C4:|2 C2 D2|]"))
    assert sounding(reading.score) == [(0, 8, 60), (8, 6, 60), (14, 2, 62)]


def test_repeats_that_make_no_sense_are_counted_and_not_played(tmp_path: Path) -> None:
    reading = read(tmp_path, tune("C|[3 D:|E|", "M:1/4\nL:1/4\n"))
    assert pitches(reading.score) == [60, 62, 64]
    assert +reading.counts.other == {"repeats_not_played": 1}


def test_parts_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidScoreError, match="more than 20,000 bars with its parts played out"):
        read(tmp_path, tune("P:A\n" + "C|" * 300, "P:A1000\nL:1/64\n"))
    with pytest.raises(InvalidScoreError, match="more than the maximum of 10,000"):
        read(tmp_path, tune("C999999|", "L:1\n"))


# --- Counts --------------------------------------------------------------------------------------------------------


def test_everything_is_counted_under_its_own_reason(tmp_path: Path) -> None:
    body = '"C"C{de}D "G7"E !mf!F|"^slowly"G A0 "<1"B "4"c|#'
    reading = read(tmp_path, tune(body))
    assert (reading.counts.written, reading.counts.kept) == (10, 7)
    assert reading.counts.left_out == {"grace": 2, "no_length": 1}
    assert +reading.counts.other == {"chord_symbols": 2, "dynamics": 1, "unread_signs": 1}


def test_chord_symbols_are_no_grace_notes(tmp_path: Path) -> None:
    reading = read(tmp_path, tune('"C"CDEF|"G7"GABc|"Am"CDEF|"F"GABc|'))
    assert (+reading.counts.other, reading.counts.left_out) == ({"chord_symbols": 4}, {})
    assert pitches(reading.score) == 2 * OCTAVE


def test_percussion_and_pitches_beyond_midi_are_left_out(tmp_path: Path) -> None:
    drums = "V:1\nCDEF|\nV:2 clef=perc\nC-CDE|\nV:3\n%%MIDI channel 10\n[CE]4|"
    assert read(tmp_path, tune(drums)).counts.left_out == {"percussion": 5}
    reading = read(tmp_path, tune("C c''''''' C,,,,,,|"))
    assert (pitches(reading.score), reading.counts.left_out) == ([60], {"out_of_range": 2})


def test_programs(tmp_path: Path) -> None:
    reading = read(tmp_path, tune("CD|\n%%MIDI program 1 41\nEF|", "L:1/4\n%%MIDI program 73\n"))
    assert (reading.score.program, +reading.counts.other) == (73, {"other_programs": 1})


PIECES = st.lists(
    st.sampled_from([
        "C", "D2", "^F", "e/", "[CE]", "z", "|", "|", "||", "|:", ":|", "::", "|1", ":|2", "[1,3", "C-", "c-", "(3",
        ">", "{g}", "{ab}", "[V:2]", "[V:1]", '"Am"', "[P:A]", "[P:B]", "&", "!segno!", "!D.S.!", "!coda!", "!fine!",
        "!D.C.!", "[K:D]", "[M:3/4]", "Z2", "A0", "\n", "_B,", "S", "-", "[K:transpose=90]", "[V:1 clef=perc]",
    ]),
    min_size=1, max_size=60,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=PIECES, order=st.sampled_from(["", "AB", "A2(AB)2", "B"]), play=st.booleans())
def test_counts_add_up_for_any_music(tmp_path: Path, pieces: list[str], order: str, play: bool) -> None:
    text = tune("C " + " ".join(pieces), f"P:{order}\nM:4/4\nL:1/4\n")
    try:
        found = read_all(tmp_path, text, play_repeats=play)
    except InvalidScoreError:
        return
    (reading,) = found.readings
    assert reading.counts.balanced, reading.counts
    assert reading.counts.kept == len(reading.score.notes)
    assert min(reading.counts.left_out.values(), default=0) >= 0
    assert play or reading.counts.repeated == 0
    assert all(note.duration > 0 and note.end <= reading.score.length_ticks for note in reading.score.notes)
