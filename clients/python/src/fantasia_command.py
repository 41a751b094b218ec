"""Where the `fantasia` command starts, outside the package so that it comes before gRPC is imported.

The gRPC library reads GRPC_VERBOSITY once, as it loads, and writes its own lines to stderr. Who types
a command wants our one sentence there; who wants more sets the variable.
"""

import io
import os
import sys


def main() -> None:
    """Run the `fantasia` command."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a description may hold what the terminal cannot show
    try:
        from fantasia_client.cli import main as command
    except KeyboardInterrupt:  # loading takes a moment
        sys.exit(130)

    command(prog_name="fantasia")


if __name__ == "__main__":
    main()
