"""Bundles whose files are links into a content store can be read by every tool that reads bundles."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from music.bundle import Bundle, load_bundle
from runtime.precision import Precision
from runtime.scorer import Scorer
from tests.stores import link_into_store
from training.drawing import draw_bundle
from training.evaluation.decode_scoring import DecodeScorer
from training.graphs.from_bundle import read_initializers

TOKENS = [np.array([4, 5, 6, 7, 3, 3, 8, 9])]


@pytest.fixture
def plain(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture
def linked(small_bundle: Path, tmp_path: Path) -> Bundle:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    link_into_store(copy, tmp_path / "store")
    return load_bundle(copy)


def test_weights_are_read_through_links(plain: Bundle, linked: Bundle) -> None:
    here, there = read_initializers(plain), read_initializers(linked)

    assert here.keys() == there.keys()
    assert all(np.array_equal(here[name], there[name]) for name in here)
    assert sum(array.nbytes for array in here.values()) > 10_000


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_graphs_score_through_links(plain: Bundle, linked: Bundle, precision: Precision) -> None:
    for scorer in (lambda bundle: Scorer(bundle, threads=1), lambda b: DecodeScorer(b, precision, threads=1)):
        (here,), (there,) = (scorer(bundle).logits(TOKENS, [0]) for bundle in (plain, linked))
        assert np.array_equal(here, there)


def test_a_graph_is_drawn_through_links(linked: Bundle, tmp_path: Path) -> None:
    draw_bundle(linked.path, tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size > 10_000
