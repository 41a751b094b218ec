"""Values of a request that the client refuses or converts."""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fantasia_client import (
    InvalidRequestError,
    Meter,
    Sampling,
)

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"bars": 8, "steps": 4}, "length"),
        ({"bars": 8, "seconds": 4.0}, "length"),
        ({"bars": 2**31}, "bars"),
        ({"bars": 1.5}, "bars"),
        ({"steps": -(2**31) - 1}, "steps"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"program": 2**40}, "program"),
        ({"sampling": Sampling(top_k=2**33)}, "sampling.top_k"),
        ({"meter": "waltz"}, "meter"),
        ({"meter": "3/0"}, "meter"),
        ({"meter": Meter(2**31, 4)}, "meter.numerator"),
        ({"meter": Meter(3, "4")}, "meter.denominator"),  # type: ignore[arg-type]
        ({"meter": (3, 4)}, "meter"),
        ({"meter": "9" * 5000 + "/4"}, "meter"),
        ({"bars": True}, "bars"),
        ({"bars": "8"}, "bars"),
        ({"bars": 10**5000}, "bars"),
        ({"steps": np.array([1, 2])}, "steps"),
        ({"seed": False}, "seed"),
        ({"program": b"0"}, "program"),
        ({"seconds": "3"}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"seconds": 10**400}, "seconds"),
        ({"tempo_bpm": "fast"}, "tempo_bpm"),
        ({"tempo_bpm": 1j}, "tempo_bpm"),
        ({"model": 5}, "model"),
        ({"model": 0}, "model"),
        ({"model": b"chorales"}, "model"),
        ({"model": "\ud800"}, "model"),
        ({"sampling": {"top_k": 5}}, "sampling"),
        ({"sampling": {}}, "sampling"),
        ({"sampling": Sampling(temperature="hot")}, "sampling.temperature"),  # type: ignore[arg-type]
        ({"sampling": np.array([1, 2])}, "sampling"),
        ({"sampling": Sampling(top_k=np.array([1, 2]))}, "sampling.top_k"),  # type: ignore[arg-type]
        ({"sampling": Sampling(top_k=True)}, "sampling.top_k"),
        ({"sampling": Sampling(top_p=[0.5])}, "sampling.top_p"),  # type: ignore[arg-type]
    ],
)
async def test_a_value_of_the_wrong_type_or_size_is_refused_by_the_client(
    server: "ScriptedServer", connect: "Connect", options: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await connect(server.address)("generate", **options)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert caught.value.code is None
    assert len(str(caught.value)) < 200
    assert str(caught.value).isascii()
    assert server.requests == []


async def test_a_number_too_large_names_the_limit_of_the_field(server: "ScriptedServer", connect: "Connect") -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await connect(server.address)("generate", bars=99_999_999_999)
    assert str(caught.value) == "bars: 99999999999 does not fit the field, which has a maximum of 2147483647"


async def test_all_violations_are_reported_together(server: "ScriptedServer", connect: "Connect") -> None:
    wrong = {"model": 5, "bars": True, "seconds": "3", "tempo_bpm": "fast", "meter": (3, 4), "sampling": {"top_k": 1}}
    with pytest.raises(InvalidRequestError) as caught:
        await connect(server.address)("generate", **wrong)
    assert {violation.field for violation in caught.value.violations} == {*wrong, "length"}


@pytest.mark.parametrize("name", [5, "\ud800"])
async def test_a_model_name_that_is_no_string_is_refused(
    server: "ScriptedServer", connect: "Connect", name: object
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await connect(server.address)("get_model", name)
    assert [violation.field for violation in caught.value.violations] == ["name"]
    assert server.requests == []


async def test_numbers_of_other_types_are_converted(server: "ScriptedServer", connect: "Connect") -> None:
    await connect(server.address)("generate", bars=np.int64(3), tempo_bpm=Fraction(181, 2), seed=np.uint64(2**64 - 1))
    request = server.requests[0]
    assert (request.bars, request.tempo_bpm, request.seed) == (3, 90.5, 2**64 - 1)


async def test_the_client_does_not_check_ranges(server: "ScriptedServer", connect: "Connect") -> None:
    sampling = Sampling(temperature=float("nan"), top_k=-1, top_p=1e300)
    await connect(server.address)(
        "generate", bars=-(2**31), program=200, tempo_bpm=-1, seed=2**64 - 1, sampling=sampling
    )
    assert server.requests[0].program == 200
