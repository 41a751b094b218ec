from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.churn.__main__ import main, parse_options, run
from bench.churn.episode import Circumstances, first_difference, live
from bench.churn.pool import Answer, Pool, make_pool
from bench.churn.record import as_markdown, as_text
from bench.runners import make_runner
from music.bundle import Bundle, load_bundle

CIRCUMSTANCES = Circumstances(
    slots=5, width=3, threads=1, chunk_sizes=(1, 16), precision="float32", provider="cpu", seed=4
)


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture(scope="module")
def pool(small: Bundle) -> Pool:
    runner = make_runner(small, slots=1, provider="cpu", threads=1, precision="float32")
    return make_pool(small, runner, count=60, seed=1)


def test_the_pool_mixes_everything_that_a_caller_decides(pool: Pool) -> None:
    requests = pool.requests

    assert len(set(requests)) == len(requests) == len(pool.answers)
    assert {bool(request.forced) for request in requests} == {True, False}
    assert {request.may_end for request in requests} == {True, False}
    assert {request.stop_token is None for request in requests} == {True, False}
    assert len({request.sampling for request in requests}) > 20
    assert {answer.reason for answer in pool.answers} == {"length", "end"}
    assert max(len(request.forced) for request in requests) >= 128  # a primer, read in slices


def test_forced_tokens_are_legal(small: Bundle, pool: Pool) -> None:
    assert all(small.tokenizer.grammar.accepts(np.array(request.forced, np.int64)) for request in pool.requests)


def test_a_crowd_writes_what_each_wrote_alone(small_bundle: Path, pool: Pool) -> None:
    episode, mismatches = live(small_bundle, pool, CIRCUMSTANCES, requests=200, number=0)

    assert (episode.requests, episode.mismatches, mismatches) == (200, 0, [])
    assert episode.cancelled > 0
    assert episode.widest == 3


def test_one_wrong_token_is_found_and_told(small_bundle: Path, pool: Pool) -> None:
    wrong = Answer(pool.answers[7].tokens.copy(), pool.answers[7].reason)
    wrong.tokens[3] += 1
    answers = tuple(wrong if index == 7 else answer for index, answer in enumerate(pool.answers))
    episode, mismatches = live(small_bundle, replace(pool, answers=answers), CIRCUMSTANCES, requests=300, number=2)

    assert episode.mismatches == len(mismatches) or len(mismatches) == 5
    assert {mismatch.place for mismatch in mismatches} == {3}
    assert {mismatch.request for mismatch in mismatches} == {str(pool.requests[7])}
    assert {mismatch.episode for mismatch in mismatches} == {2}


def test_another_reason_to_end_is_a_mismatch_too() -> None:
    tokens = np.array([4, 5], np.int32)

    assert Answer(tokens, "end").same(Answer(tokens.copy(), "end"))
    assert not Answer(tokens, "end").same(Answer(tokens, "length"))
    assert not Answer(tokens, "end").same(Answer(tokens[:1], "end"))


def test_the_digest_of_the_answers_knows_tokens_and_reasons_and_who_wrote_them() -> None:
    def digest(*answers: tuple[list[int], str]) -> str:
        return Pool((), tuple(Answer(np.array(tokens, np.int32), reason) for tokens, reason in answers)).sha256

    same = digest(([4, 5], "end"), ([6], "length"))
    assert same == digest(([4, 5], "end"), ([6], "length"))
    others = [
        digest(([4, 5], "length"), ([6], "length")),
        digest(([4], "end"), ([5, 6], "length")),
        digest(([6], "length"), ([4, 5], "end")),
    ]
    assert len({same, *others}) == 4


@pytest.mark.parametrize(("one", "other", "place"), [([1, 2, 3], [1, 9, 3], 1), ([1, 2], [1, 2, 3], 2), ([1], [1], 1)])
def test_where_two_sequences_part(one: list[int], other: list[int], place: int) -> None:
    assert first_difference(one, other) == place


def test_one_command_compares_and_tells(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--bundle", str(small_bundle), "--requests", "60", "--distinct", "20", "--engines", "2"]
    arguments += ["--precision", "float32"]
    report = run(parse_options(arguments))

    assert [episode.requests for episode in report.episodes] == [30, 30]
    assert report.mismatches == 0
    assert [difference.precision for difference in report.differences] == ["int8"]
    assert "60 requests compared with what each of 20 distinct ones wrote alone: 0 mismatches" in as_text(report)
    assert f"what they wrote alone: sha256 {report.answers}\n" in as_text(report)
    assert as_markdown(report).startswith("- ")
    assert "engine 2 of 2: 60 answers compared, 0 mismatches" in capsys.readouterr().err


def test_a_missing_bundle_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("python -m bench.churn: error: ")
