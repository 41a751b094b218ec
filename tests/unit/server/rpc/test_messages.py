"""Any value of a manifest is refused when it is read, or can be described to callers."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from music.bundle import Bundle
from music.errors import BundleError
from music.manifest import MANIFEST, parse_manifest
from music.tokenizers import tokenizer_from_parameters
from server.catalogue import ServedModel
from server.engine.engine import Engine
from server.errors import StartupError
from server.rpc.generation_spec import ModelTerms
from server.rpc.messages import model_message

SHIPPED = Path("models/chorales")
ODD: list[Any] = [
    *(None, True, -1, 0, 2**31, 2**63, 10**30, 1.5, 1e999),
    *("", "\ud800", "a\0b", "x\ny", "x" * 5000),
    *([], {}, [[]], {"\ud800": 1}),
]


def places(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all values, and of the tables themselves."""
    for key, value in table.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))


def served(data: bytes) -> ServedModel:
    """A model with this manifest.

    Raises:
        BundleError: the manifest is refused.
        ValueError: the tokenizer's parameters are.
    """
    manifest = parse_manifest(SHIPPED, data, 3)
    entry = manifest.tokenizer
    tokenizer = tokenizer_from_parameters(entry.name, entry.version, entry.parameters)
    engine = SimpleNamespace(provider="CPUExecutionProvider", precision="int8")
    return ServedModel(Bundle(SHIPPED, manifest, "d" * 64, tokenizer), cast(Engine, engine))


MANIFEST_TEXT = (SHIPPED / MANIFEST).read_text()


@pytest.mark.parametrize("place", [path for path in places(json.loads(MANIFEST_TEXT)) if path[0] != "provenance"])
def test_an_odd_value_is_refused_or_can_be_described(place: tuple[str, ...]) -> None:
    refused = 0
    for odd in ODD:
        table = manifest = json.loads(MANIFEST_TEXT)
        for name in place[:-1]:
            table = table[name]
        table[place[-1]] = odd
        try:
            model = served(json.dumps(manifest).encode())
        except (BundleError, ValueError):
            refused += 1
        else:
            assert model_message(model, ModelTerms(model.bundle)).SerializeToString(), odd
    assert refused > 0


def test_a_value_that_does_not_fit_is_a_startup_error() -> None:
    model = served(MANIFEST_TEXT.encode())
    model.bundle.tokenizer.step_ticks = 0.5  # type: ignore[assignment]
    with pytest.raises(StartupError, match="model chorales cannot be described to callers"):
        model_message(model, ModelTerms(model.bundle))
