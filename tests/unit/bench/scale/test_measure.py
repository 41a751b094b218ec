from pathlib import Path

import pytest

from bench.scale.measure import ScaleOptions, run_scale


@pytest.mark.scale
def test_replicas_are_measured_joined_replaced_and_killed(small_bundle: Path) -> None:
    options = ScaleOptions(
        models=small_bundle,
        balancers=("client",),
        rate=10.0,
        connection_age_seconds=2.0,
        join_seconds=1.0,
        throughput_seconds=0.1,
        calls_at_a_time=2,
        steps=8,
        before_seconds=0.2,
        pre_stop_seconds=0.1,
    )

    found = run_scale(options)

    (result,) = found.results
    assert found.bundle == "small"
    assert [row.replicas for row in result.throughput] == [2]
    assert len(result.join.calls) == 3
    assert [each.kind for each in result.disturbances] == ["rollout", "crash"]
    assert all(each.calls and not each.failed and not each.different for each in result.disturbances)
