"""Write sixteen pieces and keep the best three: `python examples/python/candidates.py [HOST:PORT]`."""

import sys

from fantasia_client import Client


def main(server: str = "localhost:50051") -> None:
    """Generate with one request, then ask for the second one again by its seed."""
    with Client(server, wait_for_ready=True) as client:
        generation = client.generate_many(3, candidates=16, bars=4, seed=1)
        again = client.generate(bars=4, seed=generation.pieces[1].seed)
    for rank, piece in enumerate(generation.pieces, start=1):
        path = piece.save(f"candidate-{rank}.mid")
        print(f"{path}: candidate {piece.candidate}, {piece.nats_per_note_step:.3f} nats per note-step")
    print(f"the same bytes by its seed: {again.midi == generation.pieces[1].midi}")


if __name__ == "__main__":
    main(*sys.argv[1:])
