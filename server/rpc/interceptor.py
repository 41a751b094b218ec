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


class Interceptor(grpc.aio.ServerInterceptor, ABC):
    """Wraps the handlers of methods.

    A method's handler is the same for as long as the server stands, so it is wrapped once: a refused call should cost
    little.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, MethodHandler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MethodHandler:
        """The wrapped handler that the call is for; None for a method that the server does not have."""
        path = handler_call_details.method
        if path in self._wrapped:
            return self._wrapped[path]
        handler = await continuation(handler_call_details)
        if handler is not None:
            handler = self._wrapped[path] = self.wrap(path, handler)
        return handler

    @abstractmethod
    def wrap(self, path: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> MethodHandler:
        """The handler that takes the place of this one; this one itself where calls of `path` pass by."""


class UnaryInterceptor(Interceptor):
    """Stands around every unary call of our own service; health and reflection pass by."""

    def wrap(self, path: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> MethodHandler:
        """See `Interceptor.wrap`."""
        method = METHODS.get(path)
        if method is None:
            return handler
        inner = cast(Handler, handler.unary_unary)

        async def wrapped(request: bytes, context: Context) -> Message:
            return await self.around(method, inner, request, context)

        return grpc.unary_unary_rpc_method_handler(wrapped, handler.request_deserializer, handler.response_serializer)

    @abstractmethod
    async def around(self, method: str, handler: Handler, request: bytes, context: Context) -> Message:
        """Answer the call, as a rule with what `handler(request, context)` answers."""
