"""The samples of a model card, from a server that runs the bundle."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from training.errors import CardError
from training.model_card import SAMPLES, CardSample, SampleRequest

_ADDRESS: Final = re.compile(r"msg=serving address=(\S+)")
_STOP_SECONDS: Final = 30
_DOTS_PER_INCH: Final = 100


def write_samples(bundle: Path, requests: Sequence[SampleRequest]) -> list[CardSample]:
    """Write the piece of each request as MIDI and piano roll into the bundle's `samples` folder.

    Raises:
        CardError: the client is not installed, the server does not start, or it refuses a request.
    """
    try:
        from fantasia_client import Client, FantasiaClientError
        from fantasia_client.piano_roll import save_piano_roll
    except ImportError as error:
        raise CardError(f"samples need the Python client with its extra `plot`: {error}") from error
    folder = bundle / SAMPLES
    folder.mkdir(exist_ok=True)
    samples = []
    with _running_server(bundle) as address, Client(address, wait_for_ready=True) as client:
        for number, request in enumerate(requests, 1):
            path = folder / f"{number}.mid"
            try:
                piece = client.generate(bars=request.bars, seed=request.seed, meter=request.meter)
            except FantasiaClientError as error:
                raise CardError(f"sample {number} ({request.command(bundle.name, path.name)}): {error}") from error
            piece.save(path)
            save_piano_roll(piece, path.with_suffix(".png"), dots_per_inch=_DOTS_PER_INCH)
            samples.append(CardSample(request, str(piece.meter), piece.bars, len(piece.notes)))
    return samples


@contextmanager
def _running_server(bundle: Path) -> Iterator[str]:
    """Serve the bundle on a free port during the `with` block; the server's address."""
    command = [sys.executable, "-m", "server", "--models", str(bundle), "--port", "0", "--metrics-port", "0"]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("FANTASIA_")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=settings) as server:  # noqa: S603 -- our own
        assert server.stderr is not None
        log = []
        try:
            for line in server.stderr:
                log.append(line)
                if match := _ADDRESS.search(line):
                    yield match[1]
                    break
            else:
                raise CardError(f"the server does not start: {log[-1].strip() if log else 'it printed nothing'}")
        finally:
            server.terminate()
            server.communicate(timeout=_STOP_SECONDS)
