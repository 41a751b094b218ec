"""`make demo`: serve the shipped model, generate one piece through the Python client, and stop again."""

import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Final, TextIO

from fantasia_client import Client, Piece
from fantasia_client.piano_roll import save_piano_roll

OUT: Final = Path("out")
BARS: Final = 8
SEED: Final = 7
_STARTED: Final = re.compile(r"msg=serving address=(\S+) metrics_port=(\d+)")
_STOP_SECONDS: Final = 30


def main() -> int:
    """Play the demo; the exit code is the server's, 0 when all went well."""
    OUT.mkdir(exist_ok=True)
    log = OUT / "server.log"
    command = [sys.executable, "-m", "server", "--models", "models", "--port", "0", "--metrics-port", "0"]
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, text=True) as server:  # noqa: S603 -- our own module
        try:
            address, metrics_port = _wait_until_serving(server, file)
            with Client(address, wait_for_ready=True) as client:
                piece = client.generate(bars=BARS, seed=SEED)
            (OUT / "demo.mid").write_bytes(piece.midi)
            save_piano_roll(piece, OUT / "demo.png")
            _report(piece, _metrics(metrics_port))
        finally:
            server.terminate()
            _, rest = server.communicate(timeout=_STOP_SECONDS)
            file.write(rest)
    return server.returncode


def _wait_until_serving(server: "subprocess.Popen[str]", log: TextIO) -> tuple[str, int]:
    """Address and metrics port from the server's log; ends the demo with the server's own words if it fails."""
    assert server.stderr is not None
    seen = []
    for line in server.stderr:
        seen.append(line)
        log.write(line)
        if match := _STARTED.search(line):
            return match[1], int(match[2])
    raise SystemExit("the server did not start:\n" + "".join(seen))


def _metrics(port: int) -> list[str]:
    """The samples that this one request left behind: counts and sums, without empty ones and buckets."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    shown = re.compile(r"fantasia_\w+_(total|sum|count)(\{|\s)")
    return [line for line in lines if shown.match(line) and not line.endswith(" 0.0")]


def _report(piece: Piece, metrics: list[str]) -> None:
    timing = piece.timing
    write = sys.stdout.write
    write(f"wrote {OUT / 'demo.mid'} and {OUT / 'demo.png'}\n")
    length = f"{BARS} bars, {len(piece.notes)} notes, {piece.duration_seconds:.1f} s of music"
    write(f"{length} by {piece.model}, seed {piece.seed}\n")
    write(
        f"{piece.token_count} tokens in {timing.total_seconds:.3f} s "
        f"(queue {timing.queue_seconds:.4f} s, first token {timing.first_token_seconds:.4f} s)\n"
    )
    write("the request in the server's metrics:\n")
    for line in metrics:
        write(f"  {line}\n")


if __name__ == "__main__":
    sys.exit(main())
