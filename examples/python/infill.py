"""Write two bars of a piece anew: `python examples/python/infill.py [HOST:PORT]`."""

import sys

from fantasia_client import Client, Piece, Region

FIRST, LAST = 5, 6


def outside(piece: Piece) -> set[tuple[int, int, int]]:
    """Onset, pitch and voice of the notes that begin outside of the two bars."""
    bar = piece.meter.bar_ticks(piece.ticks_per_quarter)
    inside = range(int((FIRST - 1) * bar), int(LAST * bar))
    return {(note.onset_ticks, note.pitch, note.voice) for note in piece.notes if note.onset_ticks not in inside}


def main(server: str = "localhost:50051") -> None:
    """Generate a piece, then ask for another version of bars 5 and 6. All other notes stay."""
    with Client(server, wait_for_ready=True) as client:
        piece = client.generate(bars=8, seed=7)
        varied = client.generate(given=piece, rewrite=[Region(bars=(FIRST, LAST))], candidates=16, seed=1)
    piece.save("before.mid")
    print(f"{varied.save('after.mid')}: the other bars are the same: {outside(piece) == outside(varied)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
