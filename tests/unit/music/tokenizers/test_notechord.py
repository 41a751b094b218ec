import pytest
from music21 import note, pitch

from music.score import Note, Score
from music.tokenizers import NoteChordTokenizer
from music.tokenizers.notechord import pitch_name, sonority_name

TWINKLE = Score(
    (Note(0, 480, 60), Note(0, 480, 64), Note(0, 480, 67), Note(480, 240, 60), Note(720, 960, 61, voice=1)), 1680
)


def test_pitches_have_music21_names_with_octaves() -> None:
    for number in range(12, 120):  # music21 writes octaves below 0 with a minus that reads as a flat
        name = pitch_name(number)
        assert pitch.Pitch(number).nameWithOctave == name
        assert note.Note(name).pitch.midi == number


def test_a_token_names_all_pitches_of_one_offset() -> None:
    tokenizer = NoteChordTokenizer.fit({}, [TWINKLE])
    encoding = tokenizer.encode(TWINKLE)
    assert [tokenizer.token_name(token) for token in encoding.tokens] == ["C4.E4.G4", "C4", "C#4", "END"]
    assert encoding.dropped == {"retimed": 5}  # none of them lasts exactly one step at its place
    decoded = tokenizer.decode(encoding.tokens)
    assert [(n.onset, n.duration, n.pitch) for n in decoded.notes] == [
        (0, 240, 60),
        (0, 240, 64),
        (0, 240, 67),
        (240, 240, 60),
        (480, 240, 61),
    ]


def test_sonorities_outside_the_vocabulary_are_left_out_and_counted() -> None:
    tokenizer = NoteChordTokenizer(names=["C4"])
    encoding = tokenizer.encode(TWINKLE)
    assert encoding.tokens.tolist() == [2, tokenizer.end_token]
    assert encoding.dropped["unknown_sonority"] == 4


def test_equal_pitches_are_merged() -> None:
    tokenizer = NoteChordTokenizer(names=["C4"])
    encoding = tokenizer.encode(Score((Note(0, 240, 60, voice=0), Note(0, 240, 60, voice=1)), 240))
    assert encoding.dropped == {"doubled": 1}
    assert sonority_name([60, 60, 48]) == "C3.C4"


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], "at least one"),
        (["E4", "C4"], "sorted"),
        (["C4", "C4"], "sorted"),
        (["H4"], "no pitch name"),
        (["E4.C4"], "lowest first"),
        (["C4.C4"], "once each"),
    ],
)
def test_invalid_vocabularies_are_refused(names: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        NoteChordTokenizer(names=names)


def test_an_impossible_step_is_refused() -> None:
    with pytest.raises(ValueError, match="step_ticks"):
        NoteChordTokenizer(names=["C4"], step_ticks=7)
    with pytest.raises(ValueError, match="no note"):
        NoteChordTokenizer.fit({}, [Score((), 480)])
