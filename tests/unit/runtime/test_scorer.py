from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.bundle import Bundle, load_bundle
from runtime.host_runner import HostRunner
from runtime.scorer import Scorer, batches
from tests.unit.runtime.runner_driver import free_run

PIECES = 7


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture(scope="module")
def scorer(small: Bundle) -> Scorer:
    return Scorer(small, threads=1)


@pytest.fixture(scope="module")
def pieces(small: Bundle) -> list[NDArray[np.int64]]:
    """Legal tokens, 1 to 96 a piece."""
    runner = HostRunner(small, slots=PIECES, provider="cpu", threads=1)
    for slot in range(PIECES):
        runner.reset(slot, slot % 5)
    tokens = np.concatenate([runner.decode(free_run(runner, 16)).tokens for _ in range(6)], axis=1)
    return [tokens[row, : max(1, 16 * row)] for row in range(PIECES)]


def expected(small: Bundle, scorer: Scorer, pieces: list[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
    """Written out, one piece in a run."""
    answers = []
    for index, piece in enumerate(pieces):
        (logits,) = scorer.logits([piece], [index % 5])
        legal = small.tokenizer.grammar.masks(piece)
        shares = np.where(legal, np.exp(logits.astype(np.float64)), 0)
        answers.append(np.log(shares[np.arange(len(piece)), piece] / shares.sum(axis=1)))
    return answers


@pytest.mark.parametrize("tokens_at_once", [1, 10, 50, 200, 100_000])
def test_log_probabilities_do_not_depend_on_the_runs(
    small: Bundle, scorer: Scorer, pieces: list[NDArray[np.int64]], tokens_at_once: int
) -> None:
    """Pieces of any lengths together, and long pieces in several runs."""
    starts = [index % 5 for index in range(PIECES)]
    scored = scorer.log_probabilities(pieces, starts, tokens_at_once=tokens_at_once)
    for row, (got, want) in enumerate(zip(scored, expected(small, scorer, pieces), strict=True)):
        assert got.dtype == np.float32
        assert got == pytest.approx(want, abs=1e-4), row
    reordered = scorer.log_probabilities(pieces[::-1], starts[::-1], tokens_at_once=tokens_at_once)
    for got, again in zip(scored, reordered[::-1], strict=True):
        assert again == pytest.approx(got, abs=1e-4)


def test_no_pieces_and_empty_pieces_have_no_log_probabilities(scorer: Scorer, pieces: list[NDArray[np.int64]]) -> None:
    assert scorer.log_probabilities([], []) == []
    empty = np.zeros(0, np.int64)
    scored = scorer.log_probabilities([empty, pieces[2], empty], [0, 2, 0])
    assert [len(each) for each in scored] == [0, 32, 0]


def test_a_forbidden_token_has_probability_zero(small: Bundle, scorer: Scorer) -> None:
    grammar = small.tokenizer.grammar
    (forbidden, *_) = np.flatnonzero(~grammar.allowed[grammar.start])
    (scored,) = scorer.log_probabilities([np.array([forbidden])], [0])
    assert scored.tolist() == [-np.inf]


def test_a_run_has_no_more_tokens_than_told(
    small: Bundle, pieces: list[NDArray[np.int64]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(small, threads=1)
    sizes: list[int] = []
    session = scorer._session

    class Spy:
        def run(self, outputs: tuple[str, ...], inputs: dict[str, NDArray[np.int64]]) -> list[NDArray[np.float32]]:
            sizes.append(inputs["previous"].size)
            results: list[NDArray[np.float32]] = session.run(outputs, inputs)
            return results

    monkeypatch.setattr(scorer, "_session", Spy())
    scorer.log_probabilities(pieces, [0] * PIECES, tokens_at_once=40)
    assert max(sizes) <= 40
    assert sum(sizes) >= sum(map(len, pieces))


@given(lengths=st.lists(st.integers(0, 60), max_size=40), limit=st.integers(1, 100))
@settings(max_examples=100)
def test_batches_contain_every_piece_once(lengths: list[int], limit: int) -> None:
    found = list(batches(lengths, limit))
    assert sorted(index for batch in found for index in batch) == [i for i, length in enumerate(lengths) if length]
    for batch in found:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= limit
