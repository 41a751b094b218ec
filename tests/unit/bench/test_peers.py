from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.load import play_round
from bench.peers.loops import Loop, OnnxLoop, TorchLoop, worst_logit
from bench.peers.measure import PEERS, TOLERANCE, Peer, serving
from bench.peers.voices import VoiceState
from bench.workload import plan_requests
from music.bundle import Bundle, load_bundle
from music.voicing import Voicing

PIECE = (10, 14, 0, 3, 0, 12, 9, 0, 0, 0, 11, 20, 2, 2, 15, 0)


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def test_voices_advance_as_the_network_was_taught() -> None:
    voicing = Voicing(voices=2, vocabulary=24, hold=0, first_pitch=3, start=1)
    tokens = np.array(PIECE)
    registers, profile = voicing.registers(tokens), voicing.profile(tokens)
    state = VoiceState(voicing, 2)
    for place, token in enumerate(tokens):
        assert np.array_equal(state.registers, np.stack([registers[place]] * 2))
        assert np.allclose(state.profile, profile[place], atol=1e-5)
        assert np.array_equal(state.features()[0], voicing.features(registers[place]))
        state.advance(np.array([token, token]))


def test_the_network_in_pytorch_is_the_bundles(small: Bundle) -> None:
    (request,) = plan_requests(small, 12, [5])

    assert worst_logit(small, request) < TOLERANCE


@pytest.mark.parametrize("make", [TorchLoop, OnnxLoop])
def test_a_loop_writes_what_the_grammar_allows_alone_and_in_a_batch(
    small: Bundle, make: type[TorchLoop | OnnxLoop]
) -> None:
    loop: Loop = make(small)
    requests = [*plan_requests(small, 6, [1, 2]), *plan_requests(small, 4, [3])]
    together = loop.write(requests)

    assert [len(tokens) for tokens in together] == [request.max_tokens for request in requests]
    assert all(small.tokenizer.grammar.accepts(tokens) for tokens in together)
    assert [tokens.tolist() for tokens in together] == [loop.write([request])[0].tolist() for request in requests]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_answers_many_clients(small_bundle: Path, peer: Peer) -> None:
    with serving(peer, small_bundle) as target:
        played = play_round(target, 3, 4, first_seed=0)
    workers = [process for process in psutil.process_iter() if str(small_bundle) in _cmdline(process)]
    _, left = psutil.wait_procs(workers, timeout=20)

    assert left == []
    assert played.finished
    assert {call.tokens for call in played.finished} == {8}


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:  # it has just gone
        return []
