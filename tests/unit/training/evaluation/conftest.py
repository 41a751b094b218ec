from pathlib import Path

import pytest

from music.bundle import Bundle, load_bundle
from training.corpus.store import Corpus


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture(scope="module")
def corpus(small_corpus: Path) -> Corpus:
    return Corpus.load(small_corpus)
