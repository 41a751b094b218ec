"""`python -m server` with the arithmetic model instead of the bundles in `--models`."""

import sys

from server.signals import end_on_signal

if __name__ == "__main__":
    end_on_signal()
    from server.command import main
    from tests.integration.arithmetic_model import load

    sys.exit(main(sys.argv[1:], load))
