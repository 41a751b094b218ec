"""The HTTP proxy through which gRPC reaches a server, as the environment names it.

gRPC decides that for itself. What follows says what it decides, so that an error can name the proxy
(https://github.com/grpc/grpc/blob/master/doc/environment_variables.md).
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
"""The first that is set counts, even if it is empty; gRPC does not read them in capitals."""
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that stands between the client and its server."""

    variable: str
    """The environment variable that names it."""
    address: str
    """Its host and port, without user and password."""
    host: str
    """The server's host, as `no_proxy` would name it."""


def proxy_for(server: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy for this server; None where gRPC connects directly.

    Args:
        server: address as `checked_server` gives it.
        environment: variables, such as `http_proxy` and `no_proxy`.
    """
    if server.startswith(("unix:", "unix-abstract:", "vsock:")):
        return None
    variable = next((name for name in _VARIABLES if name in environment), None)
    if variable is None:
        return None
    try:
        url = urlsplit(environment[variable])
        host, port = url.hostname, url.port
    except ValueError:  # gRPC ignores a proxy that is no URL
        return None
    if url.scheme != "http" or not host:
        return None
    name = re.sub(r"^(dns|ipv4|ipv6):", "", server.rpartition("/")[2]).partition(",")[0]
    target = name.rpartition(":")[0].strip("[]") or server
    if _excepted(target, next((environment[name] for name in _EXCEPTIONS if name in environment), "")):
        return None
    return Proxy(variable, f"{host}:{port or 443}", target)


def _excepted(host: str, exceptions: str) -> bool:
    for entry in filter(None, (part.strip() for part in exceptions.split(","))):
        if host.lower().endswith(entry.lower().removeprefix(".")):
            return True
        try:
            if ip_address(host) in ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
