"""Entry point of the `fantasia` command.

gRPC reads the variable GRPC_VERBOSITY when it is imported, and by default prints its own log to stderr. The command
prints one sentence there instead. So this module is outside of `fantasia_client`, which imports gRPC.
"""

import io
import os
import sys


def main() -> None:
    """Run the `fantasia` command."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # the terminal may not support every character of a description
    try:
        from fantasia_client.cli import main as command
    except KeyboardInterrupt:  # the import takes a moment
        sys.exit(130)

    command(prog_name="fantasia")


if __name__ == "__main__":
    main()
