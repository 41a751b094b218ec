"""Partly given pieces, written by the small real bundle."""

from pathlib import Path

import numpy as np
import pytest

from music.bundle import Bundle
from runtime.scorer import Scorer
from tests.unit.training.evaluation.scores import score
from training.corpus.store import CompactScore, Corpus, Split
from training.errors import CorpusError
from training.evaluation.likelihood import MeterMode, evaluate_split
from training.evaluation.pieces import tokenize_split
from training.evaluation.record import Ranking, Sampling
from training.evaluation.rewriting import evaluate_rewriting
from training.evaluation.rewriting_record import Figures, RewritingRecord
from training.evaluation.rewriting_tasks import Part, rewriting_tasks
from training.evaluation.sampling import write_plans

PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0)
LIKELIEST = [Ranking.LIKELIHOOD]


@pytest.fixture(scope="module")
def record(small: Bundle, corpus: Corpus) -> RewritingRecord:
    particles = {Part.SOPRANO: (1, 8), Part.BASS: (1,), Part.INFILL: (8,)}
    return evaluate_rewriting(
        small, corpus, Split.TEST, particles=particles, sampling=PLAIN, rankings=LIKELIEST, seed=3, threads=1
    )


def test_the_real_pieces_have_the_figures_of_evaluate(small: Bundle, corpus: Corpus, record: RewritingRecord) -> None:
    likelihood = evaluate_split(small, corpus, Split.TEST, MeterMode.GIVEN, threads=1)
    pieces = tokenize_split(corpus, Split.TEST, small.tokenizer)
    starts = [piece.encoding.first_position for piece in pieces]
    scored = Scorer(small, threads=1).log_probabilities([piece.encoding.tokens for piece in pieces], starts)
    without_end = likelihood.nats + sum(float(values[-1]) for values in scored)
    for results in record.parts:
        given, written = results.given_tokens, results.written_tokens
        assert given + written == likelihood.tokens - len(pieces)
        nats = results.real.given_nats.value * given + results.real.written_nats.value * written
        assert nats == pytest.approx(without_end, rel=1e-5)
        assert results.real.unchanged_share == 1
    soprano, bass = (results.real for results in record.parts[:2])
    assert soprano.given_nats == bass.written_nats  # of two voices, what one task gives the other writes
    assert soprano.faults == bass.faults | {"out_of_range": soprano.faults["out_of_range"]}


def test_written_pieces_keep_what_is_given_and_have_their_own_figures(record: RewritingRecord) -> None:
    for results in record.parts:
        for row in results.rewritten:
            figures = row.figures
            assert figures.unchanged_share == 1
            assert figures.written_nats != results.real.written_nats
            assert row.given_excess.low <= row.given_excess.value <= row.given_excess.high
            excess = figures.given_nats.value - results.real.given_nats.value
            assert row.given_excess.value == pytest.approx(excess)
            assert (figures.after_nats is None) == (results.part is not Part.INFILL)


def test_more_particles_find_likelier_pieces(record: RewritingRecord) -> None:
    one, eight = record.parts[0].rewritten
    assert (one.particles, eight.particles) == (1, 8)

    def nats(figures: Figures) -> float:
        results = record.parts[0]
        given, written = figures.given_nats.value, figures.written_nats.value
        return given * results.given_tokens + written * results.written_tokens

    assert nats(eight.figures) < nats(one.figures)


def test_the_same_arguments_give_the_same_record(small: Bundle, corpus: Corpus, record: RewritingRecord) -> None:
    told: list[RewritingRecord] = []
    again = evaluate_rewriting(
        small,
        corpus,
        Split.TEST,
        particles={Part.INFILL: (8,)},
        sampling=PLAIN,
        rankings=LIKELIEST,
        seed=3,
        threads=1,
        on_result=told.append,
    )
    assert again.parts[0] == record.parts[2]
    assert [each.parts for each in told] == [again.parts]


def test_the_figures_are_those_of_the_likeliest_candidate(
    small: Bundle, corpus: Corpus, record: RewritingRecord
) -> None:
    tasks = rewriting_tasks(small.tokenizer, tokenize_split(corpus, Split.TEST, small.tokenizer), Part.SOPRANO)
    tokens = write_plans(small, [task.plan for task in tasks], PLAIN, candidates=8, seed=3, threads=1)[
        Ranking.LIKELIHOOD
    ]
    starts = [task.plan.position_index for task in tasks]
    scored = Scorer(small, threads=1).log_probabilities(tokens, starts)
    given = np.concatenate([values[task.given] for values, task in zip(scored, tasks, strict=True)])
    figures = record.parts[0].rewritten[1].figures
    assert figures.given_nats.value == pytest.approx(-given.mean(dtype=np.float64))
    for task, ids in zip(tasks, tokens, strict=True):
        np.testing.assert_array_equal(ids[task.given], task.tokens[task.given])
        assert (ids != task.tokens).any()


def test_the_ranking_decides_which_candidate_counts(small: Bundle, corpus: Corpus) -> None:
    particles = {Part.INFILL: (1, 48)}
    rows = evaluate_rewriting(
        small, corpus, Split.TEST, particles=particles, sampling=PLAIN, rankings=list(Ranking), seed=3, threads=1
    )
    one, one_by_given, likeliest, by_given = rows.parts[0].rewritten
    assert one.figures == one_by_given.figures
    assert (likeliest.ranking, by_given.ranking) == (Ranking.LIKELIHOOD, Ranking.GIVEN)
    assert by_given.figures.given_nats.value < likeliest.figures.given_nats.value
    assert by_given.figures.written_nats.value > likeliest.figures.written_nats.value


def test_parallels_can_be_forbidden(small: Bundle, corpus: Corpus, record: RewritingRecord) -> None:
    particles = {Part.SOPRANO: (8,)}
    again = evaluate_rewriting(
        small, corpus, Split.TEST, particles=particles, sampling=PLAIN, no_parallels=True, seed=3, threads=1
    )
    free, (strict,) = record.parts[0].rewritten[1], again.parts[0].rewritten
    assert (free.no_parallels, strict.no_parallels) == (False, True)
    parallels = ("parallel_fifths", "parallel_octaves")
    assert sum(free.figures.faults[fault].value for fault in parallels) > 0
    assert sum(strict.figures.faults[fault].value for fault in parallels) == 0


def test_too_short_pieces_and_too_few_voices_are_refused(small: Bundle, tmp_path: Path) -> None:
    short = [CompactScore.of(score([72, 74], [48, 50])) for _ in range(3)]
    corpus = Corpus(["a", "b", "c"], np.array([0, 1, 2], np.uint8), short, source="made up")
    with pytest.raises(CorpusError, match="long enough"):
        evaluate_rewriting(small, corpus, Split.TEST, particles={Part.INFILL: (1,)}, sampling=PLAIN, threads=1)
    with pytest.raises(CorpusError, match="too few voices"):
        evaluate_rewriting(small, corpus, Split.TEST, particles={Part.UPPER: (1,)}, sampling=PLAIN, threads=1)
