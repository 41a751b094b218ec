"""What a Humdrum score sounds like: docs/formats.md, row by row."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from music21 import corpus as music21_corpus

from music.errors import InvalidScoreError
from music.score import Meter
from training.readers import read_file
from training.readers.humdrum.tokens import parse_bar_line, parse_key, parse_meter, parse_note, parse_tempo
from training.readers.reading import FileReadings, Reading, ReadOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def kern(*rows: str) -> str:
    """Lines whose fields are parted by a bar with spaces around it."""
    return "\n".join("\t".join(field.strip() for field in row.split(" | ")) for row in rows) + "\n"


def read_all(folder: Path, data: str | bytes, options: ReadOptions | None = None) -> FileReadings:
    path = folder / "piece.krn"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    file = read_file(path, "piece", options)
    assert all(reading.counts.balanced for reading in file.readings)
    return file


def read(folder: Path, *rows: str, play_repeats: bool = True) -> Reading:
    (reading,) = read_all(folder, kern(*rows), ReadOptions(play_repeats=play_repeats)).readings
    return reading


def sounding(reading: Reading) -> list[tuple[float, float, int]]:
    """Onset and duration in quarters, and pitch."""
    return [(note.onset / 480, note.duration / 480, note.pitch) for note in reading.score.notes]


def voice(*tokens: str) -> list[str]:
    return ["**kern", *tokens, "*-"]


@pytest.mark.parametrize(
    ("token", "quarters", "pitch"),
    [
        ("4c", 1, 60), ("4cc", 1, 72), ("4C", 1, 48), ("4CC", 1, 36), ("8.b-", 0.75, 70), ("16..f##", 0.4375, 67),
        ("2r", 2, None), ("0e", 8, 64), ("00e", 16, 64), ("12cnn", 1 / 3, 60), ("3%2g", 8 / 3, 67), ("4a--X", 1, 67),
        ("(8ee-\\LL", 0.5, 75), ("4gT;'", 1, 67), ("{16dd>/JJ}", 0.25, 74), ("4ryy", 1, None), ("4cyy", 1, 60),
        ("c", 0, 60), ("0000c", 0, 60),
    ],
)  # fmt: skip
def test_tokens(token: str, quarters: float, pitch: int | None) -> None:
    note = parse_note(token)
    assert float(note.duration) == pytest.approx(quarters)
    assert (note.pitch, note.rest) == (pitch, "r" in token)


def test_interpretations_and_bar_lines() -> None:
    assert [parse_meter(token) for token in ("*M4/2", "*M3+2/8", "*M2/0", "*MX", "*MM96", "*M", "*met(c)")] == [
        (4, 2), (5, 8), (4, 1), (0, 0), None, None, None,
    ]  # fmt: skip
    assert [parse_key(token) for token in ("*k[]", "*k[f#c#]", "*k[b-e-a-]", "*a:")] == [0, 2, -3, None]
    assert [parse_tempo(token) for token in ("*MM96", "*MM72.5", "*MM0", "*MM[Andante]", "*M4/4")] == [
        96, 72.5, None, None, None,
    ]  # fmt: skip
    lines = {token: parse_bar_line(token) for token in ("=4", "==", "=:|!", "=5:|!|:", "=!|:", "=:||:;;", "=||", "=-")}
    assert [token for token, line in lines.items() if line.ends_repeat] == ["=:|!", "=5:|!|:", "=:||:;;"]
    assert [token for token, line in lines.items() if line.starts_repeat] == ["=5:|!|:", "=!|:", "=:||:;;"]


def test_parts_run_side_by_side_and_the_rightmost_is_first(folder: Path) -> None:
    reading = read(
        folder,
        "!!!COM: a comment",
        '**kern | **text | **kern | **dynam',
        "*M3/4 | * | *M3/4 | *",
        "*k[b-] | * | *k[b-] | *",
        '*Ipiano | * | *I"Flute | *',
        "=1 | =1 | =1 | =1",
        "2.F | la | 4f 4a | p",
        "! a local comment | ! | ! | !",
        ". | . | 8g | .",
        ". | . | 8a | f",
        ". | . | 4r | .",
        "=2 | =2 | =2 | =2",
        "2.C | li | 2.e | .",
        "== | == | == | ==",
        "*- | *- | *- | *-",
    )  # fmt: skip
    assert sounding(reading) == [
        (0, 1, 65), (0, 1, 69), (0, 3, 53), (1, 0.5, 67), (1.5, 0.5, 69), (3, 3, 64), (3, 3, 48),
    ]  # fmt: skip
    assert [note.voice for note in reading.score.notes] == [0, 0, 1, 0, 0, 0, 1]
    piece = reading.score
    assert (piece.meter, piece.pickup_ticks, piece.key_sharps, piece.length_ticks) == (Meter(3, 4), 0, -1, 6 * 480)
    assert +reading.counts.other == Counter(lyrics=2, dynamics=2)


def test_chosen_parts_are_named_by_the_instrument_s_name(folder: Path) -> None:
    rows = ("**kern | **kern", '*I"Bass | *I"Alto', "1C | 1e", "*- | *-")
    (reading,) = read_all(folder, kern(*rows), ReadOptions(parts=("Alto",))).readings
    assert (sounding(reading), reading.counts.left_out) == ([(0, 4, 64)], Counter(other_parts=1))


def test_a_pickup_a_tempo_and_a_change_of_tempo(folder: Path) -> None:
    reading = read(folder, *voice("*M4/4", "*MM60", "4g", "=1", "2c", "*MM90", "2c", "=2", "2.c", "=="))
    assert (reading.score.pickup_ticks, reading.score.tempo_bpm) == (480, 60)
    assert +reading.counts.other == Counter(tempo_changes=1)


def test_changes_of_key_and_meter_are_counted_once_for_all_spines(folder: Path) -> None:
    rows = ("**kern | **kern", "*M4/4 | *M4/4", "*k[b-] | *k[b-]", "1C | 1c", "=1 | =1", "*M3/4 | *M3/4", "*k[] | *k[]")
    reading = read(folder, *rows, "2.D | 2.d", "=2 | =2", "*k[] | *k[]", "2.D | 2.d", "*- | *-")
    assert (reading.score.meter, reading.score.key_sharps) == (None, -1)
    assert +reading.counts.other == Counter(meter_changes=1, key_changes=1)


def test_ties_are_joined_also_where_spines_split(folder: Path) -> None:
    reading = read(
        folder, "**kern", "=1", "4c", "[4e", "=2", "*^", "4e_ | 4g", "4e] | [4g [4b", "*v | *v", "4g] 4b]", "*-"
    )
    assert sounding(reading) == [(0, 1, 60), (1, 3, 64), (2, 1, 67), (3, 2, 67), (3, 2, 71)]
    assert reading.counts.written == 5
    loose = read(folder, *voice("4c", "4e]", "4g_"))
    assert (sounding(loose), loose.counts.changed) == (
        [(0, 1, 60), (1, 1, 64), (2, 1, 67)], Counter(tie_without_start=2),
    )  # fmt: skip


def test_spines_split_join_change_places_begin_and_end(folder: Path) -> None:
    reading = read(
        folder,
        "**kern | **kern",
        "4C | 4c",
        "*^ | *",
        "4C | 8E | 4d",
        ". | 8F | .",
        "*v | *v | *",
        "*x | *x",
        "4e | 4C",
        "*x | *x",
        "* | *+",
        "* | * | **kern",
        "4C | 4f | 4ff",
        "*- | * | *",
        "4g | 4gg",
        "*- | *-",
    )
    assert [pitch for _, _, pitch in sounding(reading)] == [60, 48, 62, 48, 52, 53, 64, 48, 77, 65, 48, 79, 67]
    assert reading.score.length_ticks == 5 * 480
    assert len({note.voice for note in reading.score.notes}) == 3


def test_what_does_not_sound_is_left_out_and_counted(folder: Path) -> None:
    reading = read(
        folder, *voice("8dq", "qqee qqgg", "Qff", "4c", "4R", "4cd", "e", "*clefX", "4a", "*clefG2", "4b", "2r")
    )
    assert sounding(reading) == [(0, 1, 60), (4, 1, 71)]
    assert reading.counts.left_out == Counter(grace=4, percussion=2, unreadable=1, no_duration=1)
    assert reading.score.length_ticks == 7 * 480


def test_lines_of_graces_or_dynamics_alone_take_no_time(folder: Path) -> None:
    reading = read(
        folder, "**kern | **kern | **dynam", "4C | 2c | .", "qD | . | .", ". | . | f", "4E | . | .", "*- | *- | *-"
    )
    assert sounding(reading) == [(0, 2, 60), (0, 1, 48), (1, 1, 52)]
    last = read(folder, *voice("4c", "=", "qd"))
    assert (sounding(last), last.counts.left_out) == ([(0, 1, 60)], Counter(grace=1))


def test_pitch_sounds_as_it_is_written(folder: Path) -> None:
    reading = read(folder, *voice("*ITrd-1c-2", "*Trd1c2", "*clefGv2", "*8va", "4c", "*X8va"))
    assert sounding(reading) == [(0, 1, 60)]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("**dynam", "dynamics"), ("**text", "lyrics"), ("**silbe", "lyrics"), ("**mxhm", "chord_symbols"),
        ("**harm", "chord_symbols"), ("**fb", "figured_bass"),
    ],
)  # fmt: skip
def test_other_spines_are_counted(folder: Path, kind: str, name: str) -> None:
    reading = read(folder, f"**kern | {kind}", "4c | a", "4d | .", "4e | b", "*- | *-")
    assert (len(reading.score.notes), +reading.counts.other) == (3, Counter({name: 2}))


def test_durations_that_do_not_add_up_are_counted(folder: Path) -> None:
    reading = read(folder, "**kern | **kern", "2C | 4c", "4D | 4d", "4E | 4e", "*- | *-")
    assert +reading.counts.other == Counter(rhythm_errors=1)
    assert [onset for onset, _, _ in sounding(reading)] == [0, 0, 1, 1, 2, 2]


def test_repeats_are_played_and_counted(folder: Path) -> None:
    rows = voice("*M2/4", "2c", "=1:|!|:", "2d", "=2", "8gq", "2e", "=3:|!", "2f", "==")
    reading = read(folder, *rows)
    assert [pitch for _, _, pitch in sounding(reading)] == [60, 60, 62, 64, 62, 64, 65]
    assert (reading.counts.written, reading.counts.repeated, reading.counts.left_out) == (5, 4, Counter(grace=2))
    assert [pitch for _, _, pitch in sounding(read(folder, *rows, play_repeats=False))] == [60, 62, 64, 65]


@pytest.mark.parametrize(
    ("stated", "pitches", "counted"),
    [
        ("*>[A,A1,A,A2,B]", [60, 62, 60, 64, 65], 0),
        ("*>[A,A,A1,A2,B,B]", [60, 60, 62, 64, 65, 65], 0),
        ("*>norep[A,A2,B]", [60, 62, 60, 62, 64, 65], 0),  # not for playing: the bar lines say what is repeated
        ("*>[A,A1,A,A9,B]", [60, 62, 60, 62, 64, 65], 0),  # no such label: likewise
        ("*>[A,A2,B]", [60, 62, 64, 65], 1),  # one section would never be played
    ],
)  # fmt: skip
def test_expansion_lists_say_what_is_played(folder: Path, stated: str, pitches: list[int], counted: int) -> None:
    reading = read(
        folder, *voice(stated, "*M2/4", "*>A", "2c", "=1", "*>A1", "2d", "=2:|!", "*>A2", "2e", "=3", "*>B", "2f", "==")
    )
    assert [pitch for _, _, pitch in sounding(reading)] == pitches
    assert reading.counts.other["repeats_not_played"] == counted


def test_an_expansion_list_cannot_play_for_ever(folder: Path) -> None:
    rows = ["*>A", *["4c", "="] * 300]
    reading = read(folder, *voice(f"*>[{','.join('A' * 1000)}]", *rows))
    assert (reading.counts.kept, reading.counts.repeated) == (300, 0)
    assert sounding(read(folder, *voice("*>[A,B]", "*>A", "4c", "*>B"))) == [(0, 1, 60)], "a section of nothing"


def test_a_section_that_begins_inside_a_bar_is_played_from_there(folder: Path) -> None:
    reading = read(folder, *voice("*>[A,B,B]", "*>A", "4c", "*>B", "4d", "=1", "2e", "=="))
    assert sounding(reading) == [(0, 1, 60), (1, 1, 62), (2, 2, 64), (4, 1, 62), (5, 2, 64)]


def test_odd_durations_do_not_make_numbers_grow(folder: Path) -> None:
    odd = range(100_003, 101_003, 2)  # 500 durations whose common denominator has thousands of digits
    reading = read(folder, *voice(*(f"{reciprocal}%50000c" for reciprocal in odd)))
    total = sum(4 * 50_000 / reciprocal for reciprocal in odd)
    assert len(reading.score.notes) == 500
    assert reading.score.length_ticks == pytest.approx(total * 480, abs=1)


def test_a_file_of_several_pieces_loses_only_the_bad_one(folder: Path) -> None:
    good = kern("!!!!SEGMENT: one.krn", *voice("4c"))
    bad = kern("**kern | **kern", "4c", "*- | *-")
    silent = kern(*voice("4r"))
    file = read_all(folder, good + bad + silent + kern(*voice("4d")))
    assert [reading.name for reading in file.readings] == ["piece#1", "piece#4"]
    assert file.skipped == {
        "piece#2": "line 6 has 1 fields, but there are 2 spines", "piece#3": "no pitched note in it",
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_encoding_and_line_end_is_read(folder: Path, encoding: str, end: str) -> None:
    text = kern("!!!COM: Dvořák, Antonín" if encoding != "latin-1" else "!!!COM: Dvorák", *voice("4c", "4d"))
    (reading,) = read_all(folder, text.replace("\n", end).encode(encoding)).readings
    assert sounding(reading) == [(0, 1, 60), (1, 1, 62)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the file is empty"),
        ("<score-partwise/>", r"not a Humdrum file: no line begins with \*\*"),
        ("X:1\nK:C\nC", r"not a Humdrum file: no line begins with \*\*"),
        (kern("**mens", "Sc", "*-"), r"no \*\*kern spine in it, but \*\*mens"),
        (kern(*voice("4r")), "no pitched note in it"),
        (
            kern(" | ".join(["**kern"] * 600), " | ".join(["4c"] * 600), " | ".join(["*-"] * 599 + ["*"]))
            + "=\n4c\n" * 2000 + "*-\n",
            "600 parts of 2,001 bars, more than 1,000,000 bars together",
        ),
        (kern(*voice("*")), "no pitched note in it"),
        (kern("**kern | **kern", "4c | 4d | 4e"), "line 2 has 3 fields, but there are 2 spines"),
        (kern(*voice("4c", "*^", "4c")), "line 4 has 1 fields, but there are 2 spines"),
        (kern(*voice("1%99999c", "4d")), "more than the maximum of 10,000"),
    ],
)  # fmt: skip
def test_each_cause_has_its_sentence(folder: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidScoreError, match=sentence):
        read_all(folder, text)


@pytest.mark.parametrize("name", ["chopin/mazurka06-2.krn", "beethoven/opus18no1/movement1.krn", "bach/bwv277.krn"])
def test_real_scores_are_read_without_loss(name: str) -> None:
    path = Path(music21_corpus.__file__).parent / name
    (reading,) = read_file(path, name).readings
    counts = reading.counts
    assert counts.balanced
    assert counts.kept > 0.9 * counts.written + counts.repeated
    assert set(counts.left_out) <= {"grace"}
    assert not counts.other["repeats_not_played"]


TOKENS = st.sampled_from(
    ("4c", "8d", "[4e", "4e]", "4e_", "4e 4g", "2r", "qf", "4R", "cd", "4cd", ".", "16.b- 16dd", "a", "12g", "4CC;")
)
LINES = st.one_of(
    st.tuples(TOKENS, TOKENS),
    st.sampled_from(("=1", "=:|!", "=!|:", "=:|!|:", "*>A", "*>B", "*>[A,B,A]", "*M3/4", "*clefX")).map(
        lambda token: (token, token)
    ),
)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(LINES, max_size=25), st.booleans())
def test_every_note_is_kept_or_counted_whatever_the_score(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]], play_repeats: bool
) -> None:
    text = kern("**kern | **kern", *(" | ".join(line) for line in lines), "*- | *-")
    folder = tmp_path_factory.mktemp("kern")
    try:
        (reading,) = read_all(folder, text, ReadOptions(play_repeats=play_repeats)).readings
    except InvalidScoreError:
        with pytest.raises(InvalidScoreError, match="no pitched note in it"):
            read_all(folder, text)
        return
    heads = [
        one for line in lines for token in line for one in token.split() if token[0] not in "*=." and "r" not in one
    ]
    begun = [one for one in heads if "]" not in one and "_" not in one]
    assert len(begun) <= reading.counts.written <= len(heads)
    assert reading.counts.kept == len(reading.score.notes)
    assert play_repeats or not reading.counts.repeated


def with_graces(folder: Path, *rows: str) -> Reading:
    (reading,) = read_all(folder, kern(*rows), ReadOptions(play_graces=True)).readings
    return reading


def test_the_first_note_of_a_chord_decides_when_the_next_starts(folder: Path) -> None:
    reading = read(folder, *voice("4c 8e g", "4d", "*-"))
    assert sounding(reading) == [(0, 1, 60), (0, 0.5, 64), (0, 1, 67), (1, 1, 62)]
    assert +reading.counts.left_out == Counter()


def test_graces_are_played_before_the_beat_in_their_order(folder: Path) -> None:
    reading = with_graces(folder, *voice("2c", "8dq 8fq", "8eq", "4g"))
    assert [(round(onset * 12), round(lasts * 12), pitch) for onset, lasts, pitch in sounding(reading)] == [
        (0, 24, 60), (22, 1, 62), (22, 1, 65), (23, 1, 64), (24, 12, 67),
    ]  # fmt: skip
    assert reading.graces == {1, 2, 3}
    assert (reading.counts.written, reading.counts.kept) == (5, 5)


def test_graces_after_a_short_note_are_shorter_and_those_without_room_are_left_out(folder: Path) -> None:
    reading = with_graces(folder, *voice("8aq", "8c", *["16dq"] * 4, "4e"))
    times = [(round(onset * 24), round(lasts * 24)) for onset, lasts, pitch in sounding(reading) if pitch == 62]
    assert times == [(8, 1), (9, 1), (10, 1), (11, 1)]
    assert reading.counts.left_out == Counter(grace=1)


def test_a_grace_before_a_bar_line_is_played_before_every_repetition(folder: Path) -> None:
    reading = with_graces(folder, *voice("*M1/4", "4c", "=1!|:", "8dq", "4e", "=2:|!", "4f", "=="))
    assert [pitch for _, _, pitch in sounding(reading)] == [60, 62, 64, 62, 64, 65]
    assert [round(onset * 12) for onset, _, pitch in sounding(reading) if pitch == 62] == [11, 23]


def test_a_grace_that_is_tied_to_its_note_starts_it(folder: Path) -> None:
    reading = with_graces(folder, "**kern | **kern", "2C | 2c", ". | [8dq", ". | [8eq", "4C | 4d] 4e]", "*- | *-")
    assert sounding(reading) == [
        (0, 2, 60), (0, 2, 48), (pytest.approx(22 / 12), pytest.approx(14 / 12), 62),
        (pytest.approx(23 / 12), pytest.approx(13 / 12), 64), (2, 1, 48),
    ]  # fmt: skip
    assert not reading.graces
    assert reading.counts.changed == Counter()


def test_bars_tell_what_is_in_force_where_they_are_played(folder: Path) -> None:
    head = "*M2/4", "*k[f#]", "*MM90", "2c", "=1:|!|:"
    rows = voice(*head, "*M1/4", "*k[]", "4d", "=2:|!", "*MM60", "*MX", "2f", "==")
    first, second = ((2, 4), 1, 90.0), ((1, 4), 0, 90.0)
    assert [tuple(bar) for bar in read(folder, *rows).bars] == [
        (0, *first), (960, *first), (1920, *second), (2400, *second), (2880, None, 0, 60.0),
    ]  # fmt: skip


def test_voices_by_staff_keep_the_order_of_the_score(folder: Path) -> None:
    text = kern("**kern | **kern", "4cc | 4C", "*- | *-")
    (by_staff,) = read_all(folder, text, ReadOptions(by_staff=True)).readings
    (by_pitch,) = read_all(folder, text).readings
    assert [(note.voice, note.pitch) for note in by_staff.score.notes] == [(0, 48), (1, 72)]
    assert [(note.voice, note.pitch) for note in by_pitch.score.notes] == [(0, 72), (1, 48)]
