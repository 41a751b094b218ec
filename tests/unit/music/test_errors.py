from typing import Self

import pytest
from pydantic import BaseModel, ValidationError, model_validator

from music.errors import problems


class Inner(BaseModel):
    size: int


class Outer(BaseModel, extra="forbid"):
    inner: list[Inner] = []
    even: int = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.even % 2:
            raise ValueError("odd")
        return self


def error_of(document: dict[str, object]) -> ValidationError:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate(document)
    return raised.value


def test_every_problem_has_its_field_path() -> None:
    error = error_of({"inner": [{"size": 1}, {"size": "big"}], "even": "x"})
    listed = problems(error).split("; ")
    assert [problem.split(": ")[0] for problem in listed] == ["inner.1.size", "even"]
    assert problems(error, max_problems=1) == listed[0]


def test_a_problem_of_the_whole_document_has_its_name() -> None:
    error = error_of({"even": 1})
    assert problems(error, "manifest") == "manifest: Value error, odd"
    assert problems(error) == "Value error, odd"


def test_an_unknown_field_is_named() -> None:
    assert problems(error_of({"colour": 1})) == "colour: unknown field"
