"""Refuses a request whose piece cannot be complete within the caller's deadline."""

from typing import Final

from server.engine.engine import Engine
from server.errors import DeadlineTooShortError, Violation
from server.rpc.generation_spec import GenerationSpec

_CERTAIN_SHARE: Final = 0.5
"""A request is refused only if this share of the estimate exceeds the remaining time: the estimate may be wrong."""


def check_deadline(engine: Engine, spec: GenerationSpec, remaining_seconds: float | None, caller: str = "") -> None:
    """Check that a piece of a fixed length can be complete in time.

    Args:
        engine: that is to write it.
        spec: the request.
        remaining_seconds: time until the caller's deadline; None for no deadline.
        caller: whose request it is, for its place in the queue.

    Raises:
        DeadlineTooShortError: it is certain that it cannot.
    """
    if remaining_seconds is None or spec.length.is_open or spec.completion is not None:
        return
    queue_seconds, run_seconds = engine.seconds_needed(spec.engine_request, caller=caller)
    needed = queue_seconds + run_seconds
    if _CERTAIN_SHARE * needed <= remaining_seconds or not engine.confirm_refusal():
        return
    share = max(remaining_seconds - queue_seconds, 0.0) / run_seconds if run_seconds else 0.0
    raise DeadlineTooShortError(
        Violation(
            spec.length_field or "given",
            f"takes about {_duration(needed)}, and the deadline is in {_duration(remaining_seconds)}: "
            + _what_fits(spec, share),
        )
    )


def _what_fits(spec: GenerationSpec, share: float) -> str:
    """Say which length could be complete in this share of the time of the run."""
    request = spec.engine_request
    known = min(request.known_count / request.max_tokens, 1.0)  # this part takes no time
    fits = (known + share * (1.0 - known)) * spec.length.max_ticks - spec.plan.given_ticks
    match spec.length_field:
        case "bars":
            return _count_that_fits(int(fits // spec.bar_ticks), "bar")
        case "steps":
            return _count_that_fits(int(fits // spec.step_ticks), "step")
        case "seconds" if fits >= spec.step_ticks:
            return f"about {_duration(fits * spec.seconds_per_tick)} would fit"
        case "":
            return "a shorter given piece would fit" if share else "nothing would fit"
        case _:
            return "nothing would fit"


def _count_that_fits(count: int, unit: str) -> str:
    if count < 1:
        return f"not even 1 {unit} would fit"
    return f"about {count} {unit}{'' if count == 1 else 's'} would fit"


def _duration(seconds: float) -> str:
    """Write a duration with at least two digits, down to a millisecond."""
    if seconds < 0.001:
        return "less than 0.001 s"
    decimals = next((digits for digits, least in ((1, 1.0), (2, 0.1)) if seconds >= least), 3)
    return f"{seconds:.{decimals}f} s"
