import asyncio
from collections.abc import Iterable
from typing import cast

import pytest

from music.bundle import Bundle
from server.catalogue import Catalogue, ServedModel
from server.engine.engine import Engine
from server.errors import ModelNotFoundError, StartupError, VersionNotFoundError


class NamedBundle:
    def __init__(self, name: str) -> None:
        self.name = name


def model(name: str, version: int = 1) -> ServedModel:
    return ServedModel(cast(Bundle, NamedBundle(name)), cast(Engine, None), version=version)


def labels(models: Iterable[ServedModel]) -> list[str]:
    return [f"{model.name}:{model.version}" for model in models]


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
        Catalogue([model("b"), model("a")], "a").get("x", field="name")
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


def test_the_default_version_is_the_highest_and_comes_first() -> None:
    catalogue = Catalogue([model("duo", 2), model("duo", 10), model("duo", 9), model("aria")], "duo")

    assert labels(catalogue) == ["duo:10", "duo:9", "duo:2", "aria:1"]
    assert labels([catalogue.get(""), catalogue.get("duo"), catalogue.get("duo", 9)]) == ["duo:10", "duo:10", "duo:9"]
    catalogue.set_default_version("duo", 2)
    assert labels(catalogue) == ["duo:2", "duo:10", "duo:9", "aria:1"]
    assert labels([catalogue.get("")]) == ["duo:2"]
    assert [catalogue.is_default_version(each) for each in catalogue.versions("duo")] == [True, False, False]


def test_configured_default_versions_precede() -> None:
    catalogue = Catalogue([model("duo", 2), model("duo", 3), model("aria", 5)], "duo", {"duo": 2})

    assert labels([catalogue.get("duo"), catalogue.get("aria")]) == ["duo:2", "aria:5"]


@pytest.mark.parametrize("version", [3, -1, 2**62])
def test_an_unknown_version_is_an_error_that_lists_the_known_ones(version: int) -> None:
    catalogue = Catalogue([model("duo", 2), model("duo", 4)])
    with pytest.raises(
        VersionNotFoundError, match=f"version {version} of duo is not loaded; loaded versions: 4, 2"
    ) as caught:
        catalogue.get("duo", version, version_field="version")
    assert caught.value.field == "version"
    assert caught.value.allowed == f"must be 0 or one of 4, 2, not {version}"


def test_an_added_version_is_not_the_default_and_one_with_the_same_number_replaces() -> None:
    old = model("duo", 1)
    catalogue = Catalogue([old])
    assert catalogue.add(model("duo", 2)) is None
    assert labels(catalogue) == ["duo:1", "duo:2"]
    new = model("duo", 1)
    assert catalogue.add(new) is old
    assert catalogue.get("duo") is new


def test_the_default_model_stays_while_it_is_loaded() -> None:
    folk, chorales = model("folk"), model("chorales")
    catalogue = Catalogue([folk])
    catalogue.add(chorales)
    assert catalogue.default == "folk", "a new bundle never becomes the default because of its name"
    catalogue.remove(folk)
    assert catalogue.default == "chorales"
    catalogue.remove(chorales)
    assert (catalogue.default, catalogue.names, list(catalogue)) == ("", (), [])
    with pytest.raises(
        ModelNotFoundError, match="no model is named, and there is no default model; loaded models: none"
    ):
        catalogue.get("")


def test_without_a_clear_default_a_call_must_name_a_model() -> None:
    first, second, third = model("a"), model("b"), model("c")
    catalogue = Catalogue([first])
    catalogue.add(second)
    catalogue.add(third)
    catalogue.remove(first)
    assert catalogue.names == ("b", "c")
    with pytest.raises(ModelNotFoundError, match="no model is named, and there is no default model") as caught:
        catalogue.get("")
    assert caught.value.allowed == "must be one of b, c"


def test_a_configured_default_model_comes_back() -> None:
    first = model("a")
    catalogue = Catalogue([first, model("b")], "a")
    catalogue.remove(first)
    assert catalogue.default == "", "another model must not answer in its place"
    catalogue.add(first)
    assert catalogue.default == "a"


async def test_a_model_is_idle_when_the_last_call_has_ended() -> None:
    served = model("a")
    with served.calls:
        with served.calls:
            waiting = asyncio.ensure_future(served.calls.wait_until_idle())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
