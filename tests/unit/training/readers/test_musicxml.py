"""What a MusicXML score sounds like: docs/formats.md, row by row."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from music.errors import InvalidScoreError
from music.note_counts import NoteCounts
from music.score import Meter, Score
from tests.unit.training.readers.musicxml_documents import HEAD, note, rest, score
from training.readers.musicxml import read_musicxml
from training.readers.reading import Reading, ReadOptions
from training.readers.xml_tree import parse_xml

BAR = note("C4", 8)


def read(text: str, options: ReadOptions | None = None) -> Reading:
    (reading,) = read_musicxml(parse_xml(text.encode()), "piece", options or ReadOptions()).readings
    assert reading.counts.balanced, reading.counts
    return reading


def sounding(text: str) -> list[tuple[int, int, int]]:
    """Onset and duration in eighths, and pitch."""
    return [(n.onset // 240, n.duration // 240, n.pitch) for n in read(text).score.notes]


def attributes(inner: str) -> str:
    return f"<attributes><divisions>2</divisions>{inner}</attributes>"


def transpose(diatonic: int, chromatic: int, octaves: int = 0, number: str = "") -> str:
    steps = f"<diatonic>{diatonic}</diatonic><chromatic>{chromatic}</chromatic>"
    return f"<transpose{number}>{steps}<octave-change>{octaves}</octave-change></transpose>"


@pytest.mark.parametrize(
    ("instrument", "pitch", "fifths"),
    [
        (transpose(0, 0, -1), 48, 2),  # double bass, guitar
        (transpose(-1, -2), 58, 0),  # trumpet in B flat
        (transpose(2, 3), 63, -1),  # clarinet in E flat
        (transpose(-5, -9), 51, -1),  # horn in E flat
        (transpose(-4, -7), 53, 1),  # horn in F
        (transpose(-5, -9, -1), 39, -1),  # baritone saxophone
        (transpose(-1, -2, -1), 46, 0),  # bass clarinet
        ("<transpose><chromatic>-2</chromatic></transpose>", 58, 0),  # diatonic steps are optional
        (transpose(0, 0), 60, 2),
        ("", 60, 2),
    ],
)  # fmt: skip
def test_transposing_parts_give_sounding_pitch_and_key(instrument: str, pitch: int, fifths: int) -> None:
    bar = attributes(f"<key><fifths>2</fifths></key>{instrument}") + BAR
    reading = read(score([bar]))
    assert [note.pitch for note in reading.score.notes] == [pitch]
    assert reading.score.key_sharps == fifths


def test_a_player_who_changes_instrument_transposes_from_there_on() -> None:
    text = score([attributes(transpose(-1, -2)) + BAR, attributes(transpose(-2, -3)) + BAR, BAR])
    assert [pitch for _, _, pitch in sounding(text)] == [58, 57, 57]


def test_each_staff_may_transpose_by_itself() -> None:
    two = attributes("<staves>2</staves>" + transpose(-1, -2, number=' number="2"'))
    bar = note("C4", 8, after="<staff>1</staff>") + "<backup><duration>8</duration></backup>"
    text = score([two + bar + note("C3", 8, after="<staff>2</staff>")])
    assert [(n.pitch, n.voice) for n in read(text).score.notes] == [(60, 0), (46, 1)]


def test_octave_clefs_and_octave_brackets_are_pitch_already() -> None:
    clef = "<clef><sign>G</sign><line>2</line><clef-octave-change>-1</clef-octave-change></clef>"
    bracket = '<direction><direction-type><octave-shift type="down" size="8"/></direction-type></direction>'
    assert sounding(score([attributes(clef) + bracket + BAR])) == [(0, 8, 60)]


def test_alterations_sound_and_quarter_tones_are_rounded_and_counted() -> None:
    pitches = "".join(
        f"<note><pitch><step>F</step><alter>{alter}</alter><octave>4</octave></pitch><duration>2</duration></note>"
        for alter in ("1", "-1", "2", "0.6")
    )
    reading = read(score([pitches]))
    assert [n.pitch for n in reading.score.notes] == [66, 64, 67, 66]
    assert reading.counts.changed == Counter(microtones=1)


def test_chords_voices_and_gaps_stand_where_they_are_written() -> None:
    chord = note("C4", 4) + note("E4", 4, before="<chord/>") + note("G4", 4, before="<chord/>") + rest(4)
    second = "<backup><duration>8</duration></backup><forward><duration>2</duration></forward>" + note("C3", 4)
    assert sounding(score([chord + second, note("D4", 8)])) == [
        (0, 4, 60), (0, 4, 64), (0, 4, 67), (2, 4, 48), (8, 8, 62),
    ]  # fmt: skip


def test_divisions_may_differ_by_part_and_change_on_the_way() -> None:
    fine = "<attributes><divisions>12</divisions></attributes>"
    tuplet = "".join(note(name, 8) for name in ("C4", "D4", "E4"))
    text = score([fine + tuplet + note("F4", 24), HEAD + BAR], [note("C3", 8), note("D3", 8)])
    assert [(n.onset, n.duration) for n in read(text).score.notes if n.voice == 0] == [
        (0, 320), (320, 320), (640, 320), (960, 960), (1920, 1920),
    ]  # fmt: skip


def test_a_duration_that_is_not_stated_follows_from_the_note_s_look() -> None:
    pitch = "<pitch><step>C</step><octave>4</octave></pitch>"
    triplet = "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes></time-modification>"
    bar = f"<note>{pitch}<type>quarter</type><dot/></note><note>{pitch}<type>eighth</type>{triplet}</note>"
    reading = read(score([bar + f"<note>{pitch}</note>"]))
    assert [(n.onset, n.duration) for n in reading.score.notes] == [(0, 720), (720, 160)]
    assert reading.counts.left_out == Counter(no_duration=1)


@pytest.mark.parametrize("damage", ["long", "-4", "", "1e999"])
def test_a_damaged_duration_costs_one_note_at_most(damage: str) -> None:
    pitch, kind = "<pitch><step>E</step><octave>4</octave></pitch>", "<type>half</type>"
    seen = score([f"<note>{pitch}<duration>{damage}</duration>{kind}</note>" + note("D4", 4), BAR])
    assert sounding(seen) == [(0, 4, 64), (4, 4, 62), (8, 8, 60)]
    unseen = read(score([f"<note>{pitch}<duration>{damage}</duration></note>" + note("D4", 8), BAR]))
    assert [(n.onset, n.pitch) for n in unseen.score.notes] == [(0, 62), (1920, 60)]
    assert unseen.counts.left_out == Counter(no_duration=1)


@pytest.mark.parametrize("tie", ["<tie type='{}'/>", "<notations><tied type='{}'/></notations>"])
def test_tied_notes_are_one_note_across_bars_voices_and_staves(tie: str) -> None:
    start, stop = tie.format("start"), tie.format("stop")
    first = rest(4) + note("C4", 4, after=start) + note("E4", 4, before="<chord/>")
    text = score([first, note("C4", 8, after=start + stop), note("C4", 2, after=stop + "<staff>2</staff>") + rest(6)])
    assert sounding(text) == [(4, 14, 60), (4, 4, 64)]
    assert read(text).counts.written == 2


def test_a_tie_that_comes_from_nowhere_strikes_its_note() -> None:
    stop = "<tie type='stop'/>"
    reading = read(score([note("C4", 2) + note("D4", 2, after=stop) + rest(2) + note("C4", 2, after=stop)]))
    assert [n.pitch for n in reading.score.notes] == [60, 62, 60]
    assert (reading.counts.written, reading.counts.changed) == (3, Counter(tie_without_start=2))


def test_what_does_not_sound_is_left_out_and_counted_by_reason() -> None:
    bar = (
        note("D4", before="<grace/>")
        + note("F4", before="<grace/><chord/>")
        + note("C4")
        + note("G5", before="<cue/>")
        + "<note><unpitched><display-step>E</display-step></unpitched><duration>2</duration></note>"
        + "<note><pitch><step>H</step><octave>4</octave></pitch><duration>1</duration></note>"
        + "<note><duration>1</duration></note>"
        + note("C9", 1).replace("<octave>9", "<octave>10")
        + note("E4", 2)
    )
    reading = read(score([bar]))
    assert [(n.onset // 240, n.pitch) for n in reading.score.notes] == [(0, 60), (9, 64)], "they take their time"
    assert reading.counts.left_out == Counter(grace=2, cue=1, percussion=1, unreadable=2, out_of_range=1)


def test_notes_of_the_percussion_channel_are_no_pitches() -> None:
    kit = (
        '<part-name>Kit</part-name><score-instrument id="I1"/><score-instrument id="I2"/>'
        '<midi-instrument id="I1"><midi-channel>10</midi-channel></midi-instrument>'
        '<midi-instrument id="I2"><midi-channel>2</midi-channel><midi-program>12</midi-program></midi-instrument>'
    )
    text = score([note("C4") + note("D4", after='<instrument id="I2"/>')], headers={0: kit})
    reading = read(text)
    assert [n.pitch for n in reading.score.notes] == [62]
    assert (reading.counts.left_out, reading.score.program) == (Counter(percussion=1), 11)


def test_hidden_notes_and_ornamented_notes_sound_as_written() -> None:
    trill = "<notations><ornaments><trill-mark/><tremolo>3</tremolo></ornaments><fermata/><arpeggiate/></notations>"
    reading = read(score([note("C4", 4, attributes=' print-object="no"') + note("D4", 4, after=trill)]))
    assert [(n.onset, n.duration, n.pitch) for n in reading.score.notes] == [(0, 960, 60), (960, 960, 62)]
    assert +reading.counts.other == Counter(ornaments=1, tremolos=1, fermatas=1, arpeggios=1)


def test_chord_symbols_and_figured_bass_are_counted_and_are_no_notes() -> None:
    symbol = "<harmony><root><root-step>C</root-step></root><kind>major</kind></harmony>"
    figures = "<figured-bass><figure><figure-number>6</figure-number></figure></figured-bass>"
    reading = read(score([symbol + figures + BAR]))
    assert (reading.counts.written, reading.counts.kept) == (1, 1)
    assert (reading.counts.other["chord_symbols"], reading.counts.other["figured_bass"]) == (1, 1)


@pytest.mark.parametrize(
    ("inside", "element", "name"),
    [
        ("note", "<lyric><text>la</text></lyric>", "lyrics"),
        ("note", "<notations><slide type='start'/></notations>", "slides"),
        ("note", "<notations><glissando type='start'/></notations>", "slides"),
        ("note", "<notations><technical><bend><bend-alter>1</bend-alter></bend></technical></notations>", "bends"),
        ("note", "<notations><technical><harmonic/></technical></notations>", "harmonics"),
        ("note", "<notations><ornaments><turn/></ornaments></notations>", "ornaments"),
        ("note", "<notations><ornaments><inverted-mordent/></ornaments></notations>", "ornaments"),
        ("measure", "<direction><direction-type><wedge type='crescendo'/></direction-type></direction>", "hairpins"),
        ("measure", "<direction><direction-type><pedal type='start'/></direction-type></direction>", "pedal_marks"),
        (
            "measure",
            "<attributes><measure-style><measure-repeat type='start'>1</measure-repeat></measure-style></attributes>",
            "bar_repeat_signs",
        ),
        (
            "measure",
            "<attributes><transpose><chromatic>0</chromatic><double/></transpose></attributes>",
            "octave_doublings",
        ),
    ],
)  # fmt: skip
def test_what_stands_beside_notes_is_counted(inside: str, element: str, name: str) -> None:
    plain = note("C4", 4) + note("D4", 4)
    with_it = note("C4", 4, after=element) + note("D4", 4) if inside == "note" else element + plain
    reading = read(score([BAR, with_it]))
    assert +reading.counts.other == Counter({name: 1})
    assert reading.score == read(score([BAR, plain])).score


def test_bars_of_another_length_than_the_meter_are_counted() -> None:
    assert read(score([note("C4", 2), BAR, note("C4", 6), note("D4", 2), BAR])).counts.other["irregular_bars"] == 2


def direction(inner: str = "", sound: str = "", more: str = "") -> str:
    kind = f"<direction-type>{inner}</direction-type>" if inner else ""
    return f"<direction>{kind}{more}{sound}</direction>"


def test_dynamics_are_velocities_from_their_place_on() -> None:
    soft, loud = direction("<dynamics><pp/></dynamics>"), direction("<dynamics><ff/></dynamics>")
    stated = direction("<dynamics><p/></dynamics>", '<sound dynamics="100"/>')
    accent = direction("<dynamics><sfz/></dynamics>")
    bar = note("C4") + soft + note("D4") + accent + note("E4") + loud + note("F4")
    text = score([bar, stated + note("G4", 4) + note("A4", 4, attributes=' dynamics="50"')])
    loud_and_soft = read(text).score
    assert [n.velocity for n in loud_and_soft.notes] == [80, 33, 33, 112, 90, 45]
    assert loud_and_soft.has_dynamics
    assert read(score([soft + note("C4")])).score.has_dynamics, "the dynamics are known, and do not change"
    assert not read(score([accent + note("C4")])).score.has_dynamics


def test_dynamics_of_one_staff_leave_the_other_alone() -> None:
    soft = direction("<dynamics><pp/></dynamics>", more="<staff>2</staff>")
    bar = note("C5", 8, after="<staff>1</staff>") + "<backup><duration>8</duration></backup>" + soft
    assert [n.velocity for n in read(score([bar + note("C3", 8, after="<staff>2</staff>")])).score.notes] == [80, 33]


@pytest.mark.parametrize(
    ("mark", "bpm"),
    [
        (direction(sound='<sound tempo="66"/>'), 66),
        ('<sound tempo="72.5"/>', 72.5),
        (direction("<metronome><beat-unit>half</beat-unit><per-minute>60</per-minute></metronome>"), 120),
        (
            direction(
                "<metronome><beat-unit>quarter</beat-unit><beat-unit-dot/><per-minute>ca. 60</per-minute></metronome>"
            ),
            90,
        ),
        (
            direction(
                "<metronome><beat-unit>half</beat-unit><per-minute>60</per-minute></metronome>", '<sound tempo="50"/>'
            ),
            50,
        ),
        (direction(sound='<sound tempo="0"/>'), 100),
        (direction("<words>Allegro</words>"), 100),
    ],
)  # fmt: skip
def test_tempo_is_quarters_a_minute(mark: str, bpm: float) -> None:
    assert read(score([mark + BAR])).score.tempo_bpm == pytest.approx(bpm)


@pytest.mark.parametrize("sound", ['<sound tempo="fast"/>', '<sound dynamics="loud"/>'])
def test_a_direction_that_cannot_be_read_is_counted(sound: str) -> None:
    reading = read(score([sound + BAR]))
    assert (len(reading.score.notes), +reading.counts.other) == (1, Counter(unreadable_directions=1))


def test_the_first_tempo_counts_and_changes_are_counted() -> None:
    bars = [direction(sound=f'<sound tempo="{bpm}"/>') + BAR for bpm in (60, 60, 90)]
    reading = read(score([BAR, BAR, BAR], bars))
    assert reading.score.tempo_bpm == pytest.approx(60)
    assert reading.counts.other["tempo_changes"] == 1


@pytest.mark.parametrize(
    ("time", "meter"),
    [
        ("<time><beats>6</beats><beat-type>8</beat-type></time>", Meter(6, 8)),
        ("<time><beats>3+2</beats><beat-type>8</beat-type></time>", Meter(5, 8)),
        (
            "<time><beats>3</beats><beat-type>4</beat-type><beats>1</beats><beat-type>8</beat-type></time>",
            Meter(7, 8),
        ),
        ("<time><senza-misura/></time>", None),
        ("<time><beats>4</beats><beat-type>6</beat-type></time>", None),
        ("", None),
    ],
)  # fmt: skip
def test_meters(time: str, meter: Meter | None) -> None:
    assert read(score([attributes(time) + BAR, BAR])).score.meter == meter


def test_a_meter_that_changes_is_none_and_counted() -> None:
    change = "<attributes><time><beats>3</beats><beat-type>4</beat-type></time></attributes>"
    reading = read(score([BAR, change + note("C4", 6)]))
    assert (reading.score.meter, reading.counts.other["meter_changes"]) == (None, 1)


def test_a_key_that_changes_is_the_first_and_counted() -> None:
    keys = [f"<attributes><key><fifths>{fifths}</fifths></key></attributes>" for fifths in (0, 3)]
    reading = read(score([HEAD + keys[0] + BAR, keys[1] + BAR]))
    assert (reading.score.key_sharps, reading.counts.other["key_changes"]) == (0, 1)


def test_notes_of_one_pass_alone_are_counted() -> None:
    repeat = '<barline location="right"><repeat direction="backward"/></barline>'
    reading = read(score([BAR.replace("<note>", '<note time-only="1">') + repeat]))
    assert [note.onset for note in reading.score.notes] == [0, 1920]
    assert reading.counts.other["time_only"] == 1


def test_many_parts_beside_a_long_one_are_refused_before_they_are_filled_up() -> None:
    parts = f'<part id="0">{"<measure/>" * 2000}</part>' + '<part id="1"><measure/></part>' * 600
    with pytest.raises(InvalidScoreError, match="601 parts of 2,000 bars, more than 1,000,000 bars together"):
        read(f"<score-partwise>{parts}</score-partwise>")


def test_structure_is_looked_for_in_all_parts() -> None:
    silent = attributes("") + note("C6", 2)
    second = (
        attributes("<key><fifths>-3</fifths></key><time><beats>4</beats><beat-type>4</beat-type></time>")
        + direction(sound='<sound tempo="70"/>')
        + BAR
    )
    header = '<part-name>B</part-name><midi-instrument id="x"><midi-program>43</midi-program></midi-instrument>'
    piece = read(score([silent, note("C6", 8)], [second, BAR], headers={1: header})).score
    assert (piece.meter, piece.pickup_ticks, piece.key_sharps, piece.program) == (Meter(4, 4), 0, -3, 42)
    assert [n.onset for n in piece.notes if n.voice == 0] == [0, 1920], "the first part's short bar is filled"
    assert piece.tempo_bpm == pytest.approx(70)


def test_a_pickup_is_a_first_bar_that_is_short_in_all_parts() -> None:
    piece = read(score([note("G4", 2), BAR, note("C4", 6)], [rest(2), note("C3", 8), note("C3", 6)])).score
    assert (piece.pickup_ticks, piece.length_ticks) == (480, 480 + 1920 + 1440)


def test_bars_without_anything_last_as_long_as_their_meter() -> None:
    assert sounding(score([BAR, "", note("D4", 8)])) == [(0, 8, 60), (16, 8, 62)]
    three = attributes("<time><beats>3</beats><beat-type>4</beat-type></time>")
    whole = "<note><rest measure='yes'/><duration>8</duration></note>"  # a whole rest stands for any bar
    assert sounding(score([three + note("C4", 6), whole, note("D4", 6)])) == [(0, 6, 60), (12, 6, 62)]


def test_rests_and_gaps_do_not_lengthen_a_bar() -> None:
    gap = "<forward><duration>{}</duration></forward>"
    assert sounding(score([BAR, note("D4", 8)], [rest(16), rest(8)])) == [(0, 8, 60), (8, 8, 62)]
    assert sounding(score([note("C4", 4) + gap.format(4), note("D4", 8)])) == [(0, 4, 60), (8, 8, 62)], "but fill it"
    assert read(score([BAR, note("D4", 6) + gap.format(2)])).score.length_ticks == 14 * 240, "the last may be short"
    implicit = score([note("C4", 2) + gap.format(6), note("D4", 8)]).replace(' number="1"', ' implicit="yes"')
    assert sounding(implicit) == [(0, 2, 60), (2, 8, 62)], "and so may a pickup"


def test_a_part_that_overfills_a_bar_does_not_shift_the_others() -> None:
    assert sounding(score([note("C4", 9), note("D4", 8)], [note("C3", 8), note("D3", 8)])) == [
        (0, 9, 60), (0, 8, 48), (8, 8, 62), (8, 8, 50),
    ]  # fmt: skip
    cadenza = score([note("C4", 24), note("D4", 8)], [rest(8), note("D3", 8)])
    assert [onset for onset, _, _ in sounding(cadenza)] == [0, 24, 24]


def test_a_part_that_ends_early_is_silent() -> None:
    assert sounding(score([BAR, note("D4", 8)], [note("C3", 8)], [])) == [(0, 8, 60), (0, 8, 48), (8, 8, 62)]


def test_voices_are_staves_from_the_highest_to_the_lowest() -> None:
    low = [note("C2", 8)]
    piano = note("C5", 8, after="<staff>1</staff>") + "<backup><duration>8</duration></backup>"
    piano += note("E3", 8, after="<staff>2</staff>")
    assert [(n.voice, n.pitch) for n in read(score(low, [piano], [rest(8)])).score.notes] == [(0, 72), (1, 52), (2, 36)]


def test_chosen_parts_are_voices_in_their_order_and_the_others_are_counted() -> None:
    headers = {index: f"<part-name>{name}</part-name>" for index, name in enumerate(("Bass 1", "Flute", "Alto"))}
    text = score([note("C3", 8)], [note("C6", 4) * 2], [note("E4", 8)], headers=headers)
    reading = read(text, ReadOptions(parts=("Alto", "Bass")))
    assert [(n.voice, n.pitch) for n in reading.score.notes] == [(0, 64), (1, 48)]
    assert reading.counts == NoteCounts(4, 0, 2, Counter(other_parts=2), other=reading.counts.other)
    with pytest.raises(InvalidScoreError, match="has no parts called Tuba"):
        read(text, ReadOptions(parts=("Tuba",)))


def test_a_score_by_measure_is_the_same_score() -> None:
    by_part = score([BAR, note("D4", 8)], [note("C3", 8), note("D3", 8)])
    parts = parse_xml(by_part.encode()).findall("part")
    assert len(parts) == 2
    measures = ""
    for first, second in (("C4", "C3"), ("D4", "D3")):
        head = HEAD if first == "C4" else ""
        measures += f'<measure number="1"><part id="P0">{head}{note(first, 8)}</part>'
        measures += f'<part id="P1">{head}{note(second, 8)}</part></measure>'
    by_measure = f"<score-timewise><part-list/>{measures}</score-timewise>"
    assert read(by_measure).score == read(by_part).score


def test_a_measure_that_one_part_lacks_is_silent_there() -> None:
    text = (
        f'<score-timewise><measure number="1"><part id="A">{HEAD}{BAR}</part></measure>'
        f'<measure number="2"><part id="A">{BAR}</part><part id="B">{HEAD}{note("C3", 8)}</part></measure>'
        "</score-timewise>"
    )
    assert sounding(text) == [(0, 8, 60), (8, 8, 60), (8, 8, 48)]


@pytest.mark.parametrize(
    ("measure", "sentence"),
    [
        ("<backup/>", "measure 2 of part P0: <backup> holds an invalid number"),
        ("<backup><duration>-4</duration></backup>", "measure 2 of part P0: a duration is negative"),
        (attributes("").replace("2", "0"), "measure 2 of part P0: divisions must be more than 0"),
        ("<forward><duration>1e999</duration></forward>", "measure 2 of part P0: <forward> holds an invalid number"),
        ("<forward><duration>nan</duration></forward>", "measure 2 of part P0: <forward> holds an invalid number"),
        (attributes("<time><beats>x</beats><beat-type>4</beat-type></time>"), "<attributes> holds an invalid number"),
        ("<forward><duration>99999999</duration></forward>" + BAR, "more than the maximum of 10,000"),
    ],
)  # fmt: skip
def test_timing_that_cannot_be_read_is_refused_by_place(measure: str, sentence: str) -> None:
    with pytest.raises(InvalidScoreError, match=sentence):
        read(score([BAR, measure, BAR]))


@pytest.mark.parametrize("text", [score(["", rest(8)]), score([note("C4", before="<grace/>")])])
def test_a_score_without_a_sounding_note_is_refused(text: str) -> None:
    with pytest.raises(InvalidScoreError, match="no pitched note in it"):
        read(text)


def test_the_double_bass_of_the_flute_and_the_cello(tmp_path: Path) -> None:
    """A part of eight bars an octave below what is written, and a first bar that one of two parts fills."""
    bass = [HEAD.replace("</attributes>", transpose(0, 0, -1) + "</attributes>") + note("C3", 8)] + [note("D3", 8)] * 7
    assert {n.pitch for n in read(score(bass)).score.notes} == {36, 38}
    piece = read(score([note("C5")] + [note("C5") * 4] * 7, [note("C3") * 4] * 8)).score
    assert (piece.pickup_ticks, len(piece.notes), piece.length_ticks) == (0, 61, 8 * 1920)


NAMES = st.sampled_from(("C4", "D4", "E4", "F#4"))
KINDS = st.sampled_from(
    ("", "<chord/>", "<grace/>", "<cue/>", "<grace/><chord/>", "rest", "unpitched", "start", "stop", "both", "broken")
)
SIGNS = st.sampled_from(("", "", "forward", "backward", "both", "ending 1", "ending 2", "dacapo", "fine"))


def written_note(name: str, kind: str, duration: int) -> str:
    match kind:
        case "rest":
            return rest(duration)
        case "unpitched":
            return f"<note><unpitched/><duration>{duration}</duration></note>"
        case "broken":
            return "<note><pitch/><duration>1</duration></note>"
        case "start" | "stop":
            return note(name, duration, after=f"<tie type='{kind}'/>")
        case "both":
            return note(name, duration, after="<tie type='stop'/><tie type='start'/>")
    return note(name, duration, before=kind)


def written_bar(notes: list[tuple[str, str, int]], sign: str) -> str:
    body = "".join(written_note(*one) for one in notes)
    forward, backward = '<repeat direction="forward"/>', '<repeat direction="backward"/>'
    if sign.startswith("ending"):
        number = sign[-1]
        left = f'<ending number="{number}" type="start"/>'
        right = f'<ending number="{number}" type="stop"/>' + (backward if number == "1" else "")
    else:
        left = forward if sign in ("forward", "both") else ""
        right = backward if sign in ("backward", "both") else ""
    jump = {"dacapo": '<sound dacapo="yes"/>', "fine": '<sound fine="yes"/>'}.get(sign, "")
    return f"<barline>{left}</barline>{body}{jump}<barline>{right}</barline>"


BARS = st.lists(
    st.builds(written_bar, st.lists(st.tuples(NAMES, KINDS, st.integers(0, 4)), max_size=6), SIGNS),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(BARS, min_size=1, max_size=3), st.booleans())
def test_every_note_is_kept_or_counted_whatever_the_score(parts: list[list[str]], play_repeats: bool) -> None:
    text = score(*parts)
    try:
        reading = read(text, ReadOptions(play_repeats=play_repeats))
    except InvalidScoreError:
        with pytest.raises(InvalidScoreError, match="no pitched note in it"):
            read(text)
        return
    heads = [note for note in parse_xml(text.encode()).iter("note") if note.find("rest") is None]
    begun = [note for note in heads if all(tie.get("type") != "stop" for tie in note.iterfind("tie"))]
    piece: Score = reading.score
    assert len(begun) <= reading.counts.written <= len(heads)
    assert reading.counts.repeated >= 0
    assert play_repeats or not reading.counts.repeated
    assert reading.counts.kept == len(piece.notes)
    assert piece.notes == tuple(sorted(piece.notes, key=lambda n: (n.onset, n.voice, n.pitch)))
    assert all(n.end <= piece.length_ticks for n in piece.notes)
