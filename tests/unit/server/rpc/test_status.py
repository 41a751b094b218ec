"""Every error has a status, and says in it what a caller can use."""

import importlib
import pkgutil
from collections.abc import Iterator

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RequestInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

import music
import server
from music.errors import BundleError, BundleIntegrityError, FantasiaError, UnsupportedMeterError
from server.engine.errors import EngineError, EngineFailedError, EngineStoppedError, QueueFullError
from server.errors import InvalidRequestError, ModelNotFoundError, NotServingError, Violation
from server.rpc.status import internal_status, is_known, status_of


def import_everything() -> None:
    for package in (music, server):
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
    served = [cls for cls in subclasses(FantasiaError) if cls.__module__.split(".")[0] in ("music", "server")]

    assert len(served) > 10
    # The engine's base is never raised itself, and says nothing for the classes below it.
    assert [cls for cls in served if not is_known(cls)] == [EngineError]


def test_the_callers_mistake_is_never_internal() -> None:
    violation = Violation("program", "0 to 127", 200)

    assert code_of(InvalidRequestError([violation])) is grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(UnsupportedMeterError("5/4")) is grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(ModelNotFoundError("x", ["a"], "model")) is grpc.StatusCode.NOT_FOUND


def test_violations_become_a_bad_request() -> None:
    error = InvalidRequestError([Violation("program", "0 to 127", 200), Violation("bars", "1 to 32", -1)])
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


def test_an_unknown_model_is_told_with_all_else_that_is_wrong() -> None:
    others = [Violation("program", "0 to 127", 200), Violation("bars", "at least 1", -1)]
    error = ModelNotFoundError("nemo", ["quartet"], "model", others)
    bad_request, resource, _ = details(status_of(error))

    assert resource.resource_name == "nemo"
    assert [(v.field, v.description) for v in bad_request.field_violations] == [
        ("model", "must be empty or one of quartet, not 'nemo'"),
        ("program", "must be 0 to 127, not 200"),
        ("bars", "must be at least 1, not -1"),
    ]
    assert str(error) == (
        "no model is called 'nemo'; loaded: quartet; program must be 0 to 127, not 200; bars must be at least 1, not -1"
    )


def test_what_passes_says_when_to_come_back() -> None:
    for error, code, milliseconds in [
        (QueueFullError("quartet", 2.5), grpc.StatusCode.RESOURCE_EXHAUSTED, 2500),
        (NotServingError("starting", 0.25), grpc.StatusCode.UNAVAILABLE, 250),
        (EngineStoppedError("gone"), grpc.StatusCode.UNAVAILABLE, 1000),
    ]:
        _, _, retry = details(status_of(error))
        assert code_of(error) is code
        assert retry.retry_delay.ToMilliseconds() == milliseconds


@pytest.mark.parametrize(
    "error", [EngineFailedError("x"), BundleIntegrityError("x"), BundleError("x"), FantasiaError()]
)
def test_our_faults_are_nobody_elses_business(error: FantasiaError) -> None:
    assert status_of(error) is None


def test_an_internal_status_says_where_to_look() -> None:
    status, info = internal_status("cafe"), RequestInfo()

    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "cafe" in status.message
    assert status.details[0].Unpack(info)
    assert info.request_id == "cafe"


def test_what_a_caller_sent_is_not_sent_back_at_length() -> None:
    status = status_of(ModelNotFoundError("x" * 1_000_000, ["quartet"], "model"))

    assert status is not None
    assert status.ByteSize() < 2000
