"""What the machine that runs the tests can do."""

import socket
from contextlib import closing


def has_ipv6() -> bool:
    """Whether a server can listen on `::1`."""
    try:
        with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            return True
    except OSError:
        return False
