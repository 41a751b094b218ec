"""Write three voices to a melody: `python examples/python/harmonize.py [HOST:PORT]`."""

import sys

from fantasia_client import Client, GivenPiece, Note, Region

EIGHTH = 240
MELODY = [(64, 2), (64, 2), (65, 2), (67, 2), (67, 2), (65, 2), (64, 2), (62, 2)]
MELODY += [(60, 2), (60, 2), (62, 2), (64, 2), (64, 3), (62, 1), (62, 4)]
"""Beethoven's Ode to Joy: MIDI note number, length in eighths."""


def notes_of(melody: list[tuple[int, int]]) -> list[Note]:
    """The melody as notes of voice 0."""
    notes, tick = [], 0
    for pitch, eighths in melody:
        notes.append(Note(tick, eighths * EIGHTH, pitch))
        tick += eighths * EIGHTH
    return notes


def main(server: str = "localhost:50051") -> None:
    """Give the soprano; alto, tenor and bass are written. For a given bass, `voices=[3]` and the others."""
    melody = GivenPiece(notes_of(MELODY), voices=[0], meter="4/4", tempo_bpm=96)
    with Client(server, wait_for_ready=True) as client:
        piece = client.generate(given=melody, rewrite=[Region(voices=(1, 2, 3))], candidates=16, seed=5)
    soprano = [note.pitch for note in piece.notes if note.voice == 0]
    print(
        f"{piece.save('harmonized.mid')}: {len({note.voice for note in piece.notes})} voices, {len(piece.notes)} notes"
    )
    print(f"the melody is unchanged: {soprano == [pitch for pitch, _ in MELODY]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
