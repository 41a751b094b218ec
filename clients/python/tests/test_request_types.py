import inspect
import pydoc

import pytest

from fantasia.v1 import generation_pb2 as pb
from fantasia_client import AsyncClient, Client, GenerateOptions, Piece
from fantasia_client.request_types import CALL_OPTIONS

NOT_ARGUMENTS = {
    "open": "min_bars and max_bars",
    "pieces": "an argument of generate_many",
    "resume_token": "resume",
}


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("method", ["generate", "generate_many", "stream"])
def test_help_shows_all_arguments(client: type, method: str) -> None:
    function = getattr(client, method)
    signature = inspect.signature(function)
    assert set(GenerateOptions.__annotations__) == set(signature.parameters) - {"self", "pieces"}
    assert signature.parameters["bars"].annotation == int | None
    text = pydoc.plain(pydoc.render_doc(function))
    assert "bars: int | None = None" in text
    for name in GenerateOptions.__annotations__:
        assert f"\n        {name}: " in text
    assert inspect.iscoroutinefunction(function) == (client is AsyncClient and method != "stream")


def test_every_field_of_the_contract_has_its_argument() -> None:
    fields = {field.name for field in pb.GenerateRequest.DESCRIPTOR.fields} - set(NOT_ARGUMENTS)
    assert set(GenerateOptions.__annotations__) == fields | {"min_bars", "max_bars", "resume", *CALL_OPTIONS}


def test_every_field_of_a_piece_is_in_the_answer() -> None:
    assert {field.name for field in pb.Piece.DESCRIPTOR.fields} <= set(Piece.__dataclass_fields__)
