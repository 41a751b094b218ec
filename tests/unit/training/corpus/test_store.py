from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from music.score import Note, Score
from tests.unit.music.strategies import any_scores
from training.corpus.store import CompactScore, Corpus, Split
from training.errors import CorpusError


@given(score=any_scores())
def test_a_packed_score_unpacks_to_itself(score: Score) -> None:
    assert CompactScore.of(score).score() == score


def test_a_corpus_comes_back_from_its_file(small_corpus: Path, tmp_path: Path) -> None:
    corpus = Corpus.load(small_corpus)
    corpus.save(tmp_path / "deep" / "copy.npz")
    copy = Corpus.load(tmp_path / "deep" / "copy.npz")
    assert list(copy.pieces()) == list(corpus.pieces())
    assert [corpus.count(split) for split in Split] == [5, 2, 2]
    assert [piece.name for piece in corpus.pieces(Split.VALID)] == ["piece5", "piece6"]
    assert corpus.note_count == sum(len(piece.score.notes) for piece in corpus.pieces())
    assert not list(tmp_path.rglob("*.partial"))


def test_what_is_no_corpus_is_refused(small_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no corpus at"):
        Corpus.load(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(CorpusError, match="is not a corpus"):
        Corpus.load(tmp_path / "text.npz")
    for size in (30, 400, 1200):
        (tmp_path / "cut.npz").write_bytes(small_corpus.read_bytes()[:size])
        with pytest.raises(CorpusError, match="is not a corpus"):
            Corpus.load(tmp_path / "cut.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(CorpusError, match="is not a corpus"):
        Corpus.load(tmp_path / "single.npy")
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    with pytest.raises(CorpusError, match="is not a corpus"):
        Corpus.load(tmp_path / "other.npz")


def test_a_file_without_dynamics_is_completed(tmp_path: Path) -> None:
    flat, varied = ((Note(0, 480, 60, 90), Note(480, 480, 62, velocity)) for velocity in (90, 91))
    corpus = Corpus(
        ["flat", "varied"],
        np.zeros(2, np.uint8),
        [CompactScore.of(Score(notes, 960, has_dynamics=False)) for notes in (flat, varied)],
        "two pieces",
    )
    corpus.save(tmp_path / "new.npz")
    assert [piece.score.has_dynamics for piece in Corpus.load(tmp_path / "new.npz").pieces()] == [False, False]
    with np.load(tmp_path / "new.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "old.npz", **(arrays | {"headers": arrays["headers"][:, :7]}))
    assert [piece.score.has_dynamics for piece in Corpus.load(tmp_path / "old.npz").pieces()] == [False, True]


def test_a_corpus_of_another_format_version_is_refused(small_corpus: Path, tmp_path: Path) -> None:
    with np.load(small_corpus) as file:
        arrays = dict(file)
    arrays["about"] = np.array('{"format_version": 9, "source": "x"}')
    np.savez(tmp_path / "new.npz", **arrays)
    with pytest.raises(CorpusError, match="corpus format 9"):
        Corpus.load(tmp_path / "new.npz")
