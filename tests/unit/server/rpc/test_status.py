"""Every error class has a status, with the details that a caller needs."""

import importlib
import pkgutil
from collections.abc import Iterator

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, RequestInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

import music
import runtime
import server
from music.errors import (
    BundleError,
    BundleIntegrityError,
    ContradictionError,
    FantasiaError,
    InvalidDynamicsError,
    InvalidHarmonyError,
    InvalidScoreError,
    NoTokenLeftError,
    UnsupportedMeterError,
    UnsupportedTaskError,
)
from server.engine.errors import ConstraintError, EngineError, EngineFailedError, EngineStoppedError, QueueFullError
from server.errors import (
    CandidateFailedError,
    DeadlineTooShortError,
    InFlightLimitError,
    InvalidRequestError,
    ModelNotFoundError,
    NotServingError,
    PermissionDeniedError,
    RateLimitError,
    UnauthenticatedError,
    Violation,
    WorkLimitError,
)
from server.rpc.status import has_status, internal_status, status_of


def import_everything() -> None:
    for package in (music, runtime, server):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def subclasses(cls: type[FantasiaError]) -> Iterator[type[FantasiaError]]:
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def code_of(error: FantasiaError) -> grpc.StatusCode:
    status = status_of(error)
    assert status is not None
    return next(code for code in grpc.StatusCode if code.value[0] == status.code)


def details(status: Status | None) -> tuple[BadRequest, ResourceInfo, RetryInfo]:
    assert status is not None
    found = (BadRequest(), ResourceInfo(), RetryInfo())
    for detail in status.details:
        assert any(detail.Unpack(message) for message in found)
    return found


def test_every_error_that_the_server_can_raise_has_a_status() -> None:
    import_everything()
    served = [
        cls for cls in subclasses(FantasiaError) if cls.__module__.split(".")[0] in ("music", "runtime", "server")
    ]

    assert len(served) > 10
    # EngineError itself is never raised.
    assert [cls for cls in served if not has_status(cls)] == [EngineError]


def test_the_callers_mistake_is_never_internal() -> None:
    violation = Violation.of_value("program", "0 to 127", 200)

    assert code_of(InvalidRequestError([violation])) is grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(UnsupportedMeterError("5/4")) is grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(ModelNotFoundError("x", ["a"], "model")) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("cls", [InvalidScoreError, InvalidHarmonyError, InvalidDynamicsError, UnsupportedMeterError])
def test_an_error_without_a_field_names_none(cls: type[FantasiaError]) -> None:
    status = status_of(cls("the MIDI file is empty"))

    assert status is not None
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message == "the MIDI file is empty"
    assert not status.details


def test_a_caller_who_may_not_call_gets_the_codes_of_authentication() -> None:
    assert code_of(UnauthenticatedError("no token")) is grpc.StatusCode.UNAUTHENTICATED
    denied = PermissionDeniedError("monitor", "generation", ["health", "metrics"])
    assert code_of(denied) is grpc.StatusCode.PERMISSION_DENIED
    for error in (
        RateLimitError("this connection", "calls", 60, 1.5),
        InFlightLimitError("this connection", "pieces", 3, 1, 3, 1.5),
    ):
        _, _, retry = details(status_of(error))
        assert code_of(error) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry.retry_delay.ToMilliseconds() == 1500


def test_constraints_that_fail_are_a_failed_precondition() -> None:
    cause = NoTokenLeftError("constraints.chords", "no token is left in bar 3")
    for error, subject, text in [
        (cause, "constraints.chords", "no token is left in bar 3"),
        (ConstraintError(cause), "constraints.chords", "no token is left in bar 3"),
        (CandidateFailedError(3), "constraints", str(CandidateFailedError(3))),
    ]:
        status, failure = status_of(error), PreconditionFailure()
        assert status is not None
        assert status.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
        assert status.details[0].Unpack(failure)
        (violation,) = failure.violations
        assert (violation.type, violation.subject, violation.description) == ("CONSTRAINTS", subject, text)


def test_a_task_that_cannot_be_planned_names_its_field() -> None:
    for cls in (UnsupportedTaskError, ContradictionError):
        error = cls("rewrite[2]", "begins after the given piece")
        bad_request, _, _ = details(status_of(error))
        assert code_of(error) is grpc.StatusCode.INVALID_ARGUMENT
        assert [(v.field, v.description) for v in bad_request.field_violations] == [
            ("rewrite[2]", "begins after the given piece")
        ]


def test_a_deadline_that_is_too_short_names_the_length() -> None:
    error = DeadlineTooShortError(Violation("bars", "takes about 10.0 s"))
    bad_request, _, _ = details(status_of(error))

    assert code_of(error) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [(v.field, v.description) for v in bad_request.field_violations] == [("bars", "takes about 10.0 s")]


def test_paths_begin_at_the_request_of_the_method() -> None:
    wrong = InvalidRequestError([Violation("rewrite[0].bars.last", "is late"), Violation("bars", "is low")])
    for error, paths in [
        (wrong, ["request.rewrite[0].bars.last", "request.bars"]),
        (
            ModelNotFoundError("nemo", ["duo"], "model", [Violation("seconds", "x")]),
            ["request.model", "request.seconds"],
        ),
        (DeadlineTooShortError(Violation("steps", "takes about 10.0 s")), ["request.steps"]),
        (ContradictionError("length", "is too short"), ["request.length"]),
    ]:
        bad_request, _, _ = details(status_of(error, "request.{}".format))
        assert [violation.field for violation in bad_request.field_violations] == paths
    failure = PreconditionFailure()
    status = status_of(NoTokenLeftError("constraints.chords", "bar 3"), "request.{}".format)
    assert status is not None
    assert status.details[0].Unpack(failure)
    assert failure.violations[0].subject == "request.constraints.chords"


def test_violations_become_a_bad_request() -> None:
    error = InvalidRequestError(
        [Violation.of_value("program", "0 to 127", 200), Violation.of_value("bars", "1 to 32", -1)]
    )
    bad_request, _, _ = details(status_of(error))

    assert [(v.field, v.description) for v in bad_request.field_violations] == [
        ("program", "must be 0 to 127, not 200"),
        ("bars", "must be 1 to 32, not -1"),
    ]


def test_an_unknown_model_is_a_resource_not_found() -> None:
    bad_request, resource, _ = details(status_of(ModelNotFoundError("nemo", ["quartet", "duo"], "name")))

    assert (resource.resource_type, resource.resource_name) == ("fantasia.v1.Model", "nemo")
    assert bad_request.field_violations[0].field == "name"
    assert "quartet, duo" in bad_request.field_violations[0].description


def test_an_unknown_model_comes_with_the_other_violations() -> None:
    others = [Violation.of_value("program", "0 to 127", 200), Violation.of_value("bars", "at least 1", -1)]
    error = ModelNotFoundError("nemo", ["quartet"], "model", others)
    bad_request, resource, _ = details(status_of(error))

    assert resource.resource_name == "nemo"
    assert [(v.field, v.description) for v in bad_request.field_violations] == [
        ("model", "must be empty or one of quartet, not 'nemo'"),
        ("program", "must be 0 to 127, not 200"),
        ("bars", "must be at least 1, not -1"),
    ]
    assert str(error) == (
        "model 'nemo' is not loaded; loaded models: quartet; "
        "program must be 0 to 127, not 200; bars must be at least 1, not -1"
    )


def test_temporary_errors_have_a_retry_delay() -> None:
    for error, code, milliseconds in [
        (QueueFullError("quartet", 2.5), grpc.StatusCode.RESOURCE_EXHAUSTED, 2500),
        (WorkLimitError("planning", 64, 1.5), grpc.StatusCode.RESOURCE_EXHAUSTED, 1500),
        (NotServingError("starting", 0.25), grpc.StatusCode.UNAVAILABLE, 250),
        (EngineStoppedError("gone"), grpc.StatusCode.UNAVAILABLE, 1000),
    ]:
        _, _, retry = details(status_of(error))
        assert code_of(error) is code
        assert retry.retry_delay.ToMilliseconds() == milliseconds


@pytest.mark.parametrize(
    "error", [EngineFailedError("x"), BundleIntegrityError("x"), BundleError("x"), FantasiaError()]
)
def test_faults_of_the_server_have_no_status_for_callers(error: FantasiaError) -> None:
    assert status_of(error) is None


def test_an_internal_status_names_the_request_id() -> None:
    status, info = internal_status("cafe"), RequestInfo()

    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "cafe" in status.message
    assert status.details[0].Unpack(info)
    assert info.request_id == "cafe"


def test_a_long_value_of_the_caller_is_shortened() -> None:
    status = status_of(ModelNotFoundError("x" * 1_000_000, ["quartet"], "model"))

    assert status is not None
    assert status.ByteSize() < 2000
