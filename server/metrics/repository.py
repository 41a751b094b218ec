"""The metrics of the model repository."""

from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LOAD_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class LoadOutcome(StrEnum):
    """How an attempt to load a bundle ended."""

    LOADED = "loaded"
    REFUSED = "refused"


class RepositoryMetrics:
    """What became of the bundles in the repository.

    Args:
        registry: exports the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loads = Counter(
            "fantasia_model_loads",
            "Bundles loaded or refused since the start, by outcome.",
            ["outcome"],
            registry=registry,
        )
        for outcome in LoadOutcome:
            self._loads.labels(outcome.value)
        self._duration = Histogram(
            "fantasia_model_load_duration",
            "Time to verify, load and warm up a bundle, in seconds.",
            unit="seconds",
            buckets=_LOAD_BUCKETS,
            registry=registry,
        )
        self._default_version = Gauge(
            "fantasia_default_version",
            "Number of the version that calls get that name the model only.",
            ["model"],
            registry=registry,
        )
        self._refused = Gauge(
            "fantasia_models_refused", "Number of bundles in the repository that cannot be used.", registry=registry
        )
        self._unloading = Gauge(
            "fantasia_models_unloading",
            "Number of versions that finish their calls before they are unloaded.",
            registry=registry,
        )
        self._scanned_at = Gauge(
            "fantasia_repository_scan_timestamp",
            "Unix time of the last complete reading of the repository, in seconds.",
            unit="seconds",
            registry=registry,
        )
        self._default_models: set[str] = set()

    def loaded(self, seconds: float) -> None:
        """A bundle was loaded and warmed up in this time."""
        self._loads.labels(LoadOutcome.LOADED.value).inc()
        self._duration.observe(seconds)

    def refused(self) -> None:
        """A bundle was refused."""
        self._loads.labels(LoadOutcome.REFUSED.value).inc()

    def scanned(self, *, refused: int) -> None:
        """The repository was read, and so many bundles in it cannot be used."""
        self._scanned_at.set_to_current_time()
        self._refused.set(refused)

    def set_unloading(self, versions: int) -> None:
        """So many versions finish their calls."""
        self._unloading.set(versions)

    def set_default_versions(self, versions: dict[str, int]) -> None:
        """Export the default versions by model, and no others."""
        for model in self._default_models - versions.keys():
            self._default_version.remove(model)
        self._default_models = set(versions)
        for model, version in versions.items():
            self._default_version.labels(model).set(version)
