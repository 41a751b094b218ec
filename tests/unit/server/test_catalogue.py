from typing import cast

import pytest

from music.bundle import Bundle
from server.catalogue import Catalogue, ServedModel
from server.engine.engine import Engine
from server.errors import ModelNotFoundError, StartupError


class NamedBundle:
    def __init__(self, name: str) -> None:
        self.name = name


def model(name: str) -> ServedModel:
    return ServedModel(cast(Bundle, NamedBundle(name)), cast(Engine, None))


def test_the_default_comes_first_then_the_others_by_name() -> None:
    catalogue = Catalogue([model("c"), model("b"), model("a")], default="b")

    assert catalogue.names == ("b", "a", "c")
    assert [served.name for served in catalogue] == ["b", "a", "c"]
    assert catalogue.get("").name == "b"
    assert catalogue.get("c").name == "c"


def test_without_a_default_it_is_the_first_by_name() -> None:
    assert Catalogue([model("b"), model("a")]).get("").name == "a"


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        Catalogue([model("b"), model("a")]).get("x", "name")
    assert (caught.value.name, caught.value.loaded, caught.value.field) == ("x", ("a", "b"), "name")


@pytest.mark.parametrize(
    ("names", "default", "message"),
    [
        ([], "", "no model"),
        (["a", "b", "a"], "", "same name: a"),
        (["a", "b"], "c", "'c' is not loaded; loaded: a, b"),
    ],
)
def test_what_cannot_be_served_stops_the_start(names: list[str], default: str, message: str) -> None:
    with pytest.raises(StartupError, match=message):
        Catalogue([model(name) for name in names], default)
