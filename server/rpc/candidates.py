"""Reads how many candidates are written, and which pieces are returned."""

from dataclasses import dataclass
from typing import Final

from fantasia.v1 import generation_pb2 as pb
from server.rpc.request_limits import RequestLimits
from server.rpc.validation import RequestValidator


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the candidates are returned."""

    candidates: int = 1
    """Number of candidates that are written."""
    pieces: int = 1
    """Number of pieces that are returned, the likeliest first."""
    candidate: int | None = None
    """Index of the one that is returned instead."""


_ONE: Final = Choice()


def read_choice(
    request: pb.GenerateRequest,
    *,
    default: int,
    steps: int,
    length_field: str,
    limits: RequestLimits,
    validator: RequestValidator,
) -> Choice:
    """Read `candidates`, `pieces` and `candidate`.

    Args:
        request: the request.
        default: number of candidates if the request has none.
        steps: of the whole piece, or its maximum.
        length_field: path of the field that decides `steps`.
        limits: maxima of candidates, and of candidates times steps.
        validator: collects the violations.
    """
    most = limits.candidate_steps // max(steps, 1)
    if default == 1 <= most and not (request.candidates or request.pieces or request.HasField("candidate")):
        return _ONE  # the common case
    count = request.candidates or max(min(default, limits.candidates, most), 1)
    if not validator.in_range_if_set("candidates", request.candidates, 1, limits.candidates):
        count = limits.candidates
    elif most < 1:
        text = f"the whole piece would have {steps:,} steps; this server takes at most {limits.candidate_steps:,}"
        validator.refuse(length_field, text)
    elif count > most:
        text = f"must be at most {most} for {steps:,} steps, not {count}: this server takes {limits.candidate_steps:,}"
        validator.refuse("candidates", f"{text} steps of all candidates together")
    validator.in_range_if_set("pieces", request.pieces, 1, count)
    if not request.HasField("candidate"):
        return Choice(count, request.pieces or 1)
    validator.in_range("candidate", request.candidate, 0, count - 1)
    if request.pieces > 1:
        validator.add_violation("pieces", "1 if candidate is set", request.pieces)
    return Choice(count, 1, request.candidate)
