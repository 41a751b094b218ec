"""A name server with one name: what a headless Kubernetes Service is to its clients."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer

HOST = "fantasia.test"
"""The name."""
_SECONDS = 1
"""How long an answer may be kept."""


class NameServer(BaseResolver):  # type: ignore[misc] # dnslib has no types
    """Answers each question for an IPv4 address with the addresses of all ready replicas."""

    def __init__(self) -> None:
        self._addresses: tuple[str, ...] = ()
        self.port = 0
        """UDP and TCP port on 127.0.0.1."""

    def set(self, addresses: Iterable[str]) -> None:
        """Replace the addresses. Any thread may call this."""
        self._addresses = tuple(addresses)

    def target(self, port: int) -> str:
        """The gRPC target of the name with a port, resolved by this server."""
        return f"dns://127.0.0.1:{self.port}/{HOST}:{port}"

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        """Answer one question: dnslib calls this."""
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            for address in self._addresses:
                reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=_SECONDS))
        return reply


@contextmanager
def name_server() -> Iterator[NameServer]:
    """A name server on free ports of 127.0.0.1."""
    resolver, logger = NameServer(), DNSLogger(logf=lambda line: None)
    servers = [DNSServer(resolver, address="127.0.0.1", port=0, logger=logger)]
    resolver.port = servers[0].server.server_address[1]
    servers.append(DNSServer(resolver, address="127.0.0.1", port=resolver.port, tcp=True, logger=logger))
    for server in servers:
        server.start_thread()
    try:
        yield resolver
    finally:
        for server in servers:
            server.stop()
            server.server.server_close()
