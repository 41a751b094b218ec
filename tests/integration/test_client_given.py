"""A piece from a server, given to the server again by the client, has the same voices there."""

from hypothesis import given
from hypothesis import strategies as st

from fantasia.v1 import generation_pb2 as pb
from fantasia_client import GivenPiece
from fantasia_client.messages import parse_piece
from fantasia_client.request_messages import build_generate_request
from music.midi import write_midi
from music.score import NOTE_ORDER, Meter, Note, Score
from server.rpc.given_piece import read_given
from server.rpc.request_limits import RequestLimits
from server.rpc.validation import RequestValidator

VOICES = 4


@st.composite
def scores(draw: st.DrawFn) -> Score:
    """Scores of up to four voices, which may cross, rest, or be without notes."""
    steps = draw(st.lists(st.lists(st.none() | st.integers(36, 84), min_size=VOICES, max_size=VOICES), min_size=1))
    notes = [
        Note(120 * step, 120, pitch, 80, voice)
        for step, row in enumerate(steps)
        for voice, pitch in enumerate(row)
        if pitch is not None
    ]
    notes = notes or [Note(0, 120, 60, 80, 2)]
    pickup = draw(st.sampled_from([0, 480]))
    return Score(tuple(sorted(notes, key=NOTE_ORDER)), 120 * len(steps), meter=Meter(3, 4), pickup_ticks=pickup)


def read_back(score: Score, voices: tuple[int, ...]) -> Score:
    """The score as the server reads it from a request with the piece of that score."""
    message = pb.Piece(
        midi=write_midi(score),
        notes=[
            pb.Note(
                onset_ticks=note.onset, duration_ticks=note.duration, pitch=note.pitch, velocity=80, voice=note.voice
            )
            for note in score.notes
        ],
        ticks_per_quarter=480,
        tempo_bpm=100,
    )
    piece = parse_piece(pb.GenerateResponse(pieces=[message]))
    request = build_generate_request({"given": GivenPiece(piece, voices=voices)})
    validator = RequestValidator()
    music = read_given(
        request.given, "given", voices=VOICES, limits=RequestLimits(), tempo_bpm=100, validator=validator
    )
    assert not validator.violations
    assert music is not None
    return music.score


@given(scores())
def test_every_voice_keeps_its_number(score: Score) -> None:
    again = read_back(score, ())
    assert again.notes == score.notes
    assert (again.length_ticks, again.pickup_ticks) == (score.length_ticks, score.pickup_ticks)


@given(scores(), st.permutations(range(VOICES)))
def test_voices_are_moved_as_asked_for(score: Score, order: list[int]) -> None:
    own = sorted({note.voice for note in score.notes})
    places = dict(zip(own, order, strict=False))
    expected = sorted((note._replace(voice=places[note.voice]) for note in score.notes), key=NOTE_ORDER)
    assert list(read_back(score, tuple(order[: len(own)])).notes) == expected
