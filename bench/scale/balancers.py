"""The two ways to spread calls over replicas: round robin in the client over a name, and a proxy."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.scale.dns import name_server
from bench.scale.envoy import envoy_proxy
from bench.scale.record import Balancer


@dataclass(frozen=True, slots=True)
class Balancing:
    """What clients call instead of a replica."""

    target: str
    """The address for clients."""
    set: Callable[[Sequence[str]], None]
    """Replaces the addresses of the replicas that it leads to."""


@contextmanager
def balancing(balancer: Balancer, port: int) -> Iterator[Balancing]:
    """One of the two ways, without replicas.

    Args:
        balancer: which.
        port: of all replicas.

    Raises:
        BenchError: there is no Envoy, or it does not start.
    """
    if balancer == "client":
        with name_server() as names:
            yield Balancing(names.target(port), names.set)
    else:
        with envoy_proxy(port) as proxy:
            yield Balancing(proxy.address, proxy.set)
