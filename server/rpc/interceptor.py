"""What our interceptors have in common."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
from google.protobuf.message import Message

from fantasia.v1 import generation_pb2 as pb

SERVICE: Final = pb.DESCRIPTOR.services_by_name["GenerationService"]
METHODS: Final = {f"/{SERVICE.full_name}/{method.name}": method.name for method in SERVICE.methods}
"""Names of our methods by their path on the wire."""

if TYPE_CHECKING:  # where it is generic; at run time it is not
    MethodHandler = grpc.RpcMethodHandler[Any, Any] | None
else:
    MethodHandler = grpc.RpcMethodHandler | None
Context = grpc.aio.ServicerContext[Any, Any]
Handler = Callable[[bytes, Context], Awaitable[Message]]
"""Takes a request as it came over the wire: `Parsing`, innermost, is who reads it."""


class UnaryInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Stands around every unary call of our own service; health and reflection pass by.

    A method's handler is the same for as long as the server stands, so it is wrapped once: whoever is turned away
    should cost little.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, MethodHandler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MethodHandler:
        """Wrap the handler that the call is for."""
        path = handler_call_details.method
        if path in self._wrapped:
            return self._wrapped[path]
        handler = await continuation(handler_call_details)
        method = METHODS.get(path)
        if method is None or handler is None:
            return handler
        inner = cast(Handler, handler.unary_unary)

        async def wrapped(request: bytes, context: Context) -> Message:
            return await self.around(method, inner, request, context)

        self._wrapped[path] = grpc.unary_unary_rpc_method_handler(
            wrapped, handler.request_deserializer, handler.response_serializer
        )
        return self._wrapped[path]

    @abstractmethod
    async def around(self, method: str, handler: Handler, request: bytes, context: Context) -> Message:
        """Answer the call, as a rule with what `handler(request, context)` answers."""
