from collections import Counter
from typing import Any

import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st

from music.errors import InvalidScoreError
from music.midi import read_midi, write_midi
from music.score import Meter, Note, Score
from music.tokenizers import EventsTokenizer, Setting
from music.tokenizers.event_grammar import Stage
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
    """Scores that `EVENTS` can say exactly: any polyphony on the grid, in range, a piece that contains its notes."""
    meter = draw(st.none() | st.sampled_from(METERS))
    bar = meter.bar_ticks // STEP if meter else EVENTS.positions_per_quarter
    notes = {}
    for step, voice, pitch in draw(
        st.lists(st.tuples(st.integers(0, 120), st.integers(0, 1), st.integers(48, 72)), max_size=12)
    ):
        velocity = draw(st.sampled_from(EVENTS.vocabulary.velocities))
        notes[step, voice, pitch] = Note(step * STEP, draw(st.integers(1, 60)) * STEP, pitch, velocity, voice)
    last = max((note.end // STEP for note in notes.values()), default=1)
    return Score(
        notes=tuple(notes[key] for key in sorted(notes)),
        length_ticks=(last + draw(st.integers(0, 100))) * STEP,
        meter=meter,
        pickup_ticks=draw(st.integers(0, bar - 1)) * STEP,
        tempo_bpm=draw(st.sampled_from(EVENTS.vocabulary.tempos)),
        program=draw(st.sampled_from(EVENTS.programs)),
    )


def words(tokens: Any) -> list[str]:
    return [EVENTS.token_name(int(token)) for token in tokens]


@given(score=event_scores())
def test_a_score_on_the_grid_survives_the_round_trip_whole(score: Score) -> None:
    encoding = EVENTS.encode(score)
    assert not encoding.dropped
    assert EVENTS.grammar.accepts(encoding.tokens)
    assert EVENTS.decode(encoding.tokens) == score
    setting = Setting(score.meter, score.pickup_ticks)
    assert len(encoding.tokens) <= EVENTS.token_count(score.length_ticks, setting)
    assert np.count_nonzero(encoding.tokens == BAR) + 1 == EVENTS.bar_count(score.length_ticks, setting)


@given(score=any_scores())
def test_every_key_that_is_struck_on_the_grid_is_struck_again(score: Score) -> None:
    encoding = EVENTS.encode(score)
    heard = {(note.onset, note.pitch) for note in EVENTS.decode(encoding.tokens).notes}
    told = {(n.onset, n.pitch) for n in score.notes if n.onset % STEP == 0 and 48 <= n.pitch <= 72}
    assert told <= heard


def test_a_piece_in_words() -> None:
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
        *("PROGRAM_19", "TEMPO_84.9", "METER_3/4", "POSITION_24"),
        *("POSITION_24", "PITCH_60_0", "DURATION_12", "VELOCITY_72"),
        "BAR",
        *("POSITION_0", "PITCH_64_0", "DURATION_4", "VELOCITY_88"),
        *("PITCH_48_1", "TIE", "DURATION_12", "VELOCITY_40"),
        *("POSITION_4", "PITCH_65_0", "DURATION_4", "VELOCITY_88"),
        *("POSITION_8", "PITCH_67_0", "DURATION_4", "VELOCITY_88"),
        *("BAR", "POSITION_6", "END"),
    ]


def test_empty_bars_and_the_end_of_a_bar_are_told() -> None:
    score = Score((Note(3 * 1920, 480, 60, 72),), 6 * 1920, Meter(4, 4), tempo_bpm=84.9)
    tokens = EVENTS.encode(score).tokens
    assert words(tokens)[4:] == [
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
def test_what_the_events_cannot_say_is_counted(note: Note, reason: str) -> None:
    assert EVENTS.encode(Score((note,), 960)).dropped == {reason: 1}


def test_a_key_struck_twice_at_once_takes_the_other_hand_and_no_third() -> None:
    twice = EVENTS.encode(Score((Note(0, 480, 60, 72), Note(0, 240, 60, 72)), 480))
    assert twice.dropped == {"revoiced": 1}
    assert EVENTS.decode(twice.tokens).notes == (Note(0, 480, 60, 72, 0), Note(0, 240, 60, 72, 1))
    trill = EVENTS.encode(Score((Note(0, 240, 60, 72), Note(10, 480, 60, 72)), 490))
    assert trill.dropped == {"doubled": 1}
    assert EVENTS.decode(trill.tokens).notes == (Note(0, 240, 60, 72),)
    thrice = EVENTS.encode(Score(tuple(Note(0, 240, 60, 72, voice) for voice in range(3)), 480))
    assert thrice.dropped == {"doubled": 1}


def test_the_hands_stay_apart_and_further_voices_join_the_last() -> None:
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
    asked = EVENTS.decode(EVENTS.encode(score).tokens, Setting(tempo_bpm=tempo_bpm))
    assert asked.tempo_bpm == tempo_bpm  # who asked for it hears it as it is


def test_a_program_that_is_not_known_becomes_one_of_its_family() -> None:
    v = EVENTS.vocabulary
    assert [v.name(v.program(program)) for program in (0, 19, 5, 16, 100)] == [
        *("PROGRAM_0", "PROGRAM_19", "PROGRAM_0", "PROGRAM_19", "PROGRAM_0")
    ]


def test_a_meter_that_is_not_counted_is_heard_as_quarters() -> None:
    score = Score((Note(600, 480, 60, 72),), 1440, Meter(5, 4), pickup_ticks=600, tempo_bpm=84.9)
    tokens = EVENTS.encode(score).tokens
    assert words(tokens)[2:7] == ["METER_UNKNOWN", "POSITION_9", "BAR", "BAR", "POSITION_0"]
    decoded = EVENTS.decode(tokens)
    assert (decoded.meter, decoded.pickup_ticks, decoded.notes) == (None, 120, score.notes)


def test_what_a_caller_sets_is_how_the_piece_begins() -> None:
    setting = Setting(Meter(3, 4), 480, 86.0, None, 19)
    assert words(EVENTS.opening(setting)) == ["PROGRAM_19", "TEMPO_84.9", "METER_3/4", "POSITION_24"]
    score = Score((Note(0, 480, 60),), 1920, Meter(3, 4), 480, 86.0, None, 19)
    assert tuple(EVENTS.encode(score).tokens[:4]) == EVENTS.opening(setting)


def after(*tokens: int) -> Any:
    grammar = EVENTS.grammar
    assert grammar.accepts(np.array(tokens))
    return grammar.legal(np.array([*tokens, END]))[-1]


def test_the_grammar_knows_the_events() -> None:
    v = EVENTS.vocabulary
    opening = EVENTS.opening(Setting(Meter(3, 4), 480))
    assert not after(*opening[:3])[v.position(36)], "3/4 has 36 positions"
    assert after(*opening[:3])[v.position(35)]
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
    note = (*pitched, *v.duration(40), v.velocity(80))
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


def test_a_state_tells_the_network_where_it_is() -> None:
    v = EVENTS.vocabulary
    grammar = EVENTS.grammar
    assert grammar.features is not None
    tokens = [*EVENTS.opening(Setting(Meter(3, 4))), v.position(16), v.pitch(0, 60), *v.duration(1), v.velocity(9), BAR]
    told = grammar.features[grammar.states(np.array([*tokens, END]))]
    assert [Stage(stage).name for stage in told[:, 0]] == [
        *("START", "PROGRAM", "TEMPO", "METER", "OPEN", "PLACED", "PITCH", "DURATION", "NOTE", "OPEN")
    ]
    assert told[:3, 1].tolist() == [len(METERS) + 1] * 3  # after every meter, and none that is known
    assert told[3:, 1].tolist() == [METERS.index(Meter(3, 4))] * 7
    downbeat = told[4, 2]
    assert (told[4:, 2] - downbeat).tolist() == [0, 16, 16, 16, 16, 0]
    assert told[4:, 3].tolist() == [0, 4, 4, 4, 4, 0]
    assert told[0, 2:].tolist() == [grammar.feature_sizes[2] - 1, grammar.feature_sizes[3] - 1]


def test_notes_are_told_as_soon_as_they_are_over() -> None:
    score = Score((Note(0, 960, 50, 72, 1), Note(0, 480, 60, 72, 0), Note(1920, 480, 62, 72, 0)), 3840)
    tokens = EVENTS.encode(score).tokens.tolist()
    decoder = EVENTS.decoder()
    told = [(len(decoder.feed([token])), decoder.length_ticks) for token in tokens]
    assert [length for count, length in told if count] == [1920]
    assert sum(count for count, _ in told) == 2
    assert decoder.finish() == [Note(1920, 480, 62, 72, 0)]
    assert decoder.length_ticks == 3840


def test_a_sequence_cut_anywhere_is_still_a_piece() -> None:
    score = Score((Note(0, 960, 60, 72), Note(480, 480, 62, 72)), 3840)
    tokens = EVENTS.encode(score).tokens
    for count in range(len(tokens)):
        cut = EVENTS.decode(tokens[:count])
        assert set(cut.notes) <= set(score.notes)
        assert cut.length_ticks <= score.length_ticks


def test_a_last_note_may_ring_past_the_end() -> None:
    v = EVENTS.vocabulary
    tokens = [*EVENTS.opening(Setting()), v.position(36), v.pitch(0, 60), *v.duration(24), v.velocity(72), END]
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
        {"meters": ()},
        {"meters": (Meter(4, 4), Meter(4, 4))},
        {"meters": (Meter(17, 8),)},
        {"meters": (Meter(1, 32),)},
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        EventsTokenizer(**({"lowest_pitch": 40, "highest_pitch": 80} | change))


def test_what_is_left_open_is_taken_from_the_scores() -> None:
    waltz = Score((Note(0, 480, 50), Note(480, 480, 70)), 1440, Meter(3, 4), program=6)
    odd = Score((Note(0, 480, 60),), 480, Meter(7, 32))
    unmetered = Score((Note(0, 480, 61),), 480, None)
    events = EventsTokenizer.fit({}, [odd, waltz, waltz, unmetered])
    assert (events.lowest_pitch, events.highest_pitch) == (50, 70)
    assert events.programs == (0, 6)
    assert events.meters == (Meter(3, 4),)
    told = EventsTokenizer.fit({"lowest_pitch": 30, "programs": [1], "meters": ["4/4"]}, [waltz])
    assert (told.lowest_pitch, told.programs, told.meters) == (30, (1,), (Meter(4, 4),))
    assert EventsTokenizer.fit({}, [unmetered]).meters == (Meter(4, 4), Meter(3, 4))
    with pytest.raises(ValueError, match="no note"):
        EventsTokenizer.fit({}, [Score((), 480)])
    with pytest.raises(ValueError, match="positions_per_quarter"):
        EventsTokenizer.fit({"positions_per_quarter": 0}, [waltz])


@pytest.mark.parametrize("positions", [4, 12, 24])
def test_as_many_tokens_are_served_as_ten_fingers_need(positions: int) -> None:
    piano = EventsTokenizer(lowest_pitch=40, highest_pitch=60, positions_per_quarter=positions)
    notes = tuple(Note(onset, 120, 40 + key, 64, 0) for onset in range(0, 7680, 120) for key in range(11))
    encoding = piano.encode(Score(notes, 7680))
    assert not encoding.dropped
    assert len(encoding.tokens) <= piano.token_count(7680, Setting())


def test_the_tables_stay_small() -> None:
    piano = EventsTokenizer(lowest_pitch=21, highest_pitch=108, meters=tuple(map(Meter, (4, 3, 2, 5, 6, 7, 8, 1))))
    assert len(piano.grammar.allowed) < 5000
    assert len(piano.grammar.automata) == 3
    assert sum(automaton.allowed.nbytes for automaton in piano.grammar.automata) < 2_500_000


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
def test_what_the_tokens_say_survives_the_file(score: Score) -> None:
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
