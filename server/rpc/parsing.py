"""Reads the requests that come in as bytes."""

from collections.abc import Awaitable, Callable
from typing import cast

import grpc
from google.protobuf.message import DecodeError, Message

from server.errors import MalformedRequestError
from server.rpc.interceptor import METHODS, SERVICE, Context, MethodHandler


class Parsing(grpc.aio.ServerInterceptor):
    """Stands innermost: the other interceptors see to the call before it, and to what goes wrong in it.

    Left to gRPC, a request would be parsed before any of our code runs: bytes that are no message would be
    counted nowhere, logged as a fault of ours and answered with the name of a Python class.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MethodHandler:
        """A handler that takes bytes, around the one that the call is for.

        That handler raises:
            MalformedRequestError: the bytes are not the method's request.
        """
        handler = await continuation(handler_call_details)
        method = METHODS.get(handler_call_details.method)
        if method is None or handler is None:
            return handler
        inner = cast(Callable[[Message, Context], Awaitable[Message]], handler.unary_unary)
        parse = cast(Callable[[bytes], Message], handler.request_deserializer)
        expected = SERVICE.methods_by_name[method].input_type.full_name

        async def parsed(data: bytes, context: Context) -> Message:
            try:
                request = parse(data)
            except DecodeError as error:
                raise MalformedRequestError(expected) from error
            return await inner(request, context)

        return grpc.unary_unary_rpc_method_handler(parsed, None, handler.response_serializer)
