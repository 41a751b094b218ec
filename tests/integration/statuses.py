"""Reads errors as a client does."""

from collections.abc import Awaitable

import grpc
import pytest
from google.rpc.status_pb2 import Status


async def rich_status(call: Awaitable[object]) -> tuple[grpc.StatusCode, Status]:
    """The code and the google.rpc.Status of a call that must fail. The two must agree."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    metadata = dict(caught.value.trailing_metadata())
    status = Status.FromString(metadata["grpc-status-details-bin"])
    assert caught.value.code().value[0] == status.code
    assert caught.value.details() == status.message
    return caught.value.code(), status
