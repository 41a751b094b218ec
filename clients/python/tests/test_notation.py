"""MusicXML is read again with music21 and compared with the notes of the piece."""

import pickle
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from music21 import converter, stream

from fantasia_client import Meter, MeterChange, Note, Piece
from fantasia_client.notation import render_musicxml, write_musicxml
from fantasia_client.types import TempoChange

Sound = tuple[int, Fraction, Fraction, int]
TICKS = 480


def read(data: bytes) -> stream.Score:
    score = converter.parseData(data.decode(), format="musicxml")
    assert isinstance(score, stream.Score)
    return score


def sounds(score: stream.Score) -> Counter[Sound]:
    """(voice, onset, duration, pitch) of all notes in quarter notes, tied notes joined."""
    found: Counter[Sound] = Counter()
    for voice, part in enumerate(score.parts):
        tied: dict[int, Sound] = {}
        for element in sorted(part.recurse().notes, key=lambda element: element.getOffsetInHierarchy(part)):
            onset = Fraction(element.getOffsetInHierarchy(part))
            length = Fraction(element.duration.quarterLength)
            for member in element.notes if element.isChord else [element]:
                number = member.pitch.midi
                start, before = onset, Fraction(0)
                kind = member.tie.type if member.tie else element.tie.type if element.tie else None
                if kind in ("stop", "continue"):
                    _, start, before, _ = tied.pop(number)
                    assert start + before == onset
                sound = (voice, start, before + length, number)
                if kind in ("start", "continue"):
                    tied[number] = sound
                else:
                    found[sound] += 1
        assert not tied
    return found


def programs_of(score: stream.Score) -> list[int | None]:
    players = [part.getInstrument() for part in score.parts]
    return [player.midiProgram if player else None for player in players]


def written(notes: list[Note]) -> Counter[Sound]:
    return Counter(
        (note.voice, Fraction(note.onset_ticks, TICKS), Fraction(note.duration_ticks, TICKS), note.pitch)
        for note in notes
    )


def export(notes: list[Note], meter: Meter, *, length_ticks: int = 0, pickup_ticks: int = 0) -> bytes:
    voices = 1 + max((note.voice for note in notes), default=0)
    return write_musicxml(
        notes,
        meter=meter,
        ticks_per_quarter=TICKS,
        length_ticks=length_ticks,
        tempo_bpm=92.5,
        programs=[0] * voices,
        pickup_ticks=pickup_ticks,
    )


def lines(unit_ticks: int, longest: int) -> st.SearchStrategy[list[list[tuple[int, int, int]]]]:
    """For each of one to four voices: (rest before it, duration, pitch) of each note, in ticks and MIDI pitches."""
    ticks = st.integers(1, longest).map(lambda count: count * unit_ticks)
    rest = st.integers(0, longest).map(lambda count: count * unit_ticks)
    return st.lists(st.lists(st.tuples(rest, ticks, st.integers(21, 108)), max_size=8), min_size=1, max_size=4)


def melodies(plan: list[list[tuple[int, int, int]]]) -> list[Note]:
    notes = []
    for voice, line in enumerate(plan):
        now = 0
        for rest, duration, pitch in line:
            notes.append(Note(now + rest, duration, pitch, voice=voice))
            now += rest + duration
    return notes


METERS = st.sampled_from([Meter(4, 4), Meter(3, 4), Meter(6, 8), Meter(9, 8), Meter(2, 2), Meter(5, 8), Meter(3, 8)])


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(lines(TICKS // 4, 20), METERS, st.integers(0, 5))
def test_sixteenths_are_read_back_as_they_were(
    plan: list[list[tuple[int, int, int]]], meter: Meter, pickup: int
) -> None:
    notes = melodies(plan)
    score = read(export(notes, meter, pickup_ticks=pickup * TICKS // 4))
    assert sounds(score) == written(notes)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(lines(TICKS // 12, 40), METERS)
def test_triplets_and_sixteenths_are_read_back_as_they_were(
    plan: list[list[tuple[int, int, int]]], meter: Meter
) -> None:
    notes = melodies(plan)
    assert sounds(read(export(notes, meter))) == written(notes)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.builds(
            Note, st.integers(0, 3000), st.integers(1, 3000), st.integers(21, 108), st.just(80), st.integers(0, 1)
        ),
        max_size=8,
        unique_by=lambda note: note.pitch,
    )
)
def test_notes_off_the_grid_move_by_at_most_a_thirty_second(notes: list[Note]) -> None:
    score = read(export(notes, Meter(3, 4)))
    pitches = {(note.voice, note.pitch) for note in notes}
    found = sounds(score)
    assert {(voice, pitch) for voice, _, _, pitch in found} == pitches
    for note in notes:
        start, end = note.onset_ticks, note.onset_ticks + note.duration_ticks
        assert any(
            abs(onset * TICKS - start) <= TICKS / 8 and abs((onset + duration) * TICKS - end) <= 3 * TICKS / 8
            for voice, onset, duration, pitch in found
            if (voice, pitch) == (note.voice, note.pitch)
        )


@pytest.mark.parametrize(
    ("meter", "pickup_ticks", "length_ticks", "durations", "first"),
    [
        (Meter(4, 4), 0, 1920, [4], 1),
        (Meter(4, 4), 0, 1921, [4, 4], 1),
        (Meter(4, 4), 0, 0, [4], 1),
        (Meter(3, 4), 480, 1920, [1, 3], 0),
        (Meter(3, 4), 480, 1921, [1, 3, 3], 0),
        (Meter(6, 8), 240, 3120, [0.5, 3, 3], 0),
    ],
)
def test_bars_are_complete_except_for_the_pickup(
    meter: Meter, pickup_ticks: int, length_ticks: int, durations: list[float], first: int
) -> None:
    notes = [Note(0, 240, 60)]
    score = read(export(notes, meter, length_ticks=length_ticks, pickup_ticks=pickup_ticks))
    measures = list(score.parts[0].getElementsByClass(stream.Measure))
    assert [measure.quarterLength for measure in measures] == durations
    assert measures[0].number == first
    assert measures[-1].number == first + len(durations) - 1


def test_a_pickup_is_less_than_a_bar() -> None:
    with pytest.raises(ValueError, match="pickup must be less than a bar of 3 quarter notes, not 3"):
        export([], Meter(3, 4), pickup_ticks=1440)


def test_a_file_names_meter_tempo_instruments_and_title() -> None:
    data = write_musicxml(
        [Note(0, 480, 60), Note(0, 480, 48, voice=1)],
        meter=Meter(6, 8),
        ticks_per_quarter=480,
        length_ticks=0,
        tempo_bpm=92.5,
        programs=[0, 73],
        title="A piece",
    )
    score = read(data)
    (mark,) = score.recurse().getElementsByClass("MetronomeMark")
    assert (mark.number, mark.referent.quarterLength) == (92.5, 1)
    assert {signature.ratioString for signature in score.recurse().getElementsByClass("TimeSignature")} == {"6/8"}
    assert programs_of(score) == [0, 73]
    assert score.metadata.movementName == "A piece"


@pytest.mark.slow
def test_each_program_can_be_written() -> None:
    for first in range(0, 128, 8):
        programs = list(range(first, first + 8))
        data = write_musicxml([], meter=Meter(), ticks_per_quarter=480, length_ticks=0, tempo_bpm=60, programs=programs)
        # music21 reads some instruments by name, and others by program.
        assert [int(number) - 1 for number in re.findall(rb"<midi-program>(\d+)<", data)] == programs


@pytest.mark.parametrize(
    ("scale", "extra", "name"),
    [
        ([57, 59, 60, 62, 64, 65, 68, 69], 68, "G#"),  # A minor: the leading note
        ([62, 64, 65, 67, 69, 70, 73, 74], 70, "B-"),  # D minor
        ([63, 65, 67, 68, 70, 72, 74, 75], 68, "A-"),  # E flat major
        ([64, 66, 68, 69, 71, 73, 75, 76], 75, "D#"),  # E major
    ],
)
def test_notes_are_spelled_in_the_key(scale: list[int], extra: int, name: str) -> None:
    pitches = [scale[0], *scale, scale[4], scale[0], scale[2], scale[0]]
    notes = [Note(index * TICKS, TICKS, pitch) for index, pitch in enumerate(pitches)]
    score = read(export(notes, Meter()))
    assert {element.pitch.name for element in score.recurse().notes if element.pitch.midi == extra} == {name}


def test_a_piece_is_written_with_its_own_values(piece: Piece) -> None:
    score = read(render_musicxml(piece))
    assert sounds(score) == written(list(piece.notes))
    assert programs_of(score) == [19, 19]
    assert [len(part.getElementsByClass(stream.Measure)) for part in score.parts] == [2, 2]
    assert score.metadata.movementName == f"chorales, seed {2**64 - 1}"


def test_equal_pieces_have_equal_files_on_every_day(piece: Piece) -> None:
    data = render_musicxml(piece)
    assert b"<software>" in data
    assert b"encoding-date" not in data
    program = (
        "import datetime, pickle, sys\n"
        "class Date(datetime.date):\n"
        "    today = classmethod(lambda cls: cls(2001, 2, 3))\n"
        "datetime.date = Date\n"
        "from fantasia_client.notation import render_musicxml\n"
        "sys.stdout.buffer.write(render_musicxml(pickle.load(sys.stdin.buffer)))"
    )
    command = [sys.executable, "-c", program]
    other = subprocess.run(command, input=pickle.dumps(piece), capture_output=True, check=True).stdout  # noqa: S603
    assert other == data


def test_later_tempos_and_the_pickup_are_those_of_the_piece(piece: Piece) -> None:
    changes = (TempoChange(1440, 60.0), TempoChange(99_999, 30.0))
    score = read(render_musicxml(replace(piece, pickup_ticks=480, tempo_changes=changes)))
    marks = score.parts[0].recurse().getElementsByClass("MetronomeMark")
    found = [(mark.getOffsetInHierarchy(score.parts[0]), mark.number) for mark in marks]
    assert found == [(0, 90), (3, 60)]
    assert [measure.quarterLength for measure in score.parts[0].getElementsByClass(stream.Measure)] == [1, 3, 3]


def test_later_meters_begin_bars(piece: Piece) -> None:
    notes = tuple(Note(onset, 480, 60) for onset in range(0, 5760, 480))
    # A quarter, a bar of 3/4, one that is cut short after two quarters, then 6/8 and an empty bar of 2/4.
    changes = (MeterChange(2881, Meter(6, 8)), MeterChange(5760, Meter(2, 4)), MeterChange(99_999, Meter(3, 8)))
    several = replace(piece, notes=notes, length_ticks=6720, pickup_ticks=480, meter_changes=changes)
    part = read(render_musicxml(several)).parts[0]
    measures = list(part.getElementsByClass(stream.Measure))
    assert [measure.quarterLength for measure in measures] == [1, 3, 2, 3, 3, 2]
    found = [(measure.offset, measure.timeSignature.ratioString) for measure in measures if measure.timeSignature]
    assert found == [(0, "3/4"), (6, "6/8"), (12, "2/4")]
    assert sounds(read(render_musicxml(several))) == written(list(notes))
    tuplets = [Note(onset, 160, 60) for onset in range(0, 4800, 160)]
    close = tuple(MeterChange(tick, Meter(3 + tick % 2, 4)) for tick in (700, 701, 702, 1111))
    render_musicxml(replace(piece, notes=tuple(tuplets), length_ticks=4800, meter_changes=close))


def test_without_music21_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['music21'] = None\n"
        "import fantasia_client\n"
        "try:\n    import fantasia_client.notation\n"
        "except fantasia_client.MissingExtraError as error:\n    print(error)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert "pip install 'fantasia-client[notation]'" in printed
