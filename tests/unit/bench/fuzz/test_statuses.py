from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from bench.fuzz.cases import Case
from bench.fuzz.statuses import path_problem, refusal_problems
from fantasia.v1 import generation_pb2 as pb

Code = grpc.StatusCode
REQUEST = pb.GenerateRequest(model="x", steps=0, rewrite=[pb.Region(voices=[7])])
CASE = Case("Generate", REQUEST.SerializeToString(), ("steps",))
STEPS = BadRequest(field_violations=[BadRequest.FieldViolation(field="steps", description="must be at least 1")])
MODEL = BadRequest(field_violations=[BadRequest.FieldViolation(field="model", description="must be empty")])


def problems(code: grpc.StatusCode, *details: Any, case: Case = CASE, message: str = "steps is wrong") -> list[str]:
    status = Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    metadata = (("x-request-id", "1"), ("grpc-status-details-bin", status.SerializeToString()))
    return refusal_problems(case, code, message, metadata)


def test_promised_refusals_are_no_problem() -> None:
    unknown = Case("Generate", REQUEST.SerializeToString(), ("model",))
    free = Case("Generate", REQUEST.SerializeToString())
    hurried = Case("Generate", REQUEST.SerializeToString(), deadline_seconds=1.0)
    failure = PreconditionFailure(violations=[PreconditionFailure.Violation(type="T", subject="s", description="d")])

    assert problems(Code.INVALID_ARGUMENT, STEPS) == []
    assert problems(Code.NOT_FOUND, ResourceInfo(resource_name="x"), MODEL, case=unknown) == []
    assert problems(Code.RESOURCE_EXHAUSTED, RetryInfo(retry_delay=Duration(seconds=1))) == []
    assert problems(Code.FAILED_PRECONDITION, failure, case=free) == []
    assert problems(Code.DEADLINE_EXCEEDED, STEPS, case=hurried) == []
    assert problems(Code.INVALID_ARGUMENT, case=Case("Generate", b"\xff")) == []


@pytest.mark.parametrize(
    ("code", "details", "problem"),
    [
        (Code.INTERNAL, [], "INTERNAL is not a documented answer"),
        (Code.UNKNOWN, [], "UNKNOWN is not a documented answer"),
        (Code.UNAVAILABLE, [], "UNAVAILABLE is not a documented answer"),
        (Code.INVALID_ARGUMENT, [], "the details are []"),
        (Code.INVALID_ARGUMENT, [BadRequest()], "there is no violation"),
        (Code.INVALID_ARGUMENT, [MODEL], "none of ('steps',) is named, but ['model']"),
        (Code.INVALID_ARGUMENT, [STEPS, RetryInfo()], "the details are ['BadRequest', 'RetryInfo']"),
        (Code.NOT_FOUND, [MODEL], "the details are ['BadRequest']"),
        (Code.FAILED_PRECONDITION, [PreconditionFailure()], "the details are ['PreconditionFailure']"),
        (Code.RESOURCE_EXHAUSTED, [], "there is no RetryInfo"),
        (Code.RESOURCE_EXHAUSTED, [RetryInfo(retry_delay=Duration(seconds=-1))], "retry after"),
        (Code.DEADLINE_EXCEEDED, [STEPS], "it has no deadline"),
    ],
)
def test_other_refusals_are_problems(code: grpc.StatusCode, details: list[Any], problem: str) -> None:
    assert any(problem in found for found in problems(code, *details)), problems(code, *details)


def test_paths_of_a_stream_begin_at_its_own_request() -> None:
    stream = pb.StreamGenerateRequest(request=REQUEST)
    case = Case("StreamGenerate", stream.SerializeToString(), ("request.steps",))
    named = BadRequest()
    named.CopyFrom(STEPS)
    named.field_violations[0].field = "request.steps"
    assert problems(Code.INVALID_ARGUMENT, named, case=case) == []
    assert "StreamGenerateRequest has no steps" in problems(Code.INVALID_ARGUMENT, STEPS, case=case)[0]


def test_a_refusal_has_a_sentence_and_a_request_id() -> None:
    assert refusal_problems(CASE, Code.RESOURCE_EXHAUSTED, "", ())[:2] == [
        "the message is no sentence: ''",
        "there is no request id",
    ]
    assert "no sentence" in problems(Code.INVALID_ARGUMENT, STEPS, message="a\nb")[0]


@pytest.mark.parametrize("path", ["steps", "length", "rewrite[0].voices[0]", "rewrite", "constraints.chords.first_bar"])
def test_paths_of_fields(path: str) -> None:
    assert path_problem(REQUEST, path) == ""


@pytest.mark.parametrize(
    "path",
    ["", "step", "steps.x", "steps[0]", "rewrite[1]", "rewrite[0].voices[1]", "rewrite.voices", "a b", "given.x"],
)
def test_paths_of_nothing(path: str) -> None:
    assert path_problem(REQUEST, path)
