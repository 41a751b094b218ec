"""What an MEI score sounds like: docs/formats.md, row by row."""

from collections import Counter
from pathlib import Path

import pytest

from music.errors import InvalidScoreError
from music.score import Meter
from training.readers import read_file
from training.readers.reading import FileReadings, Reading, ReadOptions

PLAIN = '<staffDef n="1" lines="5"/>'
FOUR = 'meter.count="4" meter.unit="4"'


def mdiv(measures: str, staves: str = PLAIN, definition: str = FOUR) -> str:
    head = f"<scoreDef {definition}><staffGrp>{staves}</staffGrp></scoreDef>"
    return f"<mdiv><score>{head}<section>{measures}</section></score></mdiv>"


def document(*movements: str) -> str:
    body = f"<music><body>{''.join(movements)}</body></music>"
    return f'<?xml version="1.0"?><mei xmlns="http://www.music-encoding.org/ns/mei">{body}</mei>'


def measure(body: str, attributes: str = "", more: str = "") -> str:
    return f'<measure n="1" {attributes}><staff n="1"><layer n="1">{body}</layer></staff>{more}</measure>'


def note(name: str, duration: int = 4, attributes: str = "", inner: str = "") -> str:
    return f'<note pname="{name[0]}" oct="{name[1]}" dur="{duration}" {attributes}>{inner}</note>'


BAR = measure(note("c4", 1))


def read_all(folder: Path, text: str, name: str = "piece.mei", options: ReadOptions | None = None) -> FileReadings:
    path = folder / name
    path.write_text(text)
    file = read_file(path, name, options)
    assert all(reading.counts.balanced for reading in file.readings)
    return file


def read(folder: Path, measures: str, staves: str = PLAIN, definition: str = FOUR) -> Reading:
    (reading,) = read_all(folder, document(mdiv(measures, staves, definition))).readings
    return reading


def sounding(reading: Reading) -> list[tuple[float, float, int]]:
    return [(note.onset / 480, note.duration / 480, note.pitch) for note in reading.score.notes]


@pytest.mark.parametrize(
    ("body", "notes"),
    [
        (note("c4") + note("d5", 8, 'dots="1"'), [(0, 1, 60), (1, 0.75, 74)]),
        (note("c4", 2, 'accid="s"') + note("c4", 2, inner='<accid accid.ges="f"/>'), [(0, 2, 61), (2, 2, 59)]),
        ('<rest dur="4"/><space dur="4"/>' + note("c4", 2), [(2, 2, 60)]),
        (f'<chord dur="2">{note("c4")}{note("e4")}</chord>', [(0, 2, 60), (0, 2, 64)]),
        (f'<beam>{note("c4", 8)}{note("d4", 8)}</beam>', [(0, 0.5, 60), (0.5, 0.5, 62)]),
        (f'<tuplet num="2" numbase="3">{note("c4", 8)}{note("d4", 8)}</tuplet>', [(0, 0.75, 60), (0.75, 0.75, 62)]),
        (note("c4", 1, 'oct.ges="5"'), [(0, 4, 72)]),
        (f'<supplied>{note("c4", 2)}</supplied>' + note("d4", 2), [(0, 2, 60), (2, 2, 62)]),
        (f'<bTrem>{note("c4", 2)}</bTrem>' + note("d4", 2), [(0, 2, 60), (2, 2, 62)]),
        (f'<fTrem>{note("c4", 2)}{note("d4", 2)}</fTrem>' + note("e4", 2), [(0, 1, 60), (1, 1, 62), (2, 2, 64)]),
    ],
)  # fmt: skip
def test_what_sounds(tmp_path: Path, body: str, notes: list[tuple[float, float, int]]) -> None:
    assert sounding(read(tmp_path, measure(body))) == notes


def test_what_does_not_sound_is_left_out_and_counted(tmp_path: Path) -> None:
    body = (
        note("d4", 8, 'grace="acc"')
        + note("c4", 4, 'cue="true"')
        + f'<chord dur="4" cue="true">{note("e4")}{note("g4")}</chord>'
        + '<note loc="4" dur="4"/>'
        + note("f4", 4)
        + f"<app><lem>{note('a4')}</lem><rdg>{note('b4')}{note('b4')}</rdg></app>"
        + f"<choice><sic>{note('g4')}</sic><corr>{note('c5')}</corr></choice>"
        + f"<del>{note('c3')}</del>"
    )
    reading = read(tmp_path, measure(body))
    assert sounding(reading) == [(3, 1, 65), (4, 1, 69), (5, 1, 72)]
    assert reading.counts.left_out == Counter(grace=1, cue=3, percussion=1, other_readings=4)
    assert reading.counts.written == 12


def test_percussion_staves_and_transposing_staves(tmp_path: Path) -> None:
    staves = '<staffDef n="1" lines="5" trans.semi="-2" trans.diat="-1"/><staffDef n="2" lines="1" clef.shape="perc"/>'
    body = measure(note("d4", 1)).replace(
        "</measure>", f'<staff n="2"><layer n="1">{note("c4", 1)}</layer></staff></measure>'
    )
    reading = read(tmp_path, body, staves)
    assert (sounding(reading), reading.counts.left_out) == ([(0, 4, 60)], Counter(percussion=1))


def test_ties_by_attribute_and_by_element(tmp_path: Path) -> None:
    by_attribute = measure(note("c4", 1, 'tie="i"')) + measure(note("c4", 1, 'tie="t"'))
    assert sounding(read(tmp_path, by_attribute)) == [(0, 8, 60)]
    by_element = measure(note("c4", 1, 'xml:id="a"')) + measure(
        note("c4", 1, 'xml:id="b"'), more='<tie startid="#a" endid="#b"/>'
    )
    assert sounding(read(tmp_path, by_element)) == [(0, 8, 60)]


def test_layers_and_staves(tmp_path: Path) -> None:
    layers = f'<layer n="1">{note("c5", 1)}</layer><layer n="2">{note("c4", 2)}{note("d4", 2)}</layer>'
    low = f'<staff n="2"><layer n="1">{note("c3", 1)}</layer></staff>'
    staves = PLAIN + '<staffDef n="2" lines="5"><instrDef midi.instrnum="42"/></staffDef>'
    reading = read(tmp_path, f'<measure n="1"><staff n="1">{layers}</staff>{low}</measure>', staves)
    assert [(n.voice, n.pitch) for n in reading.score.notes] == [(0, 60), (0, 72), (1, 48), (0, 62)]
    assert reading.score.program == 42


@pytest.mark.parametrize(
    "definition",
    [
        'meter.count="3" meter.unit="4" key.sig="2f"',
        'meter.count="3" meter.unit="4" keysig="2f"',
        '><meterSig count="3" unit="4"/><keySig sig="2f"/><',
    ],
)  # fmt: skip
def test_structure(tmp_path: Path, definition: str) -> None:
    tempo = '<tempo midi.bpm="66">Andante</tempo>'
    pickup = measure(note("g4"), 'metcon="false"', tempo)
    text = document(mdiv(pickup + measure(note("c4", 2, 'dots="1"')) + measure("<mRest/>"), PLAIN, definition))
    (reading,) = read_all(tmp_path, text.replace("<>", "")).readings
    piece = reading.score
    assert (piece.meter, piece.pickup_ticks, piece.tempo_bpm) == (Meter(3, 4), 480, 66)
    assert (piece.key_sharps, piece.length_ticks) == (-2, 7 * 480)


def test_changes_are_counted(tmp_path: Path) -> None:
    change = '<scoreDef meter.count="3" meter.unit="4" key.sig="1s"/>'
    tempi = ['<tempo midi.bpm="66">Andante</tempo>', '<tempo midi.bpm="132">Allegro</tempo>']
    bars = measure(note("c4", 1), "", tempi[0]) + change + measure(note("c4", 2, 'dots="1"'), "", tempi[1])
    reading = read(tmp_path, bars, definition='meter.count="4" meter.unit="4" key.sig="0"')
    assert (reading.score.meter, reading.score.key_sharps, reading.score.tempo_bpm) == (None, 0, 66)
    assert +reading.counts.other == Counter(meter_changes=1, key_changes=1, tempo_changes=1)


def test_repeats_and_endings_are_played(tmp_path: Path) -> None:
    bars = [measure(note(name, 1)) for name in ("c4", "d4", "e4", "f4")]
    first = bars[1].replace('n="1" ', 'n="1" right="rptend"', 1)
    text = bars[0] + f'<ending n="1">{first}</ending><ending n="2">{bars[2]}</ending>' + bars[3]
    assert [pitch for _, _, pitch in sounding(read(tmp_path, text))] == [60, 62, 60, 64, 65]
    start = bars[1].replace('n="1" ', 'n="1" left="rptstart" right="rptend"', 1)
    reading = read(tmp_path, bars[0] + start + bars[2])
    assert [pitch for _, _, pitch in sounding(reading)] == [60, 62, 62, 64]
    assert reading.counts.repeated == 1


def test_what_stands_beside_notes_is_counted(tmp_path: Path) -> None:
    more = '<harm tstamp="1">C</harm><fermata tstamp="1"/><trill tstamp="1"/><dynam tstamp="1">f</dynam>'
    other = read(tmp_path, measure(note("c4", 1), more=more)).counts.other
    assert +other == Counter(chord_symbols=1, fermatas=1, ornaments=1, dynamics=1)


@pytest.mark.parametrize(
    ("element", "name"),
    [
        ("harm", "chord_symbols"), ("fb", "figured_bass"), ("hairpin", "hairpins"), ("pedal", "pedal_marks"),
        ("arpeg", "arpeggios"), ("turn", "ornaments"), ("mordent", "ornaments"), ("octave", "octave_signs"),
    ],
)  # fmt: skip
def test_each_sign_is_counted_by_its_name(tmp_path: Path, element: str, name: str) -> None:
    reading = read(tmp_path, measure(note("c4", 1), more=f'<{element} tstamp="1" staff="1"/>'))
    assert (sounding(reading), +reading.counts.other) == ([(0, 4, 60)], Counter({name: 1}))


def test_each_movement_is_a_piece(tmp_path: Path) -> None:
    file = read_all(tmp_path, document(mdiv(BAR), mdiv(measure("<mRest/>")), mdiv(measure(note("g4", 1)))))
    assert [(reading.name, sounding(reading)) for reading in file.readings] == [
        ("piece.mei#1", [(0, 4, 60)]), ("piece.mei#3", [(0, 4, 67)]),
    ]  # fmt: skip
    assert file.skipped == {"piece.mei#2": "no pitched note in it"}


def test_a_file_is_read_by_what_it_holds(tmp_path: Path) -> None:
    assert sounding(read_all(tmp_path, document(mdiv(BAR)), "piece.xml").readings[0]) == [(0, 4, 60)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<mei/>", "MEI without a <score> in it"),
        (document(mdiv(measure("<mRest/>"))), "no pitched note in it"),
        (document(mdiv(measure(note("h4")))), "MEI that music21 cannot read; convert it to MusicXML"),
        (document(mdiv(BAR))[:-20], "the XML is truncated: it ends in line 1"),
        ('<!DOCTYPE mei [<!ENTITY a "a">]>' + document(mdiv(BAR))[21:], "the XML declares entities"),
    ],
)  # fmt: skip
def test_each_cause_has_its_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidScoreError, match=sentence):
        read_all(tmp_path, text)
