"""Real music as the reference of an evaluation."""

from pathlib import Path

import numpy as np
import pytest

from music.bundle import Bundle
from music.score import Score
from music.tokenizers import EventsTokenizer, GridTokenizer, NoteChordTokenizer
from training.corpus.store import CompactScore, Corpus, Split
from training.errors import CorpusError
from training.evaluation.pieces import onset_tokens
from training.evaluation.reference import Reference
from training.evaluation.sampling import prompts_like


def test_music_of_the_training_set_itself_is_no_farther_than_it_is(small: Bundle, corpus: Corpus) -> None:
    reference = Reference(corpus, Split.TEST, small.tokenizer)
    _, comparisons = reference.compare([piece.score for piece in reference.training], replicates=0)
    for name, comparison in comparisons.items():
        assert comparison.ratio.value == pytest.approx(1.0, abs=0.1), name


def test_one_voice_has_no_voice_leading(small_corpus: Path, tmp_path: Path) -> None:
    tokenizer = GridTokenizer(voices=1, lowest_pitch=36, highest_pitch=84)
    reference = Reference(Corpus.load(small_corpus), Split.TEST, tokenizer)
    assert not reference.has_voice_leading
    assert list(reference.match_bounds) == ["texture"]
    assert [sentence.split()[0] for sentence in reference.remarks] == ["Memorisation", "Voice"]


def test_every_tokenizer_can_be_evaluated(corpus: Corpus) -> None:
    """Tokenizers without steps or voices too. ScoreAttributes tokens are forced, not sampled."""
    scores = [piece.score for piece in corpus.pieces()]
    for cls, names in ((EventsTokenizer, ["texture", "melody"]), (NoteChordTokenizer, ["texture", "melody"])):
        tokenizer = cls.fit({}, scores)
        reference = Reference(corpus, Split.TEST, tokenizer)
        assert list(reference.match_bounds) == names
        assert not reference.has_voice_leading
        assert reference.run_bound >= 1
        _, comparisons = reference.compare([piece.score for piece in reference.held_out], replicates=0)
        assert comparisons["interval"].generated == pytest.approx(0.0, abs=0.006)
        (prompt,) = prompts_like(reference.held_out, 1)
        like = reference.held_out[0]
        opening = tokenizer.header_tokens(prompt.attributes)
        np.testing.assert_array_equal(like.encoding.tokens[: len(opening)], opening)
        assert prompt.length_ticks == like.score.length_ticks
        assert tokenizer.token_count(prompt.length_ticks, prompt.attributes) >= len(like.encoding.tokens) - 1
        assert like.score.meter is not None
        lead = like.score.meter.bar_ticks - like.score.pickup_ticks if like.score.pickup_ticks else 0
        bars = -(-(like.score.length_ticks + lead) // like.score.meter.bar_ticks)
        counted = tokenizer.bar_count(prompt.length_ticks, prompt.attributes)
        assert counted == (bars if cls is EventsTokenizer else 0)
        notes = sum(len(piece.score.notes) for piece in reference.held_out)
        onsets = sum(int(onset_tokens(tokenizer)[piece.encoding.tokens].sum()) for piece in reference.held_out)
        assert onsets == (
            notes if cls is EventsTokenizer else sum(len(p.encoding.tokens) - 1 for p in reference.held_out)
        )


def test_a_corpus_without_a_training_split_gives_a_sentence(small: Bundle) -> None:
    notes = CompactScore.of(Score((), 480))
    with pytest.raises(CorpusError, match="has no token for any train piece"):
        Reference(Corpus(["a"], np.array([2], np.uint8), [notes], "made up"), Split.TEST, small.tokenizer)
