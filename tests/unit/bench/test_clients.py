import pytest

from bench.clients import Call


def test_the_first_token_is_the_latency_without_the_time_from_first_to_last_token() -> None:
    call = Call(10.0, 11.5, 64, queue_seconds=0.1, first_token_seconds=0.2, engine_seconds=1.2)

    assert call.client_first_token_seconds == pytest.approx(0.5)
    assert call.running == pytest.approx((10.4, 11.5))
