"""Lets calls in while the server serves."""

from google.protobuf.message import Message

from server.errors import NotServingError
from server.rpc.interceptor import Context, Handler, UnaryInterceptor


class Gate(UnaryInterceptor):
    """Closed at first. While it is closed, new calls are refused; those inside are left alone."""

    def __init__(self) -> None:
        self._closed_because: str | None = "starting"

    def open(self) -> None:
        """Let calls in."""
        self._closed_because = None

    def close(self, state: str) -> None:
        """Refuse calls, saying that the server is `state`."""
        self._closed_because = state

    async def around(self, method: str, handler: Handler, request: Message, context: Context) -> Message:
        """Answer the call, if it may come in.

        Raises:
            NotServingError: the gate is closed.
        """
        if self._closed_because is not None:
            raise NotServingError(self._closed_because)
        return await handler(request, context)
