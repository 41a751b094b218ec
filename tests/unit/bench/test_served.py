from pathlib import Path

import pytest

from bench.options import BenchError
from bench.served import served, started


@pytest.mark.slow
def test_a_server_is_watched_and_ends_with_its_context(small_bundle: Path, tmp_path: Path) -> None:
    with served(small_bundle, tmp_path) as server:
        assert server.is_ready()
        with server.watched():
            used = server.resources()
        assert min(used.resident_bytes, used.threads, used.descriptors) > 0
        assert server.peak_bytes >= used.resident_bytes
        assert server.metric("fantasia_slots") == server.metric("fantasia_slots", 'model="small"') == 256
        assert server.metric("fantasia_slots", 'model="other"') == 0

    assert not server.is_running
    assert not server.is_ready()
    with pytest.raises(BenchError, match="the server is gone"):
        server.resources()


@pytest.mark.slow
def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with started(tmp_path, tmp_path) as server, pytest.raises(BenchError, match=r"did not start: .*contains no bundle"):
        server.wait_until_ready()


@pytest.mark.slow
def test_a_signal_is_waited_for(small_bundle: Path, tmp_path: Path) -> None:
    with served(small_bundle, tmp_path) as server:
        with pytest.raises(BenchError, match="did not end within"):
            server.wait(0.05)
        server.process.terminate()
        assert server.wait() == 0
