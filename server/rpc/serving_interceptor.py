"""Refuses calls while the server is not serving, and counts the calls that run."""

import asyncio
from typing import Any

from server.errors import NotServingError
from server.rpc.context import Context
from server.rpc.interceptor import Call, Method, ServiceInterceptor


class ServingInterceptor(ServiceInterceptor):
    """Refuses every call of our service until `start_serving`; knows when no call is running."""

    def __init__(self) -> None:
        super().__init__()
        self._serving = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def start_serving(self) -> None:
        """Accept calls from now on."""
        self._serving = True

    async def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until no call is running, and return whether that happened in time."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True

    async def intercept(self, method: Method, call: Call, request: Any, context: Context) -> Any:
        """See `Interceptor.intercept`.

        Raises:
            NotServingError: the server is not serving yet.
        """
        if not self._serving:
            raise NotServingError("starting")
        self._running += 1
        self._idle.clear()
        try:
            return await call(request, context)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
