"""Prometheus metrics; the only package that imports prometheus_client."""
# ruff: noqa: E402  # prometheus_client reads the environment as it is imported

import logging
import os

for _name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
    # With this variable, prometheus_client keeps every metric in files that several processes share. This server is one
    # process that writes no files, and the variable is often set for another program in the same environment.
    if os.environ.pop(_name, None) is not None:
        logging.getLogger(__name__).warning("%s is ignored: the metrics of this server stay in its memory", _name)

from server.metrics.access import AccessMetrics
from server.metrics.authorization import ScrapeAuthorizer
from server.metrics.endpoint import MetricsEndpoint
from server.metrics.engine import EngineMetrics
from server.metrics.metrics import Metrics

__all__ = ["AccessMetrics", "EngineMetrics", "Metrics", "MetricsEndpoint", "ScrapeAuthorizer"]
