"""Checks that a refusal is what the contract promises: a documented code, a sentence, and details that fit the code."""

import re
from collections.abc import Sequence
from typing import Any, Final

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from bench.fuzz.cases import METHODS, Case

Code = grpc.StatusCode

REFUSALS: Final = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.FAILED_PRECONDITION,
        Code.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED,
    }
)
"""Codes of a server that serves, for a method that it has."""
OTHERS: Final = "and others"
"""End of a message that does not name all violations."""
_DETAILS: Final = {
    type_.DESCRIPTOR.full_name: type_ for type_ in (BadRequest, PreconditionFailure, ResourceInfo, RetryInfo)
}
DETAILS_KEY: Final = "grpc-status-details-bin"
"""Key of the trailing metadata that has the details of a status."""
_REQUEST_ID_KEY: Final = "x-request-id"
_MAX_MESSAGE: Final = 6000
_PART: Final = re.compile(r"([a-z][a-z0-9_]*)((?:\[\d+\])?)")


def refusal_problems(
    case: Case, code: grpc.StatusCode, message: str, metadata: Sequence[tuple[str, str | bytes]]
) -> list[str]:
    """What is wrong with the refusal of a call; empty if nothing is.

    Args:
        case: the call, which its caller did not end.
        code: of the refusal.
        message: of the refusal.
        metadata: trailing metadata.
    """
    if code not in REFUSALS:
        return [f"{code.name} is not a documented answer: {message}"]
    problems = []
    if not message or len(message) > _MAX_MESSAGE or "Traceback" in message or not message.isprintable():
        problems.append(f"the message is no sentence: {message[:200]!r}")
    values = dict(metadata)
    if _REQUEST_ID_KEY not in values:
        problems.append("there is no request id")
    try:
        status = Status.FromString(bytes(values.get(DETAILS_KEY, b"")))  # type: ignore[arg-type]
        details = {detail.TypeName(): _unpacked(detail) for detail in status.details}
    except (DecodeError, KeyError, TypeError) as error:
        return [*problems, f"the details cannot be read: {error!r}"]
    if (status.code or code.value[0]) != code.value[0]:
        problems.append(f"the details are of code {status.code}")
    found = {detail.DESCRIPTOR.name: detail for detail in details.values()}
    return problems + [
        f"{code.name}: {problem}: {message[:300]}" for problem in _detail_problems(case, code, message, found)
    ]


def path_problem(message: Message, path: str) -> str:
    """Why a path names no field of a message; empty if it does."""
    here: Any = message
    descriptor: Any = message.DESCRIPTOR
    for part in path.split("."):
        match = _PART.fullmatch(part)
        if match is None or descriptor is None:
            return f"{path!r} is no path"
        name, index = match[1], match[2]
        field = descriptor.fields_by_name.get(name)
        if field is None:
            return (
                "" if name in descriptor.oneofs_by_name else f"{path!r} names no field: {descriptor.name} has no {name}"
            )
        here = None if here is None else getattr(here, name)
        if index:
            if not field.is_repeated:
                return f"{path!r} has the index of no list"
            place = int(index[1:-1])
            if here is not None and place >= len(here):
                return f"{path!r} names item {place} of {len(here)}"
            here = None if here is None else here[place]
        elif field.is_repeated:
            descriptor = None  # a list has no fields
            continue
        descriptor = field.message_type if field.type == FieldDescriptor.TYPE_MESSAGE else None
    return ""


def _unpacked(detail: Any) -> Message:
    message: Message = _DETAILS[detail.TypeName()]()
    detail.Unpack(message)
    return message


def _detail_problems(case: Case, code: grpc.StatusCode, message: str, found: dict[str, Message]) -> list[str]:
    names = set(found)
    match code:
        case Code.INVALID_ARGUMENT:
            return _invalid_argument(case, message, found)
        case Code.NOT_FOUND:
            problems = [] if names == {"ResourceInfo", "BadRequest"} else [f"the details are {sorted(names)}"]
            return problems + (_violations(case, message, found["BadRequest"]) if "BadRequest" in found else [])
        case Code.FAILED_PRECONDITION:
            failure: Any = found.get("PreconditionFailure")
            if names != {"PreconditionFailure"} or not failure.violations:
                return [f"the details are {sorted(names)}"]
            return [] if all(each.description for each in failure.violations) else ["a violation has no description"]
        case Code.RESOURCE_EXHAUSTED:
            retry: Any = found.get("RetryInfo")
            if retry is None:
                return ["there is no RetryInfo"]
            return [] if 0 <= retry.retry_delay.ToMilliseconds() < 3_600_000 else [f"retry after {retry.retry_delay}"]
        case _:
            # Only calls with a deadline of their own can be refused like this.
            return [] if case.deadline_seconds is not None and names == {"BadRequest"} else ["it has no deadline"]


def _invalid_argument(case: Case, message: str, found: dict[str, Message]) -> list[str]:
    if case.message is None:
        return [] if not found else [f"unreadable bytes have details {sorted(found)}"]
    if set(found) != {"BadRequest"}:
        return [f"the details are {sorted(found)}"]
    return _violations(case, message, found["BadRequest"])


def _violations(case: Case, message: str, detail: Any) -> list[str]:
    violations = detail.field_violations
    if not violations:
        return ["there is no violation"]
    request: Any = case.message or METHODS[case.method].request()
    problems = [problem for each in violations if (problem := path_problem(request, each.field))]
    problems += [f"{each.field} has no description" for each in violations if not each.description]
    named = [each.field for each in violations]
    missing = case.broken and not any(_is_within(field, path) for field in named for path in case.broken)
    if missing and OTHERS not in message:
        problems.append(f"none of {case.broken} is named, but {named[:10]}")
    return problems


def _is_within(field: str, path: str) -> bool:
    """Whether a field is the one of the path, or a part of it."""
    return field == path or field.startswith((f"{path}.", f"{path}["))
