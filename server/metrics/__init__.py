"""What Prometheus is told; the only package that imports its client."""
# ruff: noqa: E402  # prometheus_client reads the environment as it is imported

import logging
import os

for _name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
    # With it, prometheus_client keeps every metric in files, of one or several processes. This server is one process
    # that writes no file, and the variable is often there for another program of the same environment.
    if os.environ.pop(_name, None) is not None:
        logging.getLogger(__name__).warning("%s is ignored: the metrics of this server stay in its memory", _name)

from server.metrics.endpoint import MetricsEndpoint
from server.metrics.engine import EngineMetrics
from server.metrics.metrics import Metrics

__all__ = ["EngineMetrics", "Metrics", "MetricsEndpoint"]
