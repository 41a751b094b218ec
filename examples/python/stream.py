"""Receive notes as they are written, stop half way, go on later: `python examples/python/stream.py [HOST:PORT]`."""

import sys

from fantasia_client import Client, ResumePoint

BARS = 8


def main(server: str = "localhost:50051") -> None:
    """Stop a stream in the middle, save its resume point, and continue from the file up to the end."""
    notes = 0
    with Client(server, wait_for_ready=True) as client:
        with client.stream(bars=BARS, seed=7, return_resume_token=True) as stream:
            for update in stream:
                notes += len(update.notes)
                print(f"final up to tick {update.watermark_ticks}: {notes} notes")
                if stream.start and 2 * update.watermark_ticks >= stream.start.length_ticks:
                    break
        if stream.resume_point:
            stream.resume_point.save("piece.resume")

        # This may happen later, in another process, on another replica with the same key.
        piece = client.generate(resume=ResumePoint.load("piece.resume"))
        whole = client.generate(bars=BARS, seed=7)
    print(
        f"{piece.save('streamed.mid')}: {piece.bars:g} bars, the same as without the stop: {piece.midi == whole.midi}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
