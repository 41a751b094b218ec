"""Say what a piece must obey: `python examples/python/constraints.py [HOST:PORT]`."""

import sys

from fantasia_client import Client, Constraints, Controls, InvalidRequestError

A_MINOR = {9, 11, 0, 2, 4, 5, 7}
"""Pitch classes; 0 is C."""


def main(server: str = "localhost:50051") -> None:
    """Generate with a scale, chords, a range and more; then ask for what cannot be."""
    constraints = Constraints(
        scale="A minor",
        chords="Am F C G",
        ranges={0: (60, 76)},
        no_rests=True,
        no_parallels=True,
    )
    with Client(server, wait_for_ready=True) as client:
        piece = client.generate(bars=4, seed=2, constraints=constraints, controls=Controls(density=1.5))
        ending = client.generate(bars=4, seed=2, constraints=Constraints(natural_ending=True))
        try:
            client.generate(bars=4, constraints=Constraints(scale="A minor", chords="Am F#"))
        except InvalidRequestError as error:
            print(f"refused: {error}")
    print(f"{piece.save('constrained.mid')}: in A minor: {all(note.pitch % 12 in A_MINOR for note in piece.notes)}")
    last = {note.pitch for note in ending.notes if note.onset_ticks + note.duration_ticks == ending.length_ticks}
    print(f"{ending.save('ending.mid')}: ends on the pitches {sorted(last)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
