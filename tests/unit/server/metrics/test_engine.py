import pytest

from server.engine.observer import Outcome
from server.metrics import EngineMetrics, Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["Generate"])


@pytest.fixture
def observer(metrics: Metrics) -> EngineMetrics:
    return EngineMetrics(metrics, "quartet", 2)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model": "quartet", "version": "2", **labels})


def test_the_life_of_a_sequence_updates_its_metrics(metrics: Metrics, observer: EngineMetrics) -> None:
    observer.refused()
    assert value(metrics, "fantasia_sequences_refused_total") == 1
    observer.submitted()
    assert value(metrics, "fantasia_sequences_in_flight") == 1
    observer.started(0.5)
    observer.first_token(0.75)
    observer.chunk(batch_size=3, steps=8, seconds=0.004)
    observer.first_step(batch_size=2, steps=1, seconds=0.002)
    observer.prefill(tokens=64, seconds=0.003)
    observer.finished(Outcome.LENGTH, 1.5, tokens=512)

    assert value(metrics, "fantasia_sequences_in_flight") == 0
    assert value(metrics, "fantasia_sequences_finished_total", outcome="length") == 1
    assert value(metrics, "fantasia_queue_duration_seconds_sum") == 0.5
    assert value(metrics, "fantasia_first_token_duration_seconds_sum") == 0.75
    assert value(metrics, "fantasia_chunk_duration_seconds_sum") == 0.004
    assert value(metrics, "fantasia_step_duration_seconds_sum") == 0.0005
    assert value(metrics, "fantasia_first_step_duration_seconds_sum") == 0.002
    assert value(metrics, "fantasia_prefill_duration_seconds_sum") == 0.003
    assert value(metrics, "fantasia_prefill_tokens_total") == 64
    assert value(metrics, "fantasia_batch_size_sum") == 3
    assert value(metrics, "fantasia_sequence_duration_seconds_sum") == 1.5
    assert value(metrics, "fantasia_tokens_total") == 512


def test_a_displaced_sequence_counts_as_refused(metrics: Metrics, observer: EngineMetrics) -> None:
    observer.submitted()
    observer.finished(Outcome.DISPLACED, 1.5, tokens=0)
    assert value(metrics, "fantasia_sequences_refused_total") == 1


def test_step_buckets_begin_at_20_microseconds(metrics: Metrics, observer: EngineMetrics) -> None:
    observer.chunk(batch_size=1, steps=10, seconds=0.00019)

    assert value(metrics, "fantasia_step_duration_seconds_bucket", le="2e-05") == 1


def test_every_outcome_is_exported_from_the_start(metrics: Metrics, observer: EngineMetrics) -> None:
    for outcome in Outcome:
        assert value(metrics, "fantasia_sequences_finished_total", outcome=outcome.value) == 0


def test_time_without_work_is_no_interval_between_chunks(metrics: Metrics, observer: EngineMetrics) -> None:
    for chunks in (1, 3):
        observer.submitted()
        for _ in range(chunks):
            observer.chunk(batch_size=1, steps=1, seconds=0.001)
        observer.finished(Outcome.END, 0.1, tokens=chunks)

    assert value(metrics, "fantasia_chunk_duration_seconds_count") == 4
    assert value(metrics, "fantasia_chunk_interval_seconds_count") == 2


def test_the_time_from_cancellation_to_a_free_slot_is_measured(metrics: Metrics, observer: EngineMetrics) -> None:
    observer.freed_after_cancel(0.003)

    assert value(metrics, "fantasia_cancellation_duration_seconds_sum") == 0.003
