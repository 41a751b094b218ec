"""Repeats, endings and jumps of MusicXML scores."""

from collections import Counter

import pytest

from tests.unit.training.readers.musicxml_documents import HEAD, note, score
from training.readers.musicxml import read_musicxml
from training.readers.reading import Reading, ReadOptions
from training.readers.xml_tree import parse_xml

START = '<barline location="left"><repeat direction="forward"/></barline>'
END = '<barline location="right"><repeat direction="backward"/></barline>'
C, D, E, F = (note(name, 8) for name in ("C4", "D4", "E4", "F4"))


def read(bars: list[str], *, play_repeats: bool = True) -> Reading:
    text = score(bars, [note("C3", 8)] * len(bars))
    (reading,) = read_musicxml(parse_xml(text.encode()), "", ReadOptions(play_repeats=play_repeats)).readings
    assert reading.counts.balanced
    return reading


def played(bars: list[str]) -> str:
    """Letters of the upper part's notes, in the order in which they are heard."""
    notes = [note for note in read(bars).score.notes if note.voice == 0]
    assert [note.onset for note in notes] == [1920 * index for index in range(len(notes))]
    return "".join("CDEF"[(60, 62, 64, 65).index(note.pitch)] for note in notes)


def ending(body: str, numbers: str, *, stop: str = "stop", repeat: bool = False) -> str:
    left = f'<barline location="left"><ending number="{numbers}" type="start"/></barline>'
    sign = '<repeat direction="backward"/>' if repeat else ""
    right = f'<barline location="right"><ending number="{numbers}" type="{stop}"/>{sign}</barline>'
    return left + body + right


def sound(**attributes: str) -> str:
    return "<sound " + " ".join(f'{name}="{value}"' for name, value in attributes.items()) + "/>"


def words(text: str) -> str:
    return f"<direction><direction-type><words>{text}</words></direction-type></direction>"


def sign(name: str) -> str:
    return f"<direction><direction-type><{name}/></direction-type></direction>"


@pytest.mark.parametrize(
    ("bars", "order"),
    [
        ([START + C, D + END, E], "CDCDE"),
        ([C, D + END, E], "CDCDE"),
        ([C, START + D + END, E], "CDDE"),
        ([C, START + D + END.replace("/></", ' times="4"/></'), E], "CDDDDE"),
        ([C, ending(D, "1", repeat=True), ending(E, "2", stop="discontinue"), F], "CDCEF"),
        ([C, ending(D, "1, 2", repeat=True), ending(E, "3"), F], "CDCDCEF"),
        ([C, ending(D, "1-3", repeat=True), ending(E, "4"), F], "CDCDCDCEF"),
        ([C, ending(D, "1", repeat=True).replace('type="stop"', 'type="x"'), ending(E, "2"), F], "CDCEF"),
        ([C + sound(fine="yes"), D, E + sound(dacapo="yes")], "CDEC"),
        ([C, sound(segno="1") + D, E + sound(fine="yes"), F + sound(dalsegno="1")], "CDEFDE"),
        ([C, D + sound(tocoda="c"), E + sound(dacapo="yes"), sound(coda="c") + F], "CDECDF"),
        ([C + words("Fine"), D, E + words("D.C. al Fine")], "CDEC"),
        ([C, sign("segno") + D + words("fine"), E + words("Dal Segno al Fine")], "CDED"),
        ([C + sign("coda"), D + words("D. C. al Coda"), sign("coda") + E], "CDCE"),
        ([C + words("To Coda"), D + words("da capo"), sign("coda") + E], "CDCE"),
    ],
)  # fmt: skip
def test_what_is_repeated_is_played(bars: list[str], order: str) -> None:
    assert played(bars) == order


def test_repeats_are_counted_and_may_be_left_as_written() -> None:
    bars = [START + C, D + note("G4", before="<grace/>") + END, E]
    counts = read(bars).counts
    assert (counts.written, counts.repeated, counts.kept, counts.left_out) == (7, 5, 10, Counter(grace=2))
    counts = read(bars, play_repeats=False).counts
    assert (counts.written, counts.repeated, counts.kept, counts.left_out) == (7, 0, 6, Counter(grace=1))


def test_what_cannot_be_played_is_read_as_written_and_counted() -> None:
    reading = read([C, D, ending(E, "2")])
    assert (len(reading.score.notes), reading.counts.repeated) == (6, 0)
    assert reading.counts.other["repeats_not_played"] == 1
    endless = read([C, D + END.replace("/></", ' times="999999999"/></')])
    assert (len(endless.score.notes), endless.counts.other["repeats_not_played"]) == (4, 1)
    long = read([START.replace("/></", ' times="6000"/></') + C + END.replace("/></", ' times="12000"/></'), D])
    assert (len(long.score.notes), long.counts.other["repeats_not_played"]) == (4, 1), "over 10,000 bars"


def test_repeats_are_played_where_only_a_jump_makes_no_sense() -> None:
    jump = read([C, D + sound(dalsegno="nowhere"), E + END])
    assert (jump.counts.repeated, jump.counts.other["repeats_not_played"]) == (6, 1)
    movements = [C + END, D + sound(dacapo="yes"), E, F + END]  # which movement the D.C. begins again is unknown
    assert played(movements) == "CCDEFDEF"


def test_a_tie_over_a_repeat_is_joined_where_it_is_heard() -> None:
    start, stop = "<tie type='start'/>", "<tie type='stop'/>"
    held = note("D4", 8, after=start)
    bars = [C, held, ending(note("D4", 8, after=stop), "1", repeat=True), ending(note("D4", 8, after=stop), "2")]
    notes = [note for note in read(bars).score.notes if note.voice == 0]
    assert [(note.onset // 1920, note.duration // 1920, note.pitch) for note in notes] == [
        (0, 1, 60), (1, 2, 62), (3, 1, 60), (4, 2, 62),
    ]  # fmt: skip


def test_a_pickup_and_its_repeat_make_whole_bars() -> None:
    text = score([note("G4", 2), C, note("D4", 6) + END, note("E4", 8)])
    (reading,) = read_musicxml(parse_xml(text.encode()), "", ReadOptions()).readings
    assert reading.score.pickup_ticks == 480
    assert [note.onset for note in reading.score.notes] == [0, 480, 2400, 3840, 4320, 6240, 7680]


def test_signs_of_any_part_count() -> None:
    text = score([C, D], [HEAD + note("C3", 8), note("D3", 8) + END])
    (reading,) = read_musicxml(parse_xml(text.encode()), "", ReadOptions()).readings
    assert len(reading.score.notes) == 8
