"""Samples of the small real bundle."""

import numpy as np
import pytest

from music.bundle import Bundle
from music.score import Note, Score, ScoreAttributes
from music.tokenizers import EventsTokenizer
from training.corpus.store import Corpus, Split
from training.evaluation.pieces import tokenize_split
from training.evaluation.record import Sampling
from training.evaluation.sampling import Prompt, decode_sample, defaults_of, prompts_like, sample_pieces


def test_samples_have_the_lengths_and_meters_of_the_held_out_pieces(small: Bundle, corpus: Corpus) -> None:
    held_out = tokenize_split(corpus, Split.TEST, small.tokenizer)
    prompts = prompts_like(held_out, 5)
    samples = sample_pieces(small, prompts, [defaults_of(small)] * 5, seed=1, threads=1)
    for index, sample in enumerate(samples):
        like = held_out[index % len(held_out)]
        assert len(sample.tokens) == len(like.encoding.tokens) - 1
        assert small.tokenizer.end_token not in sample.tokens
        assert small.tokenizer.grammar.accepts(sample.tokens)
        assert (sample.score.meter, sample.score.pickup_ticks) == (like.score.meter, like.score.pickup_ticks)
        assert sample.score.length_ticks == like.score.length_ticks


def test_notes_beyond_the_length_are_cut_and_counted() -> None:
    tokenizer = EventsTokenizer(lowest_pitch=40, highest_pitch=80)
    attributes = ScoreAttributes()
    notes = (Note(0, 480, 60), Note(960, 960, 64), Note(1440, 480, 67), Note(1440, 960, 48, voice=1))
    tokens = tokenizer.encode(Score(notes, 1920)).tokens[:-1]
    sample = decode_sample(tokenizer, tokens, Prompt(1920, 0, attributes))
    assert sample.cut_notes == 1
    assert [note.end for note in sample.score.notes] == [480, 1920, 1920, 1920]
    assert decode_sample(tokenizer, tokens, Prompt(3840, 0, attributes)).cut_notes == 0


@pytest.mark.slow
def test_a_sample_depends_on_its_own_seed_and_parameters_alone(small: Bundle, corpus: Corpus) -> None:
    prompts = prompts_like(tokenize_split(corpus, Split.TEST, small.tokenizer), 4)
    cold, hot = (Sampling(temperature=value, top_k=0, top_p=1.0) for value in (0.7, 1.2))
    together = sample_pieces(small, prompts, [cold, hot, cold, hot], seed=10, threads=1)
    (alone,) = sample_pieces(small, prompts[2:3], [cold], seed=12, threads=1)
    np.testing.assert_array_equal(together[2].tokens, alone.tokens)
    assert any((a.tokens != b.tokens).any() for a, b in zip(together[:1], together[2:3], strict=True))
