"""What traces calls, if anything does."""

from collections.abc import Sequence

import grpc

from server.engine.listener import SequenceListener


class CallTracer:
    """Traces nothing. `server.tracing` has one that does."""

    def interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        """Interceptors outside all others."""
        return ()

    def listener(self, model: str, listener: SequenceListener | None) -> SequenceListener | None:
        """What the engine tells of a request of the running call.

        Args:
            model: the model of the request.
            listener: what is to be told in any case; None for none.
        """
        return listener

    def close(self) -> None:
        """Send what is not sent, for some seconds at most."""
