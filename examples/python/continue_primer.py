"""Continue a primer of one bar for seven bars: `python examples/python/continue_primer.py [HOST:PORT]`."""

import sys

from fantasia_client import Client, GivenPiece, Note

QUARTER = 480
CHORDS = [(67, 62, 59, 43), (69, 62, 54, 50), (71, 62, 55, 43), (67, 64, 55, 48)]
"""Four chords, one a quarter note: soprano, alto, tenor, bass."""


def main(server: str = "localhost:50051") -> None:
    """Give four chords; the model writes on from there, in their meter and tempo."""
    notes = [
        Note(beat * QUARTER, QUARTER, pitch, voice=voice)
        for beat, chord in enumerate(CHORDS)
        for voice, pitch in enumerate(chord)
    ]
    primer = GivenPiece(notes, meter="4/4", tempo_bpm=72)
    with Client(server, wait_for_ready=True) as client:
        piece = client.generate(given=primer, bars=7, seed=3)
    print(f"{piece.save('continued.mid')}: {piece.bars:g} bars, {len(piece.notes)} notes")
    if piece.given:  # what became of the primer
        print(f"the added part begins at tick {piece.given.length_ticks}; changed notes: {piece.given.changed_notes}")


if __name__ == "__main__":
    main(*sys.argv[1:])
