"""The samples of a model card, from a server that runs the bundle."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from training.errors import CardError
from training.model_card import SAMPLE_SUFFIXES, SAMPLES, SOUND_SUFFIX, CardSample, CardText

if TYPE_CHECKING:
    from fantasia_client import Piece

_ADDRESS: Final = re.compile(r"msg=serving address=(\S+)")
_STOP_SECONDS: Final = 30
_DOTS_PER_INCH: Final = 100
_COMPRESSION: Final = 0.9
"""Of the sound: 0 for the largest and best files, 1 for the smallest."""


def write_samples(bundle: Path, text: CardText) -> list[CardSample]:
    """Write the pieces that a card asks for into the bundle's `samples` folder: MIDI, piano roll, perhaps sound.

    Raises:
        CardError: the client or a package is not installed, the server does not start, or it refuses a request.
    """
    try:
        from fantasia_client import Client, FantasiaClientError
        from fantasia_client.piano_roll import save_piano_roll
    except ImportError as error:
        raise CardError(f"samples need the Python client with its extra `plot`: {error}") from error
    save_sound = _sound_writer() if text.sound else None
    folder = bundle / SAMPLES
    folder.mkdir(exist_ok=True)
    suffixes = [suffix for suffix in SAMPLE_SUFFIXES if text.sound or suffix != SOUND_SUFFIX]
    names = {f"{number}{suffix}" for number in range(1, len(text.samples) + 1) for suffix in suffixes}
    for path in folder.iterdir():
        if path.suffix in SAMPLE_SUFFIXES and path.name not in names:
            path.unlink()  # of an earlier card
    samples = []
    with _running_server(bundle) as address, Client(address, wait_for_ready=True) as client:
        for number, request in enumerate(text.samples, 1):
            path = folder / f"{number}.mid"
            try:
                piece = client.generate(
                    bars=request.bars, seed=request.seed, meter=request.meter, tempo_bpm=request.tempo_bpm
                )
            except FantasiaClientError as error:
                raise CardError(f"sample {number} ({request.command(bundle.name, path.name)}): {error}") from error
            same = path.exists() and path.read_bytes() == piece.midi
            piece.save(path)
            save_piano_roll(piece, path.with_suffix(".png"), dots_per_inch=_DOTS_PER_INCH)
            sound = path.with_suffix(SOUND_SUFFIX)
            if save_sound is not None and not (same and sound.exists()):  # its bytes differ from run to run
                save_sound(piece, sound)
            samples.append(CardSample(request, str(piece.meter), piece.bars, len(piece.notes)))
    return samples


def _sound_writer() -> Callable[["Piece", Path], None]:
    """Writes a piece as Ogg Opus: a tenth of the size of a WAV file."""
    try:
        import soundfile

        from fantasia_client.audio import render_wav
    except ImportError as error:
        raise CardError(f"sound needs the Python client's extra `audio`, and soundfile: {error}") from error

    def write(piece: "Piece", path: Path) -> None:
        samples, rate = soundfile.read(io.BytesIO(render_wav(piece)), dtype="float32")
        mono = samples.mean(axis=1)
        soundfile.write(path, mono, rate, format="OGG", subtype="OPUS", compression_level=_COMPRESSION)

    return write


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
