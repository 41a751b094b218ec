"""The port that Prometheus scrapes."""

import socket
import threading
from socketserver import TCPServer
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from server.errors import StartupError


class MetricsEndpoint:
    """Answers scrapes on a thread of its own; listens from the start.

    Args:
        registry: what to show.
        host: address to listen on.
        port: 0 takes a free one.

    Raises:
        StartupError: the address cannot be listened on.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        server = _Server6 if ":" in host else _Server
        try:
            self._server = make_server(host, port, make_wsgi_app(registry), server, _QuietHandler)
        except OSError as error:
            raise StartupError(f"cannot listen on {host}:{port} for metrics: {error.strerror}") from error
        # Closing waits for the loop to look up: prometheus_client's own start_http_server takes half a second.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The bound port."""
        return self._server.server_port

    def close(self) -> None:
        """Stop listening and join the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingWSGIServer):
    def server_bind(self) -> None:
        # Not the base's, which asks a name server what this machine is called, and may wait long for it.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: a scrape is no news."""
