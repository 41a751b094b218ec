"""Builds the messages that the clients send."""

import operator

from fantasia.v1 import generation_pb2 as pb
from fantasia_client.errors import FieldViolation, InvalidRequestError
from fantasia_client.meter import Meter
from fantasia_client.sampling import Sampling

_INT32 = (-(2**31), 2**31 - 1)
_UINT64 = (0, 2**64 - 1)


def generate_request(
    *,
    bars: int | None,
    steps: int | None,
    seconds: float | None,
    seed: int | None,
    model: str | None,
    sampling: Sampling | None,
    tempo_bpm: float | None,
    program: int | None,
    meter: Meter | str | None,
) -> pb.GenerateRequest:
    """The message for `Generate`. What is None is left unset, and so the server's to decide.

    Ranges are the server's to check, for it alone knows the model. Refused here is only what the message
    cannot hold.

    Raises:
        InvalidRequestError: two lengths, an integer too large for its field, or a meter that is not like 3/4.
    """
    sampling = sampling or Sampling()
    lengths = {"bars": bars, "steps": steps, "seconds": seconds}
    given = [name for name, value in lengths.items() if value is not None]
    violations = [] if len(given) < 2 else [FieldViolation("length", f"give one of {', '.join(given)}, and no more")]
    whole = (
        ("bars", bars, _INT32),
        ("steps", steps, _INT32),
        ("seed", seed, _UINT64),
        ("program", program, _INT32),
        ("sampling.top_k", sampling.top_k, _INT32),
    )
    violations += [
        FieldViolation(name, f"must be an integer from {low} to {high}, not {value}")
        for name, value, (low, high) in whole
        if value is not None and not _is_integer(value, low, high)
    ]
    try:
        meter = Meter.parse(meter) if isinstance(meter, str) else meter
    except ValueError as error:
        violations.append(FieldViolation("meter", str(error)))
        meter = None
    if meter and not (_is_integer(meter.numerator, *_INT32) and _is_integer(meter.denominator, *_INT32)):
        violations.append(FieldViolation("meter", f"must be two integers like 3/4, not {meter}"))
    if violations:
        text = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise InvalidRequestError(text, violations=tuple(violations))
    request = pb.GenerateRequest(
        model=model or "",
        seed=seed,
        sampling=None if sampling == Sampling() else _sampling(sampling),
        tempo_bpm=tempo_bpm,
        program=program,
        meter=None if meter is None else pb.Meter(numerator=meter.numerator, denominator=meter.denominator),
    )
    if bars is not None:
        request.bars = bars
    if steps is not None:
        request.steps = steps
    if seconds is not None:
        request.seconds = seconds
    return request


def _sampling(sampling: Sampling) -> pb.Sampling:
    return pb.Sampling(temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p)


def _is_integer(value: object, low: int, high: int) -> bool:
    try:
        return low <= operator.index(value) <= high  # type: ignore[arg-type]
    except TypeError:
        return False
