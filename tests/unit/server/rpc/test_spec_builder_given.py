"""Requests with a given piece, regions, constraints and candidates: what they become, and what is refused."""

import pytest

from fantasia.v1 import generation_pb2 as pb
from music.bar_lines import BarLines
from music.bundle import Bundle
from music.composition.task import Length
from music.midi import write_midi
from music.score import Meter, MeterChange, Note, Score, TempoChange
from music.tokenizers import GridTokenizer
from server.errors import InvalidRequestError
from server.rpc.generation_spec import GenerationSpec, ModelTerms
from server.rpc.request_limits import RequestLimits
from server.rpc.resume_token import ResumeTokens
from server.rpc.spec_builder import build_generation_spec, is_plain

BAR = 1920


def a_note(onset: int, pitch: int = 60, voice: int = 0, duration: int = 480) -> pb.Note:
    return pb.Note(onset_ticks=onset, duration_ticks=duration, pitch=pitch, voice=voice)


def notes(bars: int = 4, **fields: object) -> pb.GivenPiece:
    """A soprano of quarter notes."""
    every = [a_note(index * 480, 60 + index % 5) for index in range(4 * bars)]
    return pb.GivenPiece(notes=pb.NoteList(notes=every, **fields))  # type: ignore[arg-type]


def spec_of(bundle: Bundle, request: pb.GenerateRequest, limits: RequestLimits | None = None) -> GenerationSpec:
    return build_generation_spec(request, ModelTerms(bundle, limits or RequestLimits()))


def violations(bundle: Bundle, request: pb.GenerateRequest, limits: RequestLimits | None = None) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        spec_of(bundle, request, limits)
    return {violation.field: violation.description for violation in caught.value.violations}


def test_a_request_that_only_composes_is_plain() -> None:
    assert is_plain(pb.GenerateRequest(bars=4, velocity_shape=pb.VelocityShape(), transposition=3, candidates=4))
    assert is_plain(pb.GenerateRequest(constraints=pb.Constraints(), controls=pb.Controls()))
    for request in (
        pb.GenerateRequest(given=pb.GivenPiece()),
        pb.GenerateRequest(rewrite=[pb.Region()]),
        pb.GenerateRequest(constraints=pb.Constraints(no_rests=True)),
        pb.GenerateRequest(controls=pb.Controls(density=2)),
        pb.GenerateRequest(open=pb.OpenLength(min_bars=1)),
    ):
        assert not is_plain(request)


@pytest.mark.parametrize(
    ("request_", "length"),
    [
        (pb.GenerateRequest(bars=2), Length(6 * BAR)),
        (pb.GenerateRequest(steps=3), Length(4 * BAR + 360)),
        (pb.GenerateRequest(seconds=1.0), Length(4 * BAR + 960)),  # at 120
        (pb.GenerateRequest(), Length(4 * BAR + 512 * 120, is_open=True)),
        (pb.GenerateRequest(rewrite=[pb.Region()]), Length(4 * BAR)),
        (pb.GenerateRequest(rewrite=[pb.Region()], bars=1), Length(5 * BAR)),
        (
            pb.GenerateRequest(open=pb.OpenLength(min_bars=1, max_bars=3)),
            Length(7 * BAR, is_open=True, min_ticks=5 * BAR),
        ),
    ],
)
def test_lengths_are_added_to_the_given_piece(bundle: Bundle, request_: pb.GenerateRequest, length: Length) -> None:
    request_.given.CopyFrom(notes(tempo_bpm=120.0))

    assert spec_of(bundle, request_).length == length


def test_an_incomplete_bar_is_completed_first(bundle: Bundle) -> None:
    given = pb.GivenPiece(notes=pb.NoteList(notes=[a_note(0), a_note(480, duration=700)], pickup_ticks=480))
    spec = spec_of(bundle, pb.GenerateRequest(given=given, bars=2))

    assert spec.given is not None
    assert spec.given.length_ticks == 1200  # rounded up to a step
    assert spec.length == Length(480 + 3 * BAR)


def test_seconds_are_at_the_tempo_where_the_given_piece_ends(bundle: Bundle) -> None:
    score = Score((Note(0, 1920, 60),), 1920, tempo_bpm=60.0, tempo_changes=(TempoChange(960, 120.0),))
    given = pb.GivenPiece(midi=write_midi(score))

    assert spec_of(bundle, pb.GenerateRequest(given=given, seconds=1.0)).length == Length(1920 + 960)
    assert spec_of(bundle, pb.GenerateRequest(given=given, seconds=1.0, tempo_bpm=60)).length == Length(1920 + 480)


def test_what_is_returned_follows_the_given_piece(bundle: Bundle) -> None:
    score = Score(
        (Note(0, 1920, 72, 80, 0), Note(0, 1920, 48, 80, 1)),
        1920,
        Meter(5, 4),
        tempo_bpm=66.0,
        tempo_changes=(TempoChange(960, 120.0),),
        program=40,
        programs=(40, 42),
    )
    given = pb.GivenPiece(midi=write_midi(score), voices=[0, 3])
    spec = spec_of(bundle, pb.GenerateRequest(given=given, bars=1))

    assert spec.finishing.bar_lines == BarLines(Meter(5, 4))
    assert (spec.finishing.tempo_bpm, spec.finishing.tempo_changes) == (66.0, (TempoChange(960, 120.0),))
    assert [spec.finishing.program_of(voice) for voice in range(4)] == [40, 40, 40, 42]
    assert spec.given is not None
    assert not spec.given.meter_known
    assert spec.length == Length(2 * 2400)

    other = spec_of(bundle, pb.GenerateRequest(given=given, bars=1, program=3, tempo_bpm=99, voice_programs=[7]))
    assert [other.finishing.program_of(voice) for voice in range(4)] == [7, 3, 3, 3]
    assert (other.finishing.tempo_bpm, other.finishing.tempo_changes) == (99.0, ())


def in_meters(meter: Meter, *changes: MeterChange, pickup: int = 0, length: int = 9600) -> pb.GivenPiece:
    """A soprano of quarter notes in a MIDI file."""
    score = Score(
        tuple(Note(onset, 480, 60) for onset in range(0, length, 480)),
        length,
        meter,
        pickup_ticks=pickup,
        meter_changes=changes,
    )
    return pb.GivenPiece(midi=write_midi(score))


def bars(first: int, last: int) -> pb.Region:
    return pb.Region(bars=pb.BarRange(first=first, last=last))


THREE_THEN_FOUR = in_meters(Meter(3, 4), MeterChange(4800, Meter(4, 4)), pickup=480)
"""A pickup, three bars of 3/4, and two and a half of 4/4."""


def test_a_piece_in_several_meters_is_continued_in_the_last(bundle: Bundle) -> None:
    spec = spec_of(bundle, pb.GenerateRequest(given=THREE_THEN_FOUR, bars=2))

    assert spec.finishing.bar_lines == BarLines(Meter(3, 4), 480, (MeterChange(4800, Meter(4, 4)),))
    assert spec.length == Length(4800 + 5 * BAR)
    assert spec.bar_ticks == BAR
    assert spec.given is not None
    assert (spec.given.meter_known, spec.given.meter_changes, spec.given.left_out) == (True, 1, {})
    positions = bundle.tokenizer.positions
    # The model hears 4/4 with the bar lines of the part that is added.
    assert spec.plan.position_index == positions.start(Meter(4, 4), 4800 % BAR)

    alone = spec_of(bundle, pb.GenerateRequest(given=THREE_THEN_FOUR, bars=2, omit_given=True))
    assert alone.finishing.returned_bar_lines == BarLines(Meter(4, 4), 960)

    four = pb.Meter(numerator=4, denominator=4)
    other = spec_of(bundle, pb.GenerateRequest(given=THREE_THEN_FOUR, bars=2, meter=four))
    assert other.finishing.bar_lines == BarLines(Meter(4, 4), 480)
    assert other.given is not None
    assert (other.given.meter_known, other.given.meter_changes) == (True, 0)


def test_regions_and_errors_count_the_bars_of_several_meters(bundle: Bundle) -> None:
    def plan(*regions: pb.Region, given: pb.GivenPiece = THREE_THEN_FOUR) -> tuple[set[int], int, bool]:
        """Onsets that are kept, index of the first position, and whether the model knows the meter."""
        spec = spec_of(bundle, pb.GenerateRequest(given=given, rewrite=regions))
        assert spec.given is not None
        return {note.onset for note in spec.plan.kept}, spec.plan.position_index, spec.given.meter_known

    every = set(range(0, 9600, 480))
    start = bundle.tokenizer.positions.starts
    assert plan(bars(2, 2)) == (every - {1920, 2400, 2880}, start[Meter(3, 4), 480], True)
    assert plan(bars(4, 4)) == (every - {4800, 5280, 5760, 6240}, start[Meter(4, 4), 4800 % BAR], True)
    assert plan(bars(6, 6)) == (every - {8640, 9120}, start[Meter(4, 4), 4800 % BAR], True)
    assert plan(bars(0, 0), bars(5, 5))[1:] == (start[None, 0], False), "in two meters: only beats"
    five = in_meters(Meter(4, 4), MeterChange(4080, Meter(5, 4)))
    assert plan(bars(4, 4), given=five)[1:] == (start[None, 240], False), "beats of a meter that it does not know"

    found = violations(bundle, pb.GenerateRequest(given=THREE_THEN_FOUR, rewrite=[bars(7, 7)]))
    assert found["rewrite[0].bars.first"] == "must be 0 to 6, not 7"
    request = pb.GenerateRequest(
        given=THREE_THEN_FOUR, rewrite=[bars(0, 5)], constraints=pb.Constraints(scale="B major")
    )
    assert "the given note C4 in bar 6" in violations(bundle, request)["constraints.scale"]


def test_voices_beyond_the_list_are_left_out(bundle: Bundle) -> None:
    sounds = [a_note(0, 72, 0, 960), a_note(0, 64, 1), a_note(480, 65, 1), a_note(0, 48, 2, 1920)]
    rewrite = [pb.Region(voices=[0])]

    def kept(*voices: int) -> tuple[Note, ...]:
        given = pb.GivenPiece(notes=pb.NoteList(notes=sounds), voices=voices)
        spec = spec_of(bundle, pb.GenerateRequest(given=given, rewrite=rewrite))
        assert spec.given is not None
        assert spec.given.left_out == ({"voices": 3 - len(voices)} if 0 < len(voices) < 3 else {})
        assert spec.length == Length(1920)
        return spec.plan.kept

    assert kept(3) == (Note(0, 960, 72, 80, 3),)
    assert kept(3, 1) == (Note(0, 480, 64, 80, 1), Note(0, 960, 72, 80, 3), Note(480, 480, 65, 80, 1))
    assert len(kept(3, 1, 2)) == 4
    assert len(kept()) == 3


@pytest.mark.parametrize(
    ("given", "region", "kept"),
    [
        ([a_note(0, 72), a_note(480, 60, 1)], pb.Region(), [1]),  # the model lacks voice 1
        ([a_note(0, 72), a_note(480, 74), a_note(950, 76)], pb.Region(ticks=pb.TickRange(start=480, end=960)), [0, 2]),
    ],
)
def test_a_velocity_shape_leaves_given_notes_alone(
    bundle: Bundle, given: list[pb.Note], region: pb.Region, kept: list[int]
) -> None:
    for index, note in enumerate(given):
        note.velocity = 99 - index
    melody = Bundle(
        bundle.path, bundle.manifest, bundle.digest, GridTokenizer(voices=1, lowest_pitch=36, highest_pitch=81)
    )
    request = pb.GenerateRequest(
        given=pb.GivenPiece(notes=pb.NoteList(notes=given)),
        rewrite=[region],
        velocity_shape=pb.VelocityShape(velocity=21),
    )
    spec = spec_of(melody, request)
    shaped = spec.finishing.notes(Note(n.onset_ticks, n.duration_ticks, n.pitch, n.velocity, n.voice) for n in given)

    assert [note.velocity for note in shaped] == [99 - i if i in kept else 21 for i in range(len(given))]


def test_rewriting_is_done_by_particles_and_continuing_by_one_sequence(bundle: Bundle) -> None:
    harmonise = pb.GenerateRequest(given=notes(), rewrite=[pb.Region(voices=[1, 2, 3])])
    spec = spec_of(bundle, harmonise)

    assert spec.engine_request.particles
    assert spec.engine_request.candidates == spec.choice.candidates == 64
    assert spec_of(bundle, pb.GenerateRequest(given=notes(), bars=1)).choice.candidates == 1
    few = RequestLimits(candidate_steps=64 * 10)
    assert spec_of(bundle, harmonise, few).choice.candidates == 10


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (pb.GenerateRequest(rewrite=[pb.Region()]), {"rewrite": "needs a given piece: set given"}),
        (pb.GenerateRequest(omit_given=True), {"omit_given": "needs a given piece: set given"}),
        (pb.GenerateRequest(given=pb.GivenPiece()), {"given": "must have midi or notes"}),
        (
            pb.GenerateRequest(given=pb.GivenPiece(midi=b"RIFF")),
            {"given.midi": "cannot be read: not a MIDI file: it looks like a RIFF container of the form "},
        ),
        (
            pb.GenerateRequest(given=pb.GivenPiece(notes=pb.NoteList())),
            {"given.notes.notes": "has 0 notes; this server takes 1 to 20,000"},
        ),
        (
            pb.GenerateRequest(
                given=pb.GivenPiece(
                    notes=pb.NoteList(
                        notes=[pb.Note(onset_ticks=-1, pitch=128, velocity=128, voice=64), pb.Note(onset_ticks=5)],
                        tempo_bpm=9.0,
                        meter=pb.Meter(numerator=4, denominator=3),
                        pickup_ticks=1,
                    )
                )
            ),
            {
                "given.notes.notes[0].onset_ticks": "must be 0 to 7864319, not -1",
                "given.notes.notes[0].duration_ticks": "must be 1 to 7864320, not 0",
                "given.notes.notes[0].pitch": "must be 0 to 127, not 128",
                "given.notes.notes[0].velocity": "must be 1 to 127, not 128",
                "given.notes.notes[0].voice": "must be 0 to 63, not 64",
                "given.notes.notes[1].duration_ticks": "must be 1 to 7864315, not 0",
                "given.notes.meter": "must be 1 to 64 whole notes, halves, quarters, 8ths, 16ths or 32nds, "
                "such as 4/4, not 4/3",
                "given.notes.tempo_bpm": "must be 10 to 400, not 9.0",
                "given.notes.pickup_ticks": "must be a whole number of 32nds, less than a bar, not 1",
            },
        ),
        (
            pb.GenerateRequest(
                given=pb.GivenPiece(notes=pb.NoteList(notes=[a_note(0)], ticks_per_quarter=1000, pickup_ticks=-1))
            ),
            {"given.notes.pickup_ticks": "must be a whole number of 32nds, less than a bar, not -1"},
        ),
        (
            pb.GenerateRequest(given=pb.GivenPiece(notes=pb.NoteList(notes=[a_note(0)], length_ticks=479))),
            {"given.notes.length_ticks": "must be 480 to 7864320, not 479"},
        ),
        (
            pb.GenerateRequest(given=pb.GivenPiece(notes=notes().notes, voices=[0, 1])),
            {"given.voices": "must name at most 1 voices, as many as the piece has, not 2"},
        ),
        (
            pb.GenerateRequest(given=pb.GivenPiece(notes=pb.NoteList(notes=[a_note(0, voice=1)]), voices=[3])),
            {"given.voices": "must name a voice of the piece that has notes"},
        ),
        (
            pb.GenerateRequest(given=pb.GivenPiece(notes=notes().notes, voices=[4])),
            {"given.voices[0]": "must be 0 to 3, not 4"},
        ),
        (
            pb.GenerateRequest(
                given=notes(),
                rewrite=[
                    pb.Region(bars=pb.BarRange(first=0, last=1)),
                    pb.Region(bars=pb.BarRange(first=2, last=5), voices=[4]),
                    pb.Region(bars=pb.BarRange(first=3, last=2)),
                    pb.Region(ticks=pb.TickRange(start=-1, end=1)),
                    pb.Region(ticks=pb.TickRange(start=5, end=9)),
                    pb.Region(voices=[1, 1]),
                ],
            ),
            {
                "rewrite[0].bars.first": "must be 1 to 4, not 0",
                "rewrite[1].bars.last": "must be 2 to 4, not 5",
                "rewrite[1].voices[0]": "must be 0 to 3, not 4",
                "rewrite[2].bars.last": "must be 3 to 4, not 2",
                "rewrite[3].ticks.start": "must be 0 to 7560, not -1",
                "rewrite[4]": "must have at least one step of the model's grid, 120 ticks",
                "rewrite[5].voices": "must name each voice once",
            },
        ),
        (
            pb.GenerateRequest(given=notes(), rewrite=[pb.Region()], omit_given=True),
            {"omit_given": "must be false if rewrite is set"},
        ),
        (
            pb.GenerateRequest(given=notes(), rewrite=[pb.Region()] * 257),
            {"rewrite": "has 257 regions; at most 256 are allowed"},
        ),
        (
            pb.GenerateRequest(bars=1, voice_programs=[0, 128, 0, 0]),
            {"voice_programs[1]": "must be 0 to 127, not 128"},
        ),
        (
            pb.GenerateRequest(bars=1, voice_programs=[0] * 5),
            {"voice_programs": "must be at most 4, one for each voice, not 5"},
        ),
        (
            pb.GenerateRequest(bars=1, transposition=47),
            {
                "transposition": "must be -36 to 46, so that every pitch that the piece may have stays in 0 to 127, "
                "not 47"
            },
        ),
        (
            pb.GenerateRequest(bars=1, velocity_shape=pb.VelocityShape(velocity=128, swell=65, phrase_bars=-1)),
            {
                "velocity_shape.velocity": "must be 1 to 127, not 128",
                "velocity_shape.phrase_bars": "must be 1 to 64, not -1",
                "velocity_shape.swell": "must be -64 to 64, not 65",
            },
        ),
        (
            pb.GenerateRequest(bars=1, candidates=65, pieces=66, candidate=64),
            {
                "candidates": "must be 1 to 64, not 65",
                "pieces": "must be 1 if candidate is set, not 66",
                "candidate": "must be 0 to 63, not 64",
            },
        ),
        (
            pb.GenerateRequest(steps=512, candidates=64, pieces=2, given=notes(64)),
            {
                "candidates": "must be at most 42 for 1,536 steps, not 64: this server takes 65,536 steps of all "
                "candidates together"
            },
        ),
        (
            pb.GenerateRequest(open=pb.OpenLength(min_bars=5, max_bars=4)),
            {"open.max_bars": "must be at least min_bars (5), not 4"},
        ),
        (pb.GenerateRequest(open=pb.OpenLength(min_bars=33)), {"open.min_bars": "must be 0 to 32, not 33"}),
        (pb.GenerateRequest(resume_token=b"x"), {"resume_token": "is not supported by this model"}),
        # A field is checked also if another one, which it depends on, is not valid.
        (
            pb.GenerateRequest(
                given=pb.GivenPiece(notes=notes().notes, voices=[4, 4]),
                rewrite=[
                    pb.Region(bars=pb.BarRange(first=5, last=5), voices=[9]),
                    pb.Region(bars=pb.BarRange(first=0, last=9)),
                    pb.Region(ticks=pb.TickRange(start=-1, end=9000)),
                ],
                voice_programs=[0, 0, 0, 128, 0],
            ),
            {
                "given.voices[0]": "must be 0 to 3, not 4",
                "given.voices[1]": "must be 0 to 3, not 4",
                "given.voices": "must name at most 1 voices, as many as the piece has, not 2",
                "rewrite[0].bars.first": "must be 1 to 4, not 5",
                "rewrite[0].bars.last": "must be 1 to 4, not 5",
                "rewrite[0].voices[0]": "must be 0 to 3, not 9",
                "rewrite[1].bars.first": "must be 1 to 4, not 0",
                "rewrite[1].bars.last": "must be 1 to 4, not 9",
                "rewrite[2].ticks.start": "must be 0 to 7560, not -1",
                "rewrite[2].ticks.end": "must be 1 to 7680, not 9000",
                "voice_programs": "must be at most 4, one for each voice, not 5",
                "voice_programs[3]": "must be 0 to 127, not 128",
            },
        ),
        (
            pb.GenerateRequest(
                given=pb.GivenPiece(midi=b"", voices=[-1]),
                rewrite=[
                    pb.Region(bars=pb.BarRange(first=-1, last=-1)),
                    pb.Region(ticks=pb.TickRange(start=9, end=9), voices=[4]),
                ],
                constraints=pb.Constraints(
                    chords=pb.ChordProgression(chords=[pb.Chord(symbol="H", length=-1)], first_bar=-1)
                ),
            ),
            {
                "given.midi": "cannot be read: the file is empty",
                "given.voices[0]": "must be 0 to 3, not -1",
                "rewrite[0].bars.first": "must be at least 0, not -1",
                "rewrite[0].bars.last": "must be at least 0, not -1",
                "rewrite[1].ticks.end": "must be at least 10, not 9",
                "rewrite[1].voices[0]": "must be 0 to 3, not 4",
                "constraints.chords.chords[0].length": "must be 1 to 1024, not -1",
                "constraints.chords.chords[0].symbol": "is not valid: 'H' names no chord; write a root, a quality "
                "and if needed a bass, such as C, Am7, F/A, Bdim, G7sus4, Em7b5 or C6/9",
                "constraints.chords.first_bar": "must be at least 0, not -1",
            },
        ),
        (
            pb.GenerateRequest(
                given=notes(),
                meter=pb.Meter(numerator=4, denominator=5),
                rewrite=[pb.Region(bars=pb.BarRange(first=-1, last=1)), pb.Region(ticks=pb.TickRange(end=9000))],
            ),
            {
                "meter": "must be one of the model's meters, 4/4, 3/4, not 4/5",
                "rewrite[0].bars.first": "must be at least 0, not -1",
                "rewrite[1].ticks.end": "must be 1 to 7680, not 9000",
            },
        ),
        (
            pb.GenerateRequest(
                given=pb.GivenPiece(
                    notes=pb.NoteList(
                        notes=[a_note(480 * 32768, 128)], ticks_per_quarter=32768, tempo_bpm=401, length_ticks=-1
                    )
                )
            ),
            {
                "given.notes.ticks_per_quarter": "must be 1 to 32767, not 32768",
                "given.notes.notes[0].pitch": "must be 0 to 127, not 128",
                "given.notes.tempo_bpm": "must be 10 to 400, not 401.0",
                "given.notes.length_ticks": "must be 1 to 536854528, not -1",
            },
        ),
        (
            pb.GenerateRequest(given=pb.GivenPiece(notes=pb.NoteList(tempo_bpm=9)), bars=0),
            {
                "given.notes.notes": "has 0 notes; this server takes 1 to 20,000",
                "given.notes.tempo_bpm": "must be 10 to 400, not 9.0",
                "bars": "must be at least 1, not 0",
            },
        ),
        (
            pb.GenerateRequest(open=pb.OpenLength(min_bars=-1, max_bars=33)),
            {"open.min_bars": "must be 0 to 32, not -1", "open.max_bars": "must be 1 to 32, not 33"},
        ),
    ],
)
def test_a_violation_names_its_field_and_what_is_allowed(
    bundle: Bundle, request_: pb.GenerateRequest, expected: dict[str, str]
) -> None:
    assert violations(bundle, request_) == expected


@pytest.mark.parametrize(
    ("limits", "given", "expected"),
    [
        (
            RequestLimits(given_bytes=10),
            pb.GivenPiece(midi=bytes(11)),
            {"given.midi": "has 11 bytes; this server takes at most 10"},
        ),
        (
            RequestLimits(given_notes=15),
            notes(),
            {"given.notes.notes": "has 16 notes; this server takes 1 to 15"},
        ),
        (RequestLimits(given_bars=3), notes(), {"given": "has 4 bars; this server takes at most 3"}),
        (
            RequestLimits(given_tracks=1),
            pb.GivenPiece(midi=write_midi(Score((Note(0, 480, 60), Note(0, 480, 60, 80, 1)), 480))),
            {"given.midi": "cannot be read: the MIDI file has more than 1 tracks"},
        ),
        (
            RequestLimits(given_notes=1),
            pb.GivenPiece(midi=write_midi(Score((Note(0, 480, 60), Note(0, 480, 60, 80, 1)), 480))),
            {"given.midi": "cannot be read: the MIDI file holds 2 notes, more than the maximum of 1"},
        ),
        (
            RequestLimits(candidate_steps=79),
            notes(),
            {"bars": "the whole piece would have 80 steps; this server takes at most 79"},
        ),
    ],
)
def test_each_limit_has_its_own_error(
    bundle: Bundle, limits: RequestLimits, given: pb.GivenPiece, expected: dict[str, str]
) -> None:
    assert violations(bundle, pb.GenerateRequest(given=given, bars=1), limits) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        pb.GenerateRequest(bars=-1),
        pb.GenerateRequest(bars=8, meter=pb.Meter(numerator=4, denominator=5)),
        pb.GenerateRequest(seconds=60, tempo_bpm=9),
        pb.GenerateRequest(bars=8, given=pb.GivenPiece(midi=b""), voice_programs=[0] * 6),  # it may have six voices
        pb.GenerateRequest(seconds=200, given=pb.GivenPiece(midi=b"")),  # it may have a slow tempo
        pb.GenerateRequest(rewrite=[pb.Region()], given=pb.GivenPiece(notes=pb.NoteList())),
        pb.GenerateRequest(rewrite=[pb.Region()]),
    ],
)
def test_a_field_is_not_refused_because_another_one_is(bundle: Bundle, wrong: pb.GenerateRequest) -> None:
    right = pb.GenerateRequest(
        candidates=64,
        constraints=pb.Constraints(
            natural_ending=True, chords=pb.ChordProgression(chords=[pb.Chord(symbol="C")], first_bar=8)
        ),
    )
    right.MergeFrom(wrong)
    (field,) = violations(bundle, right, RequestLimits(candidate_steps=64 * 200))
    assert field in ("bars", "meter", "tempo_bpm", "given.midi", "given.notes.notes", "rewrite")


def test_the_error_of_many_violations_stays_small(bundle: Bundle) -> None:
    wrong = [pb.Region(bars=pb.BarRange(first=9, last=9), voices=[9, 9])] * 256
    with pytest.raises(InvalidRequestError) as caught:
        spec_of(bundle, pb.GenerateRequest(given=notes(), rewrite=wrong))

    assert 10 < len(caught.value.violations) < 100
    assert len(str(caught.value)) < 3000
    assert str(caught.value).endswith("; and others")


def test_resume_tokens_need_one_candidate_and_the_same_seed(bundle: Bundle) -> None:
    terms = ModelTerms(bundle, resume_tokens=ResumeTokens(bytes(32)))
    with pytest.raises(InvalidRequestError) as caught:
        build_generation_spec(pb.GenerateRequest(bars=1, candidates=2, resume_token=b"FRT"), terms)

    assert [str(violation) for violation in caught.value.violations] == [
        "candidates must be 1 with a resume token, not 2",
        "resume_token is truncated",
    ]
