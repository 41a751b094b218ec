"""Reflection in both versions of its protocol, over a real socket."""

from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from fantasia.v1 import generation_pb2 as pb

Bytes: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, bytes]"
VERSIONS = ("v1", "v1alpha")
SERVICES = {
    "fantasia.v1.GenerationService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


async def answers(channel: grpc.aio.Channel, version: str, *requests: bytes) -> list[ServerReflectionResponse]:
    """The responses to these requests; v1 has the same messages as v1alpha under another name."""
    call: Bytes = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")

    async def sent() -> AsyncIterator[bytes]:
        for request in requests:
            yield request

    return [ServerReflectionResponse.FromString(answer) async for answer in call(sent(), timeout=30)]


def symbol(name: str) -> bytes:
    return bytes(ServerReflectionRequest(file_containing_symbol=name).SerializeToString())


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_service_is_named(channel: grpc.aio.Channel, version: str) -> None:
    (answer,) = await answers(channel, version, b"\x3a\x01*")  # field 7, list_services, of both versions

    assert {service.name for service in answer.list_services_response.service} == SERVICES


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_service_that_is_named_can_be_described(channel: grpc.aio.Channel, version: str) -> None:
    names = sorted(SERVICES)
    for name, answer in zip(names, await answers(channel, version, *map(symbol, names)), strict=True):
        pool = descriptor_pool.DescriptorPool()
        files = list(map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto))
        for file in reversed(files):  # what a file imports comes after it
            pool.Add(file)
        service = pool.FindServiceByName(name)
        assert service.methods
        for method in service.methods:
            assert method.input_type.full_name.startswith(name.rpartition(".")[0])


@pytest.mark.parametrize("version", VERSIONS)
async def test_reflection_returns_the_contract(channel: grpc.aio.Channel, version: str) -> None:
    (answer,) = await answers(channel, version, symbol("fantasia.v1.GenerateRequest"))
    (data,) = answer.file_descriptor_response.file_descriptor_proto
    ours = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(ours)

    assert FileDescriptorProto.FromString(data) == ours


async def test_the_two_versions_differ_in_their_name_alone(channel: grpc.aio.Channel) -> None:
    (answer,) = await answers(channel, "v1", symbol("grpc.reflection.v1.ServerReflection"))
    (older,) = await answers(channel, "v1alpha", symbol("grpc.reflection.v1alpha.ServerReflection"))
    v1, v1alpha = (
        FileDescriptorProto.FromString(found.file_descriptor_response.file_descriptor_proto[0])
        for found in (answer, older)
    )

    assert (v1.name, v1.package) == ("grpc/reflection/v1/reflection.proto", "grpc.reflection.v1")
    for ours, theirs in zip(v1.message_type, v1alpha.message_type, strict=True):
        assert ours.name == theirs.name
        assert [(f.name, f.number, f.type) for f in ours.field] == [(f.name, f.number, f.type) for f in theirs.field]


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_not_there_is_not_found(channel: grpc.aio.Channel, version: str) -> None:
    (answer,) = await answers(channel, version, symbol("fantasia.v2.GenerationService"))

    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
