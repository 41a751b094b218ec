"""`make demo`: starts a server, generates one piece with the Python client, stops, and prints what to try next."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final, TextIO

from fantasia_client import Client, Piece
from fantasia_client.piano_roll import save_piano_roll

ROOT: Final = Path(__file__).resolve().parents[1]
OUT: Final = Path("out")
MIDI: Final = OUT / "demo.mid"
PICTURE: Final = OUT / "demo.png"
LOG: Final = OUT / "server.log"
MODEL: Final = "piano"
BARS: Final = 16
SEED: Final = 7
TEMPO_BPM: Final = 132
_STARTED: Final = re.compile(r"msg=serving address=(\S+)")
_STOP_SECONDS: Final = 30

NEXT: Final = f"""
  {MIDI}    open it in MuseScore, GarageBand, VLC or any other program that plays MIDI
  {PICTURE}    the same piece as a piano roll
  {LOG}  log of the server

Next steps, in one terminal:
  start the server:       make serve
In another terminal:
  generate a piece:       .venv/bin/fantasia generate --model piano --bars 16 --seed 2 -o out/piano.mid
  generate a chorale:     .venv/bin/fantasia generate --model chorales --bars 8 -o out/chorale.mid
  generate a dance tune:  .venv/bin/fantasia generate --model folk --bars 16 --meter 6/8 -o out/jig.mid
  list the models:        .venv/bin/fantasia models
  train on your scores:   make train MIDI=folder NAME=mine
"""


def main() -> int:
    """Run the demo; the exit code is that of the server, 0 for success."""
    OUT.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "server", "--models", "models", "--port", "0", "--metrics-port", "0"]
    _print("starting a server with models/")
    with (
        LOG.open("w") as file,
        subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.PIPE, text=True) as server,  # noqa: S603 -- our own module
    ):
        try:
            address = _wait_until_serving(server, file)
            _print(f"generating {BARS} bars")
            with Client(address, wait_for_ready=True) as client:
                piece = client.generate(model=MODEL, bars=BARS, seed=SEED, tempo_bpm=TEMPO_BPM)
            piece.save(MIDI)
            save_piano_roll(piece, PICTURE)
        except KeyboardInterrupt:
            return 130
        finally:
            server.terminate()
            _, rest = server.communicate(timeout=_STOP_SECONDS)
            file.write(rest)
    _print(_summary(piece) + "\n" + NEXT.rstrip())
    return server.returncode


def _wait_until_serving(server: "subprocess.Popen[str]", log: TextIO) -> str:
    """The address from the server's log. If the server fails, the demo ends with its log."""
    assert server.stderr is not None
    lines = []
    for line in server.stderr:
        lines.append(line)
        log.write(line)
        if match := _STARTED.search(line):
            return match[1]
    raise SystemExit("the server did not start:\n" + "".join(lines))


def _summary(piece: Piece) -> str:
    return (
        f"the model {piece.model} generated {piece.bars:g} bars in {piece.timing.total_seconds:.2f} s: "
        f"{len(piece.notes)} notes, {piece.duration_seconds:.0f} s of music (seed {piece.seed})"
    )


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
