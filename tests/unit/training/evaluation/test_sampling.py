"""Samples of the small real bundle."""

import numpy as np
import pytest

from music.bundle import Bundle
from training.corpus.store import Corpus, Split
from training.evaluation.pieces import tokenize_split
from training.evaluation.record import Sampling
from training.evaluation.sampling import defaults_of, prompts_like, sample_pieces


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


@pytest.mark.slow
def test_a_sample_depends_on_its_own_seed_and_parameters_alone(small: Bundle, corpus: Corpus) -> None:
    prompts = prompts_like(tokenize_split(corpus, Split.TEST, small.tokenizer), 4)
    cold, hot = (Sampling(temperature=value, top_k=0, top_p=1.0) for value in (0.7, 1.2))
    together = sample_pieces(small, prompts, [cold, hot, cold, hot], seed=10, threads=1)
    (alone,) = sample_pieces(small, prompts[2:3], [cold], seed=12, threads=1)
    np.testing.assert_array_equal(together[2].tokens, alone.tokens)
    assert any((a.tokens != b.tokens).any() for a, b in zip(together[:1], together[2:3], strict=True))
