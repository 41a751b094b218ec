"""Errors of the benchmark.

FantasiaError
└── BenchError   the benchmark cannot run as it was asked to; one sentence for the person who asked
"""

from music.errors import FantasiaError


class BenchError(FantasiaError):
    """The benchmark cannot run as it was asked to."""
