"""Receive two pieces at the same time: `python examples/python/stream_async.py [HOST:PORT]`."""

import asyncio
import sys

from fantasia_client import AsyncClient, Constraints, Piece


async def follow(client: AsyncClient, scale: str, seed: int) -> Piece:
    """Print how far a piece is with each update, and return it."""
    async with client.stream(bars=4, seed=seed, constraints=Constraints(scale=scale)) as stream:
        async for update in stream:
            print(f"{scale}: final up to tick {update.watermark_ticks}")
            if update.piece:
                return update.piece
    raise RuntimeError("the stream was closed before its end")


async def main(server: str = "localhost:50051") -> None:
    """Follow both streams in one event loop; the server writes both pieces in one batch."""
    async with AsyncClient(server, wait_for_ready=True) as client:
        major, minor = await asyncio.gather(follow(client, "G major", 1), follow(client, "G minor", 2))
    print(f"{major.save('major.mid')}: {len(major.notes)} notes")
    print(f"{minor.save('minor.mid')}: {len(minor.notes)} notes")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
