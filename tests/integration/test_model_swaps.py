"""A server as a process whose volume is swapped as the kubelet swaps one, while it serves."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from fantasia_client import Client, ModelNotFoundError
from tests.integration.serving import serving
from tests.repositories import copy_bundle

pytestmark = pytest.mark.slow
SWAPS = int(os.environ.get("FANTASIA_TEST_SWAPS", "6"))
"""Number of swaps; more of them show a leak more clearly."""


def swap(volume: Path, source: Path, number: int) -> None:
    """Give the volume a new content: a folder of its own, to which `..data` leads after one rename."""
    old = (volume / "..data").resolve() if (volume / "..data").exists() else None
    content = volume / f"..{number:06}"
    copy_bundle(source, content / "duo" / "1", "duo", f"Content {number}.")
    (volume / "..data_tmp").symlink_to(content.name)
    (volume / "..data_tmp").rename(volume / "..data")
    if old is None:
        (volume / "duo").symlink_to("..data/duo")
    else:
        shutil.rmtree(old)


def description(client: Client, number: int) -> None:
    """Wait until the server serves a content."""
    until = time.monotonic() + 60
    while client.get_model("duo").description != f"Content {number}.":
        assert time.monotonic() < until, "the swap is not seen"
        time.sleep(0.05)


def resources(pid: int) -> tuple[int, int, int]:
    """Threads, descriptors and resident memory (MB) of a process."""
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir())), pages * 4096 // 1_000_000


@pytest.mark.parametrize("poll", ["0", "0.2"])
def test_a_swapped_volume_is_served_and_leaves_nothing_behind(small_bundle: Path, tmp_path: Path, poll: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    swap(volume, small_bundle, 0)
    options = ("--models", str(volume), "--provider", "cpu", "--model-poll-seconds", poll)
    with serving(*options) as (address, pid), Client(address) as client:
        first = client.generate(bars=4, seed=1)
        measured = []
        for number in range(1, SWAPS + 1):
            swap(volume, small_bundle, number)
            if poll == "0":
                os.kill(pid, signal.SIGHUP)
            description(client, number)
            piece = client.generate(bars=4, seed=1)
            assert piece.model_digest != first.model_digest
            assert piece.midi == first.midi
            while client.list_unavailable_models():
                time.sleep(0.05)
            measured.append(resources(pid))
        settled = measured[min(5, SWAPS // 2) :]
        for kind in (0, 1):
            numbers = [each[kind] for each in settled]
            assert max(numbers) - min(numbers) <= 3, measured
        memory = [each[2] for each in settled]
        assert memory[-1] - memory[0] <= 20, measured


def test_a_piece_that_is_streamed_outlives_its_model(small_bundle: Path, tmp_path: Path) -> None:
    copy_bundle(small_bundle, tmp_path / "duo", "duo")
    copy_bundle(small_bundle, tmp_path / "other", "other")
    options = ("--models", str(tmp_path), "--provider", "cpu", "--default-model", "other", "--model-poll-seconds", "0")
    with serving(*options) as (address, pid), Client(address) as client:
        whole = client.generate(model="duo", bars=32, seed=1, return_resume_token=True)
        with client.stream(model="duo", bars=32, seed=1) as stream:
            updates = iter(stream)
            next(updates)
            shutil.rmtree(tmp_path / "duo")
            os.kill(pid, signal.SIGHUP)
            until = time.monotonic() + 60
            while "duo" in [model.name for model in client.list_models()]:
                assert time.monotonic() < until, "the removal is not seen"
                time.sleep(0.02)
            for _ in updates:
                pass
            assert stream.piece is not None
            assert stream.piece.midi == whole.midi
        with pytest.raises(ModelNotFoundError, match="model 'duo' is not loaded; loaded models: other"):
            client.generate(model="duo", bars=1)
        with pytest.raises(ModelNotFoundError, match="model 'duo' is not loaded"):
            client.generate(resume=whole.resume_point)
