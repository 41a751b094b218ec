"""Errors of running a bundle.

FantasiaError
└── ExecutionError
    ├── ProviderUnavailableError   the requested execution provider does not run on this machine
    ├── PrecisionUnavailableError  the bundle or the execution provider does not support the requested precision
    └── SamplingError              a sampling parameter is out of range; a bug of ours, since requests are validated
"""

from music.errors import FantasiaError


class ExecutionError(FantasiaError):
    """Base of the errors of running a bundle."""


class ProviderUnavailableError(ExecutionError):
    """The requested execution provider does not run on this machine."""


class PrecisionUnavailableError(ExecutionError):
    """The bundle or the execution provider does not support the requested precision."""


class SamplingError(ExecutionError, ValueError):
    """A sampling parameter is out of range."""
