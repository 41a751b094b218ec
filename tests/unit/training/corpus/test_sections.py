from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from music.midi import write_midi
from music.score import Meter, Note, Score
from training.__main__ import main
from training.corpus.sections import cut_into_sections
from training.corpus.store import CompactScore, Corpus, Split
from training.errors import CorpusError


def song(bars: int, meter: Meter | None, pickup_ticks: int = 0) -> Score:
    length = bars * (meter or Meter()).bar_ticks
    notes = tuple(
        Note(onset, min(300, length - onset), 60 + onset // 120 % 12, 80, 0) for onset in range(0, length, 240)
    )
    return Score(notes, length, meter, pickup_ticks)


@given(
    bars=st.integers(4, 60),
    meter=st.sampled_from([None, Meter(4, 4), Meter(3, 4), Meter(6, 8)]),
    pickup_ticks=st.sampled_from([0, 240, 480]),
)
@settings(max_examples=40)
def test_sections_are_the_piece_in_order_cut_at_bar_lines(bars: int, meter: Meter | None, pickup_ticks: int) -> None:
    score = song(bars, meter, pickup_ticks if meter else 0)
    sections, sides = cut_into_sections({"song": CompactScore.of(score)})
    assert list(sides.values()) == [Split.TRAIN, Split.VALID, Split.TEST]
    bar = (meter or Meter()).bar_ticks
    pitches, begin = [], 0
    for name, packed in sections.items():
        section = packed.score()
        assert (begin - score.pickup_ticks) % bar == 0 or begin == 0, name
        assert section.pickup_ticks == (score.pickup_ticks if begin == 0 else 0)
        assert all(note.onset >= 0 and note.end <= section.length_ticks for note in section.notes)
        pitches += [note.pitch for note in section.notes]
        begin += section.length_ticks
    assert begin == score.length_ticks
    assert pitches == [note.pitch for note in score.notes]
    train, valid, test = (section.score().length_ticks for section in sections.values())
    assert train >= valid
    assert train >= test
    assert train + valid + test == score.length_ticks


@pytest.mark.parametrize("bars", [1, 3])
def test_too_little_to_hold_any_back_is_a_sentence(bars: int) -> None:
    with pytest.raises(CorpusError, match=r"leave no note for valid and test; a piece needs at least 4 bars"):
        cut_into_sections({"song": CompactScore.of(song(bars, None))})


def test_a_long_silence_at_the_end_is_no_test_piece() -> None:
    score = song(8, Meter(4, 4))
    quiet = Score(score.notes, 100 * 1920, score.meter)
    with pytest.raises(CorpusError, match="no note for valid and test"):
        cut_into_sections({"song": CompactScore.of(quiet)})
    sections, _ = cut_into_sections({"song": CompactScore.of(quiet), "other": CompactScore.of(score)})
    assert len(sections) == 4, "the other piece has all three"


@pytest.mark.slow
def test_one_file_is_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "song.mid").write_bytes(write_midi(song(40, Meter(4, 4))))
    out = tmp_path / "corpus.npz"
    arguments = ["prepare", str(tmp_path / "song.mid"), "--out", str(out), "--workers", "1", "--quiet"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "1 file, too few to split by piece: each is cut into consecutive sections" in result.output
    corpus = Corpus.load(out)
    assert [piece.name for piece in corpus.pieces()] == [
        "song.mid [bars 1 to 32]", "song.mid [bars 33 to 36]", "song.mid [bars 37 to 40]",
    ]  # fmt: skip
    assert [piece.split for piece in corpus.pieces()] == [Split.TRAIN, Split.VALID, Split.TEST]
