"""One call of a fuzzer: the bytes that it sends, when it is cancelled, and what the answer must be like."""

from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from fantasia.v1 import generation_pb2 as pb

SERVICE: Final = "fantasia.v1.GenerationService"


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the service."""

    name: str
    request: type[Message]
    response: type[Message]
    streams: bool = False

    @property
    def path(self) -> str:
        """Its name on the wire."""
        return f"/{SERVICE}/{self.name}"


METHODS: Final = {
    method.name: method
    for method in (
        Method("Generate", pb.GenerateRequest, pb.GenerateResponse),
        Method("StreamGenerate", pb.StreamGenerateRequest, pb.StreamGenerateResponse, streams=True),
        Method("Evaluate", pb.EvaluateRequest, pb.EvaluateResponse),
        Method("ListModels", pb.ListModelsRequest, pb.ListModelsResponse),
        Method("GetModel", pb.GetModelRequest, pb.GetModelResponse),
    )
}


@dataclass(frozen=True, slots=True)
class Case:
    """One call."""

    method: str
    payload: bytes
    """The request, serialized; not necessarily valid."""
    broken: tuple[str, ...] = ()
    """Paths of fields of which at least one must be refused; empty if the request may be valid."""
    cancel_seconds: float | None = None
    """When the caller cancels; None: never."""
    cancel_messages: int | None = None
    """After how many messages of a stream the caller cancels; None: never."""
    deadline_seconds: float | None = None
    """Deadline of the call; None: the fuzzer's own."""
    expected: pb.GenerateResponse | None = field(default=None, compare=False)
    """The answer to an equal request or the uninterrupted piece, which this one must equal; None if there is none."""

    @property
    def message(self) -> Any:
        """The request; None if the bytes are no such message."""
        try:
            return METHODS[self.method].request.FromString(self.payload)
        except DecodeError:
            return None

    @property
    def is_cancelled(self) -> bool:
        """Whether the caller may end the call before the answer."""
        return not (self.cancel_seconds is None and self.cancel_messages is None and self.deadline_seconds is None)


def generate_request(method: str, message: Any) -> pb.GenerateRequest | None:
    """The `GenerateRequest` in a request; None if the method has none."""
    if method == "Generate":
        request: pb.GenerateRequest = message
        return request
    return message.request if method == "StreamGenerate" else None
