"""gRPC reflection v1 and v1alpha, with which tools such as grpcurl list services and messages.

grpcio has v1alpha only. v1 has the same messages under another package name
(https://github.com/grpc/grpc-proto/blob/master/grpc/reflection/v1/reflection.proto), so the bytes on the wire are equal
and one servicer answers both.
"""

from collections.abc import Iterable
from typing import Final

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

V1ALPHA: Final = reflection.SERVICE_NAME
V1: Final = V1ALPHA.replace("v1alpha", "v1")
METHOD: Final = "ServerReflectionInfo"


def add_reflection(services: Iterable[str], server: grpc.aio.Server) -> None:
    """Add reflection of these services, and of reflection itself, to a server.

    Args:
        services: full names of services in protobuf's default pool.
        server: a server that is not started.
    """
    names = (*services, V1ALPHA, V1)
    servicer = reflection.aio.ReflectionServicer(names, pool=_pool((*services, V1ALPHA)))
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(V1, {METHOD: handler}),))


def _pool(services: Iterable[str]) -> descriptor_pool.DescriptorPool:
    """A pool with the files of the services, their imports, and the file of v1.

    It is not the default pool, since another library may add v1's file there.
    """
    pool, known = descriptor_pool.DescriptorPool(), descriptor_pool.Default()

    def add(file: FileDescriptor) -> None:
        for imported in file.dependencies:
            add(imported)
        pool.AddSerializedFile(file.serialized_pb)

    for name in services:
        add(known.FindFileContainingSymbol(name))
    pool.Add(_v1_file())
    return pool


def _v1_file() -> FileDescriptorProto:
    """The file of v1: that of v1alpha under another name."""
    v1alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(v1alpha)
    text = text_format.MessageToString(v1alpha).replace("v1alpha", "v1")
    file: FileDescriptorProto = text_format.Parse(text, FileDescriptorProto())
    file.name = "grpc/reflection/v1/reflection.proto"
    return file
