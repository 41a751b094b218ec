"""Finds the HTTP proxy that gRPC uses for a server, so that error messages can name it.

gRPC chooses the proxy itself, from environment variables; this module repeats its rules
(https://github.com/grpc/grpc/blob/master/doc/environment_variables.md).
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
"""The first variable that is set counts, even if it is empty. gRPC does not read the names in capitals."""
_EXCLUSION_VARIABLES = ("no_grpc_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy between the client and its server."""

    variable: str
    """The environment variable that names it."""
    address: str
    """Host and port of the proxy, without user and password."""
    host: str
    """Host of the server, in the form for `no_proxy`."""


def proxy_for(server: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy for this server; None if gRPC connects directly.

    Args:
        server: address from `normalize_address`.
        environment: environment variables, such as `http_proxy` and `no_proxy`.
    """
    if server.startswith(("unix:", "unix-abstract:", "vsock:")):
        return None
    variable = next((name for name in _VARIABLES if name in environment), None)
    if variable is None:
        return None
    try:
        url = urlsplit(environment[variable])
        host, port = url.hostname, url.port
    except ValueError:  # gRPC ignores a value that is not a URL
        return None
    if url.scheme != "http" or not host:
        return None
    name = re.sub(r"^(dns|ipv4|ipv6):", "", server.rpartition("/")[2]).partition(",")[0]
    target = name.rpartition(":")[0].strip("[]") or server
    if _is_excluded(target, next((environment[name] for name in _EXCLUSION_VARIABLES if name in environment), "")):
        return None
    return Proxy(variable, f"{host}:{port or 443}", target)


def _is_excluded(host: str, exclusions: str) -> bool:
    for entry in filter(None, (part.strip() for part in exclusions.split(","))):
        if host.lower().endswith(entry.lower().removeprefix(".")):
            return True
        try:
            if ip_address(host) in ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
