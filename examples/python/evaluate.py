"""Measure how likely pieces are under a model: `python examples/python/evaluate.py [HOST:PORT]`."""

import random
import sys

from fantasia_client import Client, Note

QUARTER = 480
RANGES = [(60, 79), (55, 72), (48, 67), (43, 60)]
"""Lowest and highest pitch of four voices."""


def random_notes() -> list[Note]:
    """Four bars of four voices without any sense."""
    dice = random.Random(1)  # noqa: S311 -- no secret
    return [
        Note(beat * QUARTER, QUARTER, dice.randint(*pitches), voice=voice)
        for beat in range(16)
        for voice, pitches in enumerate(RANGES)
    ]


def main(server: str = "localhost:50051") -> None:
    """Compare a piece of the model with random notes, and name its least likely note."""
    with Client(server, wait_for_ready=True) as client:
        piece = client.generate(bars=4, seed=7)
        written, thrown = client.evaluate([piece, random_notes()])
    print(f"the model's own piece: {written.nats_per_note_step:.2f} nats per note-step")
    print(f"random notes: {thrown.nats_per_note_step:.2f} nats per note-step")
    surprise = max(written.notes, key=lambda note: note.nats)
    print(f"least likely: pitch {surprise.note.pitch} at tick {surprise.note.onset_ticks}, {surprise.nats:.1f} nats")


if __name__ == "__main__":
    main(*sys.argv[1:])
