"""Builds the messages that the clients send."""

from fantasia.v1 import generation_pb2 as pb
from fantasia_client.fields import INT32, UINT64, Fields, shown
from fantasia_client.meter import Meter
from fantasia_client.sampling import Sampling


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
        InvalidRequestError: two lengths, a value of another type than its field or too large for it, or a
            meter that is not like 3/4.
    """
    fields = Fields()
    lengths = {"bars": bars, "steps": steps, "seconds": seconds}
    given = [name for name, value in lengths.items() if value is not None]
    if len(given) > 1:
        fields.refuse("length", f"give one of {', '.join(given)}, and no more")
    request = pb.GenerateRequest(
        model=fields.text("model", model) or "",
        seed=fields.integer("seed", seed, UINT64),
        sampling=_sampling(sampling, fields),
        tempo_bpm=fields.number("tempo_bpm", tempo_bpm),
        program=fields.integer("program", program, INT32),
        meter=_meter(meter, fields),
    )
    if (whole_bars := fields.integer("bars", bars, INT32)) is not None:
        request.bars = whole_bars
    if (whole_steps := fields.integer("steps", steps, INT32)) is not None:
        request.steps = whole_steps
    if (real_seconds := fields.number("seconds", seconds)) is not None:
        request.seconds = real_seconds
    fields.finish()
    return request


def get_model_request(name: str | None) -> pb.GetModelRequest:
    """The message for `GetModel`; None for the server's default model.

    Raises:
        InvalidRequestError: the name is no text.
    """
    fields = Fields()
    request = pb.GetModelRequest(name=fields.text("name", name) or "")
    fields.finish()
    return request


def _sampling(sampling: object, fields: Fields) -> pb.Sampling | None:
    if sampling is None:
        return None
    if not isinstance(sampling, Sampling):
        fields.refuse("sampling", f"must be a Sampling, not {shown(sampling)}")
        return None
    message = pb.Sampling(
        temperature=fields.number("sampling.temperature", sampling.temperature),
        top_k=fields.integer("sampling.top_k", sampling.top_k, INT32),
        top_p=fields.number("sampling.top_p", sampling.top_p),
    )
    return message if message.ByteSize() else None


def _meter(meter: object, fields: Fields) -> pb.Meter | None:
    if meter is None:
        return None
    if isinstance(meter, str):
        try:
            meter = Meter.parse(meter)
        except ValueError as error:
            fields.refuse("meter", str(error))
            return None
    if not isinstance(meter, Meter):
        fields.refuse("meter", f"must be a Meter or a text like '3/4', not {shown(meter)}")
        return None
    return pb.Meter(
        numerator=fields.integer("meter.numerator", meter.numerator, INT32) or 0,
        denominator=fields.integer("meter.denominator", meter.denominator, INT32) or 0,
    )
