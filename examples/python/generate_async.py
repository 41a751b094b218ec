"""Generate eight pieces concurrently: `python examples/python/generate_async.py [HOST:PORT]`."""

import asyncio
import sys

from fantasia_client import AsyncClient, Piece, ServerBusyError

PIECES = 8
ATTEMPTS = 5


async def generate(client: AsyncClient, seed: int) -> Piece:
    """Generate one piece; if the server's queue is full, wait as long as it asks for."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await client.generate(bars=4, seed=seed)
        except ServerBusyError as error:
            await asyncio.sleep(error.retry_after_seconds or 1.0)
    return await client.generate(bars=4, seed=seed)


async def main(server: str = "localhost:50051") -> None:
    """Send all requests at once. The server runs them in one batch."""
    async with AsyncClient(server, wait_for_ready=True) as client:
        pieces = await asyncio.gather(*(generate(client, seed) for seed in range(PIECES)))
    for piece in pieces:
        print(f"{piece.save(f'piece-{piece.seed}.mid')}: {len(piece.notes)} notes")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
