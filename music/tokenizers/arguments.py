"""What a manifest says of a tokenizer, as arguments of its constructor."""

from inspect import signature
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, ValidationError, create_model

from music.errors import InvalidScoreError
from music.invalid import problems
from music.score import Meter


def _meter(value: object) -> Meter:
    if not isinstance(value, str):
        raise ValueError("a meter is a text like 3/4")
    try:
        return Meter.parse(value)
    except InvalidScoreError as error:
        raise ValueError(str(error)) from error


StoredMeter = Annotated[Meter, BeforeValidator(_meter)]
"""A meter that JSON holds as a text."""


def arguments_from(tokenizer: type, parameters: dict[str, Any]) -> dict[str, Any]:
    """Each parameter in the type that the tokenizer's constructor takes; those that are not given stay out.

    Args:
        tokenizer: a class whose constructor has annotations.
        parameters: as JSON holds them.

    Raises:
        ValueError: parameters are missing, unknown or of another type; names all of them.
    """
    fields: dict[str, Any] = {
        name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in signature(tokenizer).parameters.items()
    }
    model = create_model("parameters", __config__=ConfigDict(extra="forbid"), **fields)
    try:
        checked = model.model_validate(parameters)
    except ValidationError as error:
        raise ValueError(problems(error)) from error
    return {name: getattr(checked, name) for name in parameters}
