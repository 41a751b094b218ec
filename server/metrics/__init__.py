"""What Prometheus is told; the only package that imports its client."""

from server.metrics.endpoint import MetricsEndpoint
from server.metrics.engine import EngineMetrics
from server.metrics.metrics import Metrics

__all__ = ["EngineMetrics", "Metrics", "MetricsEndpoint"]
