"""Lets calls in while the server serves."""

import asyncio

from google.protobuf.message import Message

from server.errors import NotServingError
from server.rpc.interceptor import Context, Handler, UnaryInterceptor


class Gate(UnaryInterceptor):
    """Closed at first. While it is closed, calls are refused."""

    def __init__(self) -> None:
        super().__init__()
        self._serving = False
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def open(self) -> None:
        """Let calls in."""
        self._serving = True

    async def empty(self, timeout_seconds: float) -> bool:
        """Wait until nobody is inside; whether that came about in time."""
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True

    async def around(self, method: str, handler: Handler, request: bytes, context: Context) -> Message:
        """Answer the call, if it may come in.

        Raises:
            NotServingError: the gate is closed.
        """
        if not self._serving:
            raise NotServingError("starting")
        self._inside += 1
        self._empty.clear()
        try:
            return await handler(request, context)
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()
