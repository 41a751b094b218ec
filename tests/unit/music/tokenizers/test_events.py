from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st

from music.errors import InvalidScoreError
from music.midi import read_midi, write_midi
from music.score import DEFAULT_VELOCITY, Meter, Note, Score, ScoreAttributes
from music.tokenizers import EventsTokenizer
from music.tokenizers.event_grammar import HEADER_TOKENS, Stage
from music.tokenizers.event_vocabulary import BAR, END, TIE
from tests.unit.music.strategies import METERS, any_scores

EVENTS = EventsTokenizer(
    lowest_pitch=48,
    highest_pitch=72,
    longest_quarters=1,
    velocity_bins=8,
    tempo_bins=5,
    programs=(0, 19),
    meters=METERS,
)
STEP = EVENTS.step_ticks


@st.composite
def event_scores(draw: st.DrawFn) -> Score:
    """Scores on the grid of `EVENTS`: any polyphony in range, with all notes within the piece."""
    meter = draw(st.none() | st.sampled_from(METERS))
    has_dynamics = draw(st.booleans())
    bar = meter.bar_ticks // STEP if meter else EVENTS.positions_per_quarter
    notes = {}
    for step, voice, pitch in draw(
        st.lists(st.tuples(st.integers(0, 120), st.integers(0, 1), st.integers(48, 72)), max_size=12)
    ):
        velocity = draw(st.sampled_from(EVENTS.vocabulary.velocities)) if has_dynamics else DEFAULT_VELOCITY
        notes[step, voice, pitch] = Note(step * STEP, draw(st.integers(1, 60)) * STEP, pitch, velocity, voice)
    last = max((note.end // STEP for note in notes.values()), default=1)
    return Score(
        notes=tuple(notes[key] for key in sorted(notes)),
        length_ticks=(last + draw(st.integers(0, 100))) * STEP,
        meter=meter,
        pickup_ticks=draw(st.integers(0, bar - 1)) * STEP,
        tempo_bpm=draw(st.sampled_from(EVENTS.vocabulary.tempos)),
        program=draw(st.sampled_from(EVENTS.programs)),
        has_dynamics=has_dynamics,
    )


def words(tokens: Any) -> list[str]:
    return [EVENTS.token_name(int(token)) for token in tokens]


@given(score=event_scores())
def test_a_score_on_the_grid_survives_a_round_trip(score: Score) -> None:
    encoding = EVENTS.encode(score)
    assert not encoding.dropped
    assert EVENTS.grammar.accepts(encoding.tokens)
    assert EVENTS.decode(encoding.tokens) == score
    attributes = ScoreAttributes(score.meter, score.pickup_ticks)
    assert len(encoding.tokens) <= EVENTS.token_count(score.length_ticks, attributes)
    assert np.count_nonzero(encoding.tokens == BAR) + 1 == EVENTS.bar_count(score.length_ticks, attributes)


@given(score=any_scores())
def test_every_onset_on_the_grid_survives(score: Score) -> None:
    encoding = EVENTS.encode(score)
    heard = {(note.onset, note.pitch) for note in EVENTS.decode(encoding.tokens).notes}
    on_grid = {(n.onset, n.pitch) for n in score.notes if n.onset % STEP == 0 and 48 <= n.pitch <= 72}
    assert on_grid <= heard


def test_token_names_of_a_piece() -> None:
    score = Score(
        notes=(
            Note(0, 480, 60, 71, 0),  # the upbeat
            Note(480, 160, 64, 87, 0),  # a triplet
            Note(480, 960, 48, 40, 1),
            Note(640, 160, 65, 87, 0),
            Note(800, 160, 67, 87, 0),
        ),
        length_ticks=480 + 3 * 480 + 240,
        meter=Meter(3, 4),
        pickup_ticks=480,
        tempo_bpm=85.0,
        program=19,
    )
    assert words(EVENTS.encode(score).tokens) == [
        *("PROGRAM_19", "TEMPO_84.9", "METER_3/4", "DYNAMICS_KNOWN", "POSITION_24"),
        *("POSITION_24", "PITCH_60_0", "DURATION_12", "VELOCITY_72"),
        "BAR",
        *("POSITION_0", "PITCH_64_0", "DURATION_4", "VELOCITY_88"),
        *("PITCH_48_1", "TIE", "DURATION_12", "VELOCITY_40"),
        *("POSITION_4", "PITCH_65_0", "DURATION_4", "VELOCITY_88"),
        *("POSITION_8", "PITCH_67_0", "DURATION_4", "VELOCITY_88"),
        *("BAR", "POSITION_6", "END"),
    ]


def test_empty_bars_and_ends_of_bars_have_tokens() -> None:
    score = Score((Note(3 * 1920, 480, 60, 72),), 6 * 1920, Meter(4, 4), tempo_bpm=84.9)
    tokens = EVENTS.encode(score).tokens
    assert words(tokens)[5:] == [
        *["BAR"] * 3,
        "POSITION_0",
        "PITCH_60_0",
        "DURATION_12",
        "VELOCITY_72",
        "BAR",
        "BAR",
        "END",
    ]
    assert EVENTS.decode(tokens) == score


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        (Note(0, 240, 47), "out_of_range"),
        (Note(0, 240, 73), "out_of_range"),
        (Note(30, 250, 60), "off_grid"),
        (Note(0, 230, 60), "rounded_duration"),
        (Note(0, 240, 60, 80, 5), "revoiced"),
    ],
)
def test_lost_notes_are_counted(note: Note, reason: str) -> None:
    assert EVENTS.encode(Score((note,), 960)).dropped == {reason: 1}


def test_a_doubled_pitch_moves_to_the_other_voice_and_a_third_is_dropped() -> None:
    twice = EVENTS.encode(Score((Note(0, 480, 60, 72), Note(0, 240, 60, 72)), 480))
    assert twice.dropped == {"revoiced": 1}
    assert EVENTS.decode(twice.tokens).notes == (Note(0, 480, 60, 72, 0), Note(0, 240, 60, 72, 1))
    trill = EVENTS.encode(Score((Note(0, 240, 60, 72), Note(10, 480, 60, 72)), 490))
    assert trill.dropped == {"doubled": 1}
    assert EVENTS.decode(trill.tokens).notes == (Note(0, 240, 60, 72),)
    thrice = EVENTS.encode(Score(tuple(Note(0, 240, 60, 72, voice) for voice in range(3)), 480))
    assert thrice.dropped == {"doubled": 1}


def test_voices_stay_apart_and_further_voices_become_the_last() -> None:
    notes = tuple(Note(0, 480, 60 - 4 * voice, 72, voice) for voice in range(4))
    encoding = EVENTS.encode(Score(notes, 480))
    assert encoding.dropped == {"revoiced": 2}
    assert [(n.pitch, n.voice) for n in EVENTS.decode(encoding.tokens).notes] == [(60, 0), (48, 1), (52, 1), (56, 1)]


@given(velocity=st.integers(1, 127), bins=st.integers(1, 127))
def test_a_velocity_survives_to_the_middle_of_its_bin(velocity: int, bins: int) -> None:
    piano = EventsTokenizer(
        lowest_pitch=60, highest_pitch=60, positions_per_quarter=1, velocity_bins=bins, meters=(Meter(1, 4),)
    )
    (note,) = piano.decode(piano.encode(Score((Note(0, 480, 60, velocity),), 480)).tokens).notes
    assert abs(note.velocity - velocity) <= (127 / bins + 1) / 2
    (again,) = piano.decode(piano.encode(Score((note,), 480)).tokens).notes
    assert again == note


@pytest.mark.parametrize(("tempo_bpm", "kept"), [(1.0, 30.0), (29.0, 30.0), (55.0, 50.5), (85.0, 84.9), (999.0, 240.0)])
def test_a_tempo_survives_to_the_nearest_by_ratio(tempo_bpm: float, kept: float) -> None:
    score = Score((Note(0, 480, 60),), 480, tempo_bpm=tempo_bpm)
    assert EVENTS.decode(EVENTS.encode(score).tokens).tempo_bpm == kept
    asked = EVENTS.decode(EVENTS.encode(score).tokens, ScoreAttributes(tempo_bpm=tempo_bpm))
    assert asked.tempo_bpm == tempo_bpm  # who asked for it hears it as it is


def test_an_unknown_program_becomes_one_of_its_family() -> None:
    v = EVENTS.vocabulary
    assert [v.name(v.program(program)) for program in (0, 19, 5, 16, 100)] == [
        *("PROGRAM_0", "PROGRAM_19", "PROGRAM_0", "PROGRAM_19", "PROGRAM_0")
    ]


def test_an_unknown_meter_has_bars_of_a_quarter() -> None:
    score = Score((Note(600, 480, 60, 72),), 1440, Meter(5, 4), pickup_ticks=600, tempo_bpm=84.9)
    tokens = EVENTS.encode(score).tokens
    assert words(tokens)[2:8] == ["METER_UNKNOWN", "DYNAMICS_KNOWN", "POSITION_9", "BAR", "BAR", "POSITION_0"]
    decoded = EVENTS.decode(tokens)
    assert (decoded.meter, decoded.pickup_ticks, decoded.notes) == (None, 120, score.notes)


def test_header_tokens_are_the_first_tokens() -> None:
    attributes = ScoreAttributes(Meter(3, 4), 480, 86.0, None, 19)
    names = ["PROGRAM_19", "TEMPO_84.9", "METER_3/4", "DYNAMICS_KNOWN", "POSITION_24"]
    assert words(EVENTS.header_tokens(attributes)) == names
    score = Score((Note(0, 480, 60),), 1920, Meter(3, 4), 480, 86.0, None, 19)
    assert tuple(EVENTS.encode(score).tokens[:HEADER_TOKENS]) == EVENTS.header_tokens(attributes)


def after(*tokens: int) -> Any:
    grammar = EVENTS.grammar
    assert grammar.accepts(np.array(tokens))
    return grammar.masks(np.array([*tokens, END]))[-1]


def test_the_grammar_of_events() -> None:
    v = EVENTS.vocabulary
    opening = EVENTS.header_tokens(ScoreAttributes(Meter(3, 4), 480))
    assert not after(*opening[:4])[v.position(36)], "3/4 has 36 positions"
    assert after(*opening[:4])[v.position(35)]
    begun = after(*opening)
    assert begun[END], "a pickup may be silent"
    assert begun[BAR]
    assert not begun[v.position(23)], "the piece begins later"
    placed = (*opening, v.position(24))
    assert not after(*placed)[END], "a piece has at least one step"
    assert not after(*placed)[v.position(25)], "a position has a note, or the end"
    assert after(*opening, v.position(25))[END]
    pitched = (*placed, v.pitch(0, 60))
    assert after(*pitched)[TIE]
    assert not after(*pitched)[v.velocity(80)], "a pitch has a duration"
    timed = (*pitched, *v.duration(40))
    assert np.flatnonzero(after(*timed)).tolist() == list(range(v.first_velocity, v.first_tempo))
    note = (*timed, v.velocity(80))
    assert not after(*note)[v.pitch(0, 60)], "pitches rise"
    assert not after(*note)[v.pitch(0, 59)]
    assert after(*note)[v.pitch(0, 61)]
    assert after(*note)[v.pitch(1, 48)], "the other hand starts anew"
    assert not after(*note)[v.position(24)], "positions rise"
    assert after(*note)[v.position(25)]
    assert after(*note, v.position(25))[v.pitch(0, 48)]
    assert after(*note, BAR)[v.position(0)]
    assert not after(*note, BAR, v.position(0))[END], "the bar before would have ended the piece"
    top = (*placed, v.pitch(1, 72), *v.duration(1), v.velocity(80))
    assert not after(*top)[v.first_pitch :].any(), "no key is higher"
    assert after(*top)[BAR]
    assert np.flatnonzero(after(*note, END)).tolist() == [END]


def test_without_dynamics_a_duration_completes_a_note() -> None:
    v = EVENTS.vocabulary
    opening = EVENTS.header_tokens(ScoreAttributes(Meter(3, 4), 480, has_dynamics=False))
    known = EVENTS.header_tokens(ScoreAttributes(Meter(3, 4), 480))
    pitched = (v.position(24), v.pitch(0, 60))
    note = (*pitched, *v.duration(40))
    assert (after(*opening, *pitched) == after(*known, *pitched)).all()
    assert (after(*opening, *note) == after(*known, *note, v.velocity(80))).all()
    assert not after(*opening, *note)[v.velocity(80)]
    assert after(*opening, *note, v.pitch(0, 61), *v.duration(1))[v.pitch(1, 48)]


def test_a_piece_without_dynamics_has_no_velocities() -> None:
    notes = (Note(0, 480, 60, 23), Note(0, 960, 48, 99, 1))
    encoding = EVENTS.encode(Score(notes, 1920, Meter(4, 4), has_dynamics=False))
    assert words(encoding.tokens)[3:] == [
        *("DYNAMICS_UNKNOWN", "POSITION_0", "POSITION_0"),
        *("PITCH_60_0", "DURATION_12", "PITCH_48_1", "TIE", "DURATION_12", "END"),
    ]
    decoded = EVENTS.decode(encoding.tokens)
    assert decoded.notes == tuple(note._replace(velocity=DEFAULT_VELOCITY) for note in notes)
    assert not decoded.has_dynamics


@pytest.mark.parametrize("kind", ["known", "unknown"])
def test_a_score_of_a_kind_without_a_token_becomes_one_of_the_other(kind: Any) -> None:
    only = EventsTokenizer(lowest_pitch=60, highest_pitch=60, velocity_bins=127, dynamics=(kind,))
    for has_dynamics in (True, False):
        score = Score((Note(0, 480, 60, 99),), 480, has_dynamics=has_dynamics)
        decoded = only.decode(only.encode(score).tokens)
        assert decoded.has_dynamics == only.has_dynamics(has_dynamics) == only.has_dynamics(None) == (kind == "known")
        assert decoded.notes[0].velocity == (99 if kind == "known" else DEFAULT_VELOCITY)
    assert only.writing.dynamics == (kind == "known")
    assert (
        only.vocabulary_size
        == EventsTokenizer(lowest_pitch=60, highest_pitch=60, velocity_bins=127).vocabulary_size - 1
    )


def test_features_of_grammar_states() -> None:
    v = EVENTS.vocabulary
    grammar = EVENTS.grammar
    kinds, places = grammar.feature_tables
    tokens = [
        *EVENTS.header_tokens(ScoreAttributes(Meter(3, 4))),
        v.position(16),
        v.pitch(0, 60),
        *v.duration(1),
        v.velocity(9),
        BAR,
    ]
    kind, place = np.divmod(grammar.feature_states(np.array([*tokens, END])), len(places))
    features = kinds[kind] + places[place]
    assert [Stage(stage).name for stage in features[:, 0]] == [
        *("START", "PROGRAM", "TEMPO", "METER", "DYNAMICS"),
        *("OPEN", "PLACED", "PITCH", "DURATION", "NOTE", "OPEN"),
    ]
    assert features[:3, 1].tolist() == [len(METERS) + 1] * 3  # after every meter, and none that is known
    assert features[3:, 1].tolist() == [METERS.index(Meter(3, 4))] * 8
    downbeat = features[5, 2]
    assert (features[5:, 2] - downbeat).tolist() == [0, 16, 16, 16, 16, 0]
    assert features[5:, 3].tolist() == [0, 4, 4, 4, 4, 0]
    assert features[0, 2:].tolist() == [grammar.feature_sizes[2] - 1, grammar.feature_sizes[3] - 1]


def test_notes_are_returned_at_their_end() -> None:
    score = Score((Note(0, 960, 50, 72, 1), Note(0, 480, 60, 72, 0), Note(1920, 480, 62, 72, 0)), 3840)
    tokens = EVENTS.encode(score).tokens.tolist()
    decoder = EVENTS.decoder()
    returned = [(len(decoder.feed([token])), decoder.length_ticks) for token in tokens]
    assert [length for count, length in returned if count] == [1920]
    assert sum(count for count, _ in returned) == 2
    assert decoder.finish() == [Note(1920, 480, 62, 72, 0)]
    assert decoder.length_ticks == 3840


def test_a_sequence_cut_anywhere_decodes() -> None:
    score = Score((Note(0, 960, 60, 72), Note(480, 480, 62, 72)), 3840)
    tokens = EVENTS.encode(score).tokens
    for count in range(len(tokens)):
        cut = EVENTS.decode(tokens[:count])
        assert set(cut.notes) <= set(score.notes)
        assert cut.length_ticks <= score.length_ticks


def test_a_last_note_may_end_after_the_piece() -> None:
    v = EVENTS.vocabulary
    tokens = [
        *EVENTS.header_tokens(ScoreAttributes()),
        v.position(36),
        v.pitch(0, 60),
        *v.duration(24),
        v.velocity(72),
        END,
    ]
    score = EVENTS.decode(tokens)
    assert (score.length_ticks, score.notes) == (1920, (Note(1440, 960, 60, 72),))
    assert EVENTS.encode(score).tokens.tolist() == tokens


@pytest.mark.parametrize(
    "change",
    [
        {"lowest_pitch": 81},
        {"highest_pitch": 128},
        {"voices": 0},
        {"voices": 9},
        {"positions_per_quarter": 7},
        {"positions_per_quarter": 0},
        {"positions_per_quarter": 60},
        {"longest_quarters": 0},
        {"velocity_bins": 128},
        {"tempo_bins": 0},
        {"programs": ()},
        {"programs": (0, 0)},
        {"programs": (128,)},
        {"dynamics": ()},
        {"dynamics": ("known", "known")},
        {"dynamics": ("loud",)},
        {"meters": ()},
        {"meters": (Meter(4, 4), Meter(4, 4))},
        {"meters": (Meter(17, 8),)},
        {"meters": (Meter(1, 32),)},
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        EventsTokenizer(**({"lowest_pitch": 40, "highest_pitch": 80} | change))


def test_unset_parameters_are_fitted_to_the_scores() -> None:
    waltz = Score((Note(0, 480, 50), Note(480, 480, 70)), 1440, Meter(3, 4), program=6)
    odd = Score((Note(0, 480, 60),), 480, Meter(7, 32))
    unmetered = Score((Note(0, 480, 61),), 480, None)
    events = EventsTokenizer.fit({}, [odd, waltz, waltz, unmetered])
    assert (events.lowest_pitch, events.highest_pitch) == (50, 70)
    assert events.programs == (0, 6)
    assert events.meters == (Meter(3, 4),)
    fitted = EventsTokenizer.fit({"lowest_pitch": 30, "programs": [1], "meters": ["4/4"]}, [waltz])
    assert (fitted.lowest_pitch, fitted.programs, fitted.meters) == (30, (1,), (Meter(4, 4),))
    assert EventsTokenizer.fit({}, [unmetered]).meters == (Meter(4, 4), Meter(3, 4))
    assert events.dynamics == ("known",)
    unmarked = replace(waltz, has_dynamics=False)
    assert EventsTokenizer.fit({}, [waltz, unmarked, unmarked]).dynamics == ("unknown", "known")
    assert EventsTokenizer.fit({}, [waltz, *[unmarked] * 19]).dynamics == ("unknown", "known")
    assert EventsTokenizer.fit({}, [waltz, *[unmarked] * 20]).dynamics == ("unknown",)
    with pytest.raises(ValueError, match="no note"):
        EventsTokenizer.fit({}, [Score((), 480)])
    with pytest.raises(ValueError, match="positions_per_quarter"):
        EventsTokenizer.fit({"positions_per_quarter": 0}, [waltz])


@pytest.mark.parametrize("positions", [4, 12, 24])
def test_token_count_is_enough_for_ten_fingers(positions: int) -> None:
    piano = EventsTokenizer(lowest_pitch=40, highest_pitch=60, positions_per_quarter=positions)
    notes = tuple(Note(onset, 120, 40 + key, 64, 0) for onset in range(0, 7680, 120) for key in range(11))
    encoding = piano.encode(Score(notes, 7680))
    assert not encoding.dropped
    assert len(encoding.tokens) <= piano.token_count(7680, ScoreAttributes())


def test_the_tables_stay_small() -> None:
    piano = EventsTokenizer(lowest_pitch=21, highest_pitch=108, meters=tuple(map(Meter, (4, 3, 2, 5, 6, 7, 8, 1))))
    assert len(piano.grammar.automata) == 4
    assert sum(automaton.allowed.nbytes for automaton in piano.grammar.automata) < 600_000


def test_a_real_file_keeps_its_rhythm_rests_dynamics_tempo_and_program() -> None:
    file: Any = symusic.Score(96)
    file.tempos.append(symusic.Tempo(0, qpm=84.9))
    file.time_signatures.append(symusic.TimeSignature(0, 3, 4))
    for name, base in (("right", 60), ("left", 48)):
        track: Any = symusic.Track(name=name, program=19, is_drum=False)
        for bar in range(6):
            if bar == 3:
                continue  # both hands rest
            at = bar * 288
            for index in range(3):  # a triplet, louder and louder
                track.notes.append(symusic.Note(at + 32 * index, 32, base + index, 20 + 40 * index))
            track.notes.append(symusic.Note(at + 120, 24, base + 5, 88))  # 16ths after a rest
            track.notes.append(symusic.Note(at + 144, 144, base + 7, 8))
            track.notes.append(symusic.Note(at + 144, 240, base + 12, 120))
        file.tracks.append(track)
    score = read_midi(file.dumps_midi())
    encoding = EVENTS.encode(score)
    assert not encoding.dropped
    again = read_midi(write_midi(EVENTS.decode(encoding.tokens)))
    rhythm = Counter((n.onset, n.duration, n.pitch, n.voice) for n in score.notes)
    assert rhythm == Counter((n.onset, n.duration, n.pitch, n.voice) for n in again.notes)
    assert (again.meter, again.program) == (Meter(3, 4), 19)
    assert again.tempo_bpm == pytest.approx(84.9, abs=0.01)
    loud = {(n.onset, n.pitch): n.velocity for n in again.notes}
    assert all(abs(loud[n.onset, n.pitch] - n.velocity) <= 8 for n in score.notes)
    assert len(set(loud.values())) >= 6


@given(score=event_scores())
def test_decoded_scores_survive_a_midi_file(score: Score) -> None:
    decoded = EVENTS.decode(EVENTS.encode(score).tokens)
    if not decoded.notes:
        with pytest.raises(InvalidScoreError):
            read_midi(write_midi(decoded))
        return
    if decoded.meter is None or (decoded.pickup_ticks * 8) % 480:
        return  # a pickup that is no whole number of 32nds cannot be written as a bar
    again = read_midi(write_midi(decoded))

    def sound(score: Score) -> Counter[tuple[int, int, int, int]]:
        return Counter((n.onset, n.duration, n.pitch, n.velocity) for n in score.notes)

    assert sound(again) == sound(decoded)
    assert (again.length_ticks, again.meter, again.pickup_ticks) == (
        *(decoded.length_ticks, decoded.meter, decoded.pickup_ticks),
    )
