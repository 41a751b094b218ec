import pytest

from bench.scale.record import Join
from tests.unit.bench.scale.records import record, result


def test_the_skew_is_the_largest_deviation_from_the_mean() -> None:
    assert Join(calls=(100, 100, 70), seconds=1.0).skew == pytest.approx(20 / 90)
    assert Join(calls=(5, 5), seconds=1.0).skew == 0.0


def test_skew_failed_and_different_calls_are_problems() -> None:
    assert list(record().problems()) == []
    assert list(record(result(calls=(120, 100, 80)), result(failed=1), result(different=2)).problems()) == [
        "client: a replica's calls deviate by 20.0% from the mean",
        "client, crash: 1 failed and 0 different of 200 calls",
        "client, crash: 0 failed and 2 different of 200 calls",
    ]
