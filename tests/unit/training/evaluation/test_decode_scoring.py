"""Scorers of a bundle without a scoring graph."""

from pathlib import Path

import numpy as np
import pytest

from music.bundle import Bundle, load_bundle
from music.remaining_length import UNKNOWN
from tests.random_bundle import with_tokenizer, write_bundle
from tests.unit.music.tokenizers.test_note_tracker import TOKENIZERS, random_piece
from training.evaluation import network_scoring
from training.evaluation.decode_scoring import DecodeScorer, logit_scorer
from training.evaluation.network_scoring import NetworkScorer

EVENTS = TOKENIZERS["piano"]
PIECES = [random_piece(EVENTS, seed, length) for seed, length in enumerate((1, 37, 90, 5))]


@pytest.fixture(scope="module")
def events_bundle(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("events") / "made"
    return write_bundle(folder, with_tokenizer(load_bundle(small_bundle), EVENTS), 1, 16)


@pytest.mark.parametrize("known", [False, True])
def test_the_network_scores_as_the_decode_graphs(
    events_bundle: Bundle, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_scoring, "_WINDOW", 16)
    scorer = logit_scorer(events_bundle, None)
    assert isinstance(scorer, NetworkScorer)
    of_piece = EVENTS.remaining_length.of_piece
    lengths = [of_piece(piece) if known else UNKNOWN for piece in PIECES]
    found = scorer.logits(PIECES, [0] * 4, lengths)
    expected = DecodeScorer(events_bundle, "float32", threads=1).logits(PIECES, [0] * 4, lengths)
    for piece, logits, wanted in zip(PIECES, found, expected, strict=True):
        assert logits.shape == (len(piece), EVENTS.vocabulary_size)
        np.testing.assert_allclose(logits, wanted, atol=1e-4)


def test_a_precision_is_scored_by_its_own_graphs(events_bundle: Bundle) -> None:
    assert isinstance(logit_scorer(events_bundle, "int8"), DecodeScorer)
