from pathlib import Path

import numpy as np
import pytest

from music.bundle import Bundle, load_bundle
from music.remaining_length import UNKNOWN
from runtime.host_runner import HostRunner
from runtime.precision import Precision
from runtime.runner import Chunk
from runtime.scorer import ForcedScorer, open_scorer
from tests.random_bundle import with_tokenizer, write_bundle
from tests.unit.music.tokenizers.test_note_tracker import TOKENIZERS, random_piece
from training.evaluation.decode_scoring import DecodeScorer

EVENTS = TOKENIZERS["piano"]
LENGTHS = (1, 37, 90, 5)
PIECES = [random_piece(EVENTS, seed, length) for seed, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def events_bundle(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of `events` without prefill and score graphs."""
    made = write_bundle(
        tmp_path_factory.mktemp("events") / "made", with_tokenizer(load_bundle(small_bundle), EVENTS), 1, 16
    )
    assert made.manifest.graphs.prefill is None
    return made


def forced_chunk(tokens: list[int], vocabulary: int) -> Chunk:
    steps = len(tokens)
    return Chunk(
        rows=np.zeros(1, np.intp),
        uniforms=np.zeros((1, steps), np.float32),
        forced=np.array([tokens], np.int64),
        temperature=np.ones(1, np.float32),
        top_k=np.zeros(1, np.int64),
        top_p=np.ones(1, np.float32),
        bias=np.zeros((1, vocabulary), np.float32),
        bias_index=np.zeros((1, steps), np.int64),
    )


@pytest.mark.parametrize("tokens_at_once", [1, 64, 10_000])
def test_log_probabilities_are_those_of_the_logits(events_bundle: Bundle, tokens_at_once: int) -> None:
    scorer = open_scorer(events_bundle, threads=1)
    assert isinstance(scorer, ForcedScorer)
    found = scorer.log_probabilities([*PIECES, PIECES[0][:0]], [0] * 5, tokens_at_once=tokens_at_once)
    logits = DecodeScorer(events_bundle, "float32", threads=1).logits(PIECES, [0] * 4)
    assert found[4].shape == (0,)
    for piece, scored, expected in zip(PIECES, found, logits, strict=False):
        masked = np.where(EVENTS.grammar.masks(piece), expected.astype(np.float64), -np.inf)
        totals = np.log(np.exp(masked - masked.max(1, keepdims=True)).sum(1)) + masked.max(1)
        np.testing.assert_allclose(scored, masked[np.arange(len(piece)), piece] - totals, atol=1e-4)


def test_a_token_that_the_grammar_forbids_is_impossible(events_bundle: Bundle) -> None:
    wrong = PIECES[1].copy()
    wrong[3] = EVENTS.vocabulary.first_pitch  # in the header
    (scored,) = open_scorer(events_bundle, threads=1).log_probabilities([wrong], [0])
    assert scored[3] == -np.inf
    assert np.isfinite(scored[:3]).all()


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_forced_tokens_of_any_kind_in_any_order_are_read(events_bundle: Bundle, precision: Precision) -> None:
    runner = HostRunner(events_bundle, slots=1, provider="cpu", threads=1, precision=precision)
    rng = np.random.default_rng(0)
    runner.reset(0, 0)
    for _ in range(60):
        tokens = rng.integers(0, EVENTS.vocabulary_size, 16).tolist()
        decoded = runner.decode(forced_chunk(tokens, EVENTS.vocabulary_size))
        assert decoded.tokens[0].tolist() == tokens
        assert not np.isnan(decoded.log_probabilities).any()


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("slice_tokens", [1, 7, 64])
def test_a_prefill_gives_the_state_of_the_decoded_tokens(
    events_bundle: Bundle, precision: Precision, slice_tokens: int
) -> None:
    runner = HostRunner(events_bundle, slots=2, provider="cpu", threads=1, precision=precision)
    tokens = PIECES[1].astype(np.int64)
    runner.reset(0, 0)
    runner.reset(1, 0, UNKNOWN)
    assert sum(runner.prefill(1, tokens, slice_tokens)) == len(tokens)
    for token in tokens.tolist():
        runner.decode(forced_chunk([token], events_bundle.network.vocabulary))
    decoded, read = runner.state(0), runner.state(1)
    assert decoded.keys() == read.keys()
    for name, values in decoded.items():
        np.testing.assert_array_equal(values, read[name], err_msg=name)
