"""The metrics of access: certificates, reloads, refusals, calls by caller."""

from prometheus_client import Counter, Gauge

from server.access.observer import AccessObserver, Refusal
from server.metrics.metrics import Metrics


class AccessMetrics(AccessObserver):
    """Observes who may call."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self._expiry = Gauge(
            "fantasia_certificate_expiry_timestamp_seconds",
            "Time when a certificate expires, in seconds since 1970; the earliest one of a file of authorities.",
            ["certificate"],
            unit="seconds",
            registry=registry,
        )
        self._reloads = Counter(
            "fantasia_file_reloads",
            "Reloads of changed certificates and callers, by outcome; after a failed one the earlier files are used.",
            ["files", "outcome"],
            registry=registry,
        )
        self._refusals = Counter(
            "fantasia_access_refusals",
            "Calls and scrapes refused because of their caller, by reason.",
            ["reason"],
            registry=registry,
        )
        self._calls = Counter(
            "fantasia_caller_requests",
            "Requests finished of each named caller, by code.",
            ["caller", "code"],
            registry=registry,
        )
        for files in ("certificates", "callers"):
            for outcome in ("ok", "failed"):
                self._reloads.labels(files, outcome)
        for refusal in Refusal:
            self._refusals.labels(refusal.value)

    def certificate_expires(self, certificate: str, at_seconds: float) -> None:
        """See `AccessObserver`."""
        self._expiry.labels(certificate).set(at_seconds)

    def reloaded(self, files: str, *, ok: bool) -> None:
        """See `AccessObserver`."""
        self._reloads.labels(files, "ok" if ok else "failed").inc()

    def refused(self, refusal: Refusal) -> None:
        """See `AccessObserver`."""
        self._refusals.labels(refusal.value).inc()

    def caller_call(self, caller: str, code: str) -> None:
        """See `AccessObserver`."""
        self._calls.labels(caller, code).inc()
