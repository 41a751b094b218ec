"""A tokenizer's parameters in JSON, as arguments of its constructor."""

from inspect import signature
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, ValidationError, create_model

from music.errors import InvalidScoreError, problems
from music.score import Meter


def _meter(value: object) -> Meter:
    if not isinstance(value, str):
        raise ValueError("a meter is a string like 3/4")
    try:
        return Meter.parse(value)
    except InvalidScoreError as error:
        raise ValueError(str(error)) from error


MeterText = Annotated[Meter, BeforeValidator(_meter)]
"""A meter that JSON holds as a string such as `3/4`."""


def parse_parameters(tokenizer: type, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters, converted to the types of the tokenizer's constructor. Parameters that are not set stay unset.

    Args:
        tokenizer: a class with an annotated constructor.
        parameters: as in JSON.

    Raises:
        ValueError: parameters are missing, unknown or of a wrong type; the message names all of them.
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
