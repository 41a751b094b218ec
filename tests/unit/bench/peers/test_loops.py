from pathlib import Path

import numpy as np
import pytest

from bench.peers.loops import Loop, OnnxLoop, TorchLoop, VoiceState
from bench.systems import make_requests
from music.bundle import Bundle, load_bundle
from music.voice_tracker import VoiceTracker

PIECE = (10, 14, 0, 3, 0, 12, 9, 0, 0, 0, 11, 20, 2, 2, 15, 0)


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def test_voices_advance_as_the_network_was_taught() -> None:
    tracker = VoiceTracker(voices=2, vocabulary=24, hold=0, first_pitch=3, start=1)
    tokens = np.array(PIECE)
    voice_states, profile = tracker.states(tokens), tracker.profile(tokens)
    state = VoiceState(tracker, 2)
    for place, token in enumerate(tokens):
        assert np.array_equal(state.voice_states, np.stack([voice_states[place]] * 2))
        assert np.allclose(state.profile, profile[place], atol=1e-5)
        state.advance(np.array([token, token]))


@pytest.mark.parametrize("make", [TorchLoop, OnnxLoop])
def test_a_loop_writes_what_the_grammar_allows_alone_and_in_a_batch(
    small: Bundle, make: type[TorchLoop | OnnxLoop]
) -> None:
    loop: Loop = make(small)
    requests = [*make_requests(small, 6, [1, 2]), *make_requests(small, 4, [3])]
    together = loop.write(requests)

    assert [len(tokens) for tokens in together] == [request.max_tokens for request in requests]
    assert all(small.tokenizer.grammar.accepts(tokens) for tokens in together)
    assert [tokens.tolist() for tokens in together] == [loop.write([request])[0].tolist() for request in requests]
