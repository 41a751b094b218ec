from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from bench.load import LoadGenerator
from bench.peers.measure import PEERS, Peer, check_logits, serving
from music.bundle import Bundle, load_bundle


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def test_the_network_in_pytorch_is_the_bundles(small: Bundle) -> None:
    assert 0.0 < check_logits(small) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_answers_many_clients(small_bundle: Path, peer: Peer) -> None:
    with serving(peer, small_bundle) as target, ThreadPoolExecutor(1) as executor:
        window = LoadGenerator(executor, target).closed_loop(3, 4)
    workers = [process for process in psutil.process_iter() if str(small_bundle) in _cmdline(process)]
    _, left = psutil.wait_procs(workers, timeout=20)

    assert left == []
    assert window.finished
    assert {call.tokens for call in window.finished} == {8}


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:  # it has just gone
        return []
