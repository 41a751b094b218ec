"""The base of all interceptors: it wraps handlers of all four kinds of rpc in the same way."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc

from fantasia.v1 import generation_pb2 as pb
from server.rpc.context import Context

SERVICE: Final = pb.DESCRIPTOR.services_by_name["GenerationService"]
METHODS: Final = tuple(method.name for method in SERVICE.methods)
"""Names of our service's methods."""
_PATH_PREFIX: Final = f"/{SERVICE.full_name}/"

if TYPE_CHECKING:  # generic for type checkers only
    MethodHandler = grpc.RpcMethodHandler[Any, Any]
else:
    MethodHandler = grpc.RpcMethodHandler
Call = Callable[[Any, Context], Awaitable[Any]]
"""A handler of any kind as one coroutine function of the request and the context.

If requests are streamed, the first argument is an asynchronous iterator over them. The coroutine returns the response;
if responses are streamed, it writes them to the context and returns None.
"""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of this server."""

    path: str
    """Its path on the wire, such as `/fantasia.v1.GenerationService/Generate`."""
    request_streaming: bool
    """Whether a call has any number of requests, not one."""
    response_streaming: bool
    """Whether a call has any number of responses, not one."""

    @property
    def is_ours(self) -> bool:
        """Whether it belongs to our own service, not to health or reflection."""
        return self.path.startswith(_PATH_PREFIX)

    @property
    def name(self) -> str:
        """Its name in logs and metrics: without the service if that is our own, else the path."""
        return self.path.removeprefix(_PATH_PREFIX)

    @property
    def request_type(self) -> str:
        """Full name of the message that it takes; of another service's method, its own name."""
        method = SERVICE.methods_by_name.get(self.name)
        return self.path.removeprefix("/") if method is None else str(method.input_type.full_name)

    def field_path(self, path: str) -> str:
        """The path of a field in this method's request.

        Args:
            path: of a field of this request, or of the `GenerateRequest` in one of its fields.
        """
        method = SERVICE.methods_by_name.get(self.name)
        fields = {} if method is None else method.input_type.fields_by_name
        if path.split(".")[0].split("[")[0] in fields:
            return path
        inner = (name for name, field in fields.items() if field.message_type is pb.GenerateRequest.DESCRIPTOR)
        return next((f"{name}.{path}" for name in inner), path)


class Interceptor(grpc.aio.ServerInterceptor, ABC):
    """Runs `intercept` around every call for which `applies_to` is true.

    The handler of a method never changes while the server runs, so it is wrapped once: a refused call should cost
    little.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, MethodHandler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MethodHandler | None:
        """The wrapped handler of the call; None if the server does not have the method."""
        path = handler_call_details.method
        if path in self._wrapped:
            return self._wrapped[path]
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = Method(path, handler.request_streaming, handler.response_streaming)
        self._wrapped[path] = self.wrap(method, handler) if self.applies_to(method) else handler
        return self._wrapped[path]

    def applies_to(self, method: Method) -> bool:
        """Whether calls of the method are intercepted."""
        return True

    def wrap(self, method: Method, handler: MethodHandler) -> MethodHandler:
        """A handler of the same kind that calls `intercept`."""
        call = as_call(handler)

        async def wrapped(request: Any, context: Context) -> Any:
            return await self.intercept(method, call, request, context)

        return make_handler(
            wrapped,
            request_streaming=method.request_streaming,
            response_streaming=method.response_streaming,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    @abstractmethod
    async def intercept(self, method: Method, call: Call, request: Any, context: Context) -> Any:
        """Handle one call of any kind, usually with `return await call(request, context)`.

        A stream that fails midway raises here as a unary call does. If the client cancels, is lost or misses its
        deadline, `asyncio.CancelledError` is raised here.
        """


class ServiceInterceptor(Interceptor):
    """Intercepts calls of our own service only, not of health and reflection."""

    def applies_to(self, method: Method) -> bool:
        """See `Interceptor.applies_to`."""
        return method.is_ours


def as_call(handler: MethodHandler) -> Call:
    """The handler's function in the form that `Interceptor.intercept` takes.

    A handler with streamed responses may be an asynchronous generator, or a coroutine function that calls
    `context.write`. The generator is closed as soon as the call is over, however it ends.

    Raises:
        TypeError: the handler is neither, such as a synchronous function, which gRPC would run on a thread.
    """
    functions = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    function: Any = next(function for function in functions if function is not None)
    if inspect.iscoroutinefunction(function):
        call: Call = function
        return call
    if not inspect.isasyncgenfunction(function):
        raise TypeError(f"a handler must be a coroutine function or an asynchronous generator function: {function}")

    async def write_all(request: Any, context: Context) -> None:
        async with aclosing(function(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return write_all


def make_handler(
    call: Call,
    *,
    request_streaming: bool,
    response_streaming: bool,
    request_deserializer: Any,
    response_serializer: Any,
) -> MethodHandler:
    """The handler of one of the four kinds that runs the call."""
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[request_streaming, response_streaming]
    handler: MethodHandler = make(call, request_deserializer, response_serializer)
    return handler
