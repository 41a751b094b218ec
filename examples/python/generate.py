"""Generate one piece and save it as MIDI: `python examples/python/generate.py [HOST:PORT]`."""

import sys

from fantasia_client import Client, FantasiaClientError, InvalidRequestError, Sampling


def main(server: str = "localhost:50051") -> int:
    """Call the server once; the exit code is 1 if the call fails."""
    with Client(server, wait_for_ready=True) as client:
        try:
            piece = client.generate(bars=8, seed=7, tempo_bpm=96, sampling=Sampling(temperature=0.9))
        except InvalidRequestError as error:
            for violation in error.violations:
                print(f"{violation.field}: {violation.description}", file=sys.stderr)
            return 1
        except FantasiaClientError as error:
            print(error, file=sys.stderr)
            return 1
    path = piece.save("piece.mid")
    print(f"{path}: {piece.bars:g} bars, {len(piece.notes)} notes, {piece.duration_seconds:.0f} s, seed {piece.seed}")
    for note in piece.notes[:4]:
        print(f"  voice {note.voice}, tick {note.onset_ticks}, pitch {note.pitch}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
