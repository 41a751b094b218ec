"""What tests of several layers share."""

from pathlib import Path

import pytest

from music.bundle import Bundle, Defaults, Graphs, Manifest, Network, TokenizerEntry
from music.tokenizers import GridTokenizer


@pytest.fixture
def bundle() -> Bundle:
    """A four-voice bundle as `load_bundle` would give it, without files: up to 32 bars of 4/4."""
    tokenizer = GridTokenizer(voices=4, lowest_pitch=36, highest_pitch=81, voice_order=(0, 3, 1, 2))
    manifest = Manifest(
        name="quartet",
        description="Writes whatever its runner says.",
        tokenizer=TokenizerEntry(
            name=tokenizer.name, version=tokenizer.version, parameters=tokenizer.parameters, hash=tokenizer.hash
        ),
        network=Network(
            layers=1,
            hidden=8,
            vocabulary=tokenizer.vocabulary_size,
            clock_rows=len(tokenizer.clock.successor),
            grammar_states=len(tokenizer.grammar.allowed),
            parameters=1234,
        ),
        graphs=Graphs(prefill="prefill.onnx", decode={1: "decode_1.onnx", 8: "decode_8.onnx"}),
        defaults=Defaults(temperature=0.9, top_k=20, top_p=0.95, tempo_bpm=96.0, program=19),
        max_steps=512,
        provenance={},
        metrics={"test_nats_per_token": 0.5},
        files=dict.fromkeys(("prefill.onnx", "decode_1.onnx", "decode_8.onnx"), "0" * 64),
    )
    return Bundle(Path("quartet"), manifest, "d" * 64, tokenizer)
