import pytest

from bench.torture.soak import growth
from tests.unit.bench.torture.records import resources, samples


def test_what_stays_as_it_is_after_a_warm_up_does_not_grow() -> None:
    assert growth(samples(*[resources(200, 10, 10)] * 4, *[resources(400)] * 12)) == []


@pytest.mark.parametrize(
    ("last", "grown"),
    [
        (resources(441), "the memory grew from 400 to 441 MiB"),
        (resources(threads=25), "the threads grew from 20 to 25"),
        (resources(descriptors=40), "the descriptors grew from 30 to 40"),
    ],
)
def test_what_grows_is_named(last: object, grown: str) -> None:
    assert growth(samples(*[resources()] * 12, *[last] * 4)) == [grown]  # type: ignore[arg-type]


def test_a_short_soak_says_nothing() -> None:
    assert growth(samples(*[resources()] * 7)) == ["the soak was too short to tell whether anything grows"]
