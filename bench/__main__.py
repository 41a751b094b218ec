"""`python -m bench`."""

import sys
from collections.abc import Sequence

from bench.options import parse_options
from bench.page import render
from bench.places import RESULTS
from bench.table import as_text
from music.errors import FantasiaError


def main(arguments: Sequence[str]) -> int:
    """Measure and print, or render; the exit code: 0 done, 1 could not, 2 bad arguments."""
    options = parse_options(arguments)
    try:
        if options.render:
            render(options.render)
            return 0
        from bench.suite import run_suite  # only now: the results can be rendered without ONNX Runtime

        report = run_suite(options)
    except FantasiaError as error:
        sys.stderr.write(f"python -m bench: error: {error}\n")
        return 1
    print(as_text(report), end="")
    if options.record:
        report.save(RESULTS / f"{options.record}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
