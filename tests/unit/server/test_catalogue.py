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


def test_a_new_model_does_not_become_the_default_because_of_its_name() -> None:
    catalogue = Catalogue([model("folk"), model("chorales"), model("aria")])

    assert catalogue.get("").name == "chorales"
    assert catalogue.names == ("chorales", "aria", "folk")


def test_the_only_model_is_the_default() -> None:
    assert Catalogue([model("aria")]).get("").name == "aria"


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        Catalogue([model("b"), model("a")], "a").get("x", "name")
    assert (caught.value.name, caught.value.loaded, caught.value.field) == ("x", ("a", "b"), "name")


@pytest.mark.parametrize(
    ("names", "default", "message"),
    [
        ([], "", "no model"),
        (["a", "b", "a"], "", "same name: a"),
        (["a", "b"], "c", "'c' is not loaded; loaded models: a, b"),
        (["b", "a"], "", r"\(a, b\): name one with --default-model \(or FANTASIA_DEFAULT_MODEL\)"),
    ],
)
def test_without_a_clear_default_the_start_fails(names: list[str], default: str, message: str) -> None:
    with pytest.raises(StartupError, match=message):
        Catalogue([model(name) for name in names], default)
