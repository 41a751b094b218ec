"""`python -m server`."""

import sys

from server.signals import end_on_signal

if __name__ == "__main__":
    end_on_signal()  # before the imports, which take a second
    from server.command import main

    sys.exit(main(sys.argv[1:]))
