"""Fixtures for tests of several packages."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from music.bundle import Bundle
from music.manifest import Defaults, Graphs, Manifest, Network, TokenizerEntry
from music.score import Meter, Note, Score
from music.tokenizers import GridTokenizer
from training.config import load_config
from training.corpus.store import CompactScore, Corpus
from training.export import export_run
from training.run import train

# No deadline: a busy machine may be slow at any time. `make test` tries the same examples in each run, so that a change
# is not blamed for what it did not do. `--hypothesis-profile explore` tries new ones, `quick` is for `make check`.
settings.register_profile("fantasia", deadline=None, derandomize=True)
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("fantasia")
torch.set_num_threads(1)  # more threads slow down networks this small


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores for `--numprocesses auto`: many tests wait for a server, a command or a timeout."""
    return int(os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") or (os.cpu_count() or 1) + 1)


@pytest.fixture
def bundle() -> Bundle:
    """A four-voice bundle like one from `load_bundle`, but without files: up to 32 bars of 4/4."""
    tokenizer = GridTokenizer(voices=4, lowest_pitch=36, highest_pitch=81, voice_order=(0, 3, 1, 2))
    manifest = Manifest(
        name="quartet",
        description="Generates what its runner returns.",
        tokenizer=TokenizerEntry(
            name=tokenizer.name, version=tokenizer.version, parameters=tokenizer.parameters, hash=tokenizer.hash
        ),
        network=Network(
            layers=1,
            hidden=8,
            vocabulary=tokenizer.vocabulary_size,
            position_count=len(tokenizer.positions),
            grammar_states=len(tokenizer.grammar.allowed),
            parameters=1234,
        ),
        graphs=Graphs(prefill="prefill.onnx", score="score.onnx", decode={1: "decode_1.onnx", 8: "decode_8.onnx"}),
        defaults=Defaults(temperature=0.9, top_k=20, top_p=0.95, tempo_bpm=96.0, program=19),
        max_steps=512,
        provenance={},
        metrics={"test_nats_per_token": 0.5},
        files=dict.fromkeys(("prefill.onnx", "score.onnx", "decode_1.onnx", "decode_8.onnx"), "0" * 64),
    )
    return Bundle(Path("quartet"), manifest, "d" * 64, tokenizer)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus file with nine short two-voice pieces, some in 3/4 with a pickup."""
    names, scores = [], []
    for index in range(9):
        meter, pickup = (Meter(3, 4), 480) if index % 3 else (Meter(4, 4), 0)
        notes = []
        for step in range(0, 60, 2):
            notes.append(Note(step * 120, 240, 67 + (step * 7 + index) % 12, 80, 0))
            if step % 4 == 0:
                notes.append(Note(step * 120, 480, 48 + (step * 5 + index) % 10, 80, 1))
        names.append(f"piece{index}")
        scores.append(CompactScore.of(Score(tuple(sorted(notes)), 7200, meter, pickup)))
    splits = np.array([0, 0, 0, 0, 0, 1, 1, 2, 2], np.uint8)
    path = tmp_path_factory.mktemp("corpus") / "small.npz"
    Corpus(names, splits, scores, "made up for tests").save(path)
    return path


@pytest.fixture(scope="session")
def small_run(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training run of the smoke configuration, two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    config = load_config("smoke", {"tokenizer.parameters.voices": "2", "training.epochs": "2"})
    train(config, small_corpus, folder, device="cpu", progress=False)
    return folder


@pytest.fixture(scope="session")
def small_bundle(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a trained network: two voices, 32 hidden units. Its music is poor."""
    path = tmp_path_factory.mktemp("models") / "small"
    export_run(small_run, path, name="small")
    return path
