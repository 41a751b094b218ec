"""Errors of the music layer.

FantasiaError
├── InvalidScoreError        a score, or a file that should hold one, cannot be read or represented
├── UnsupportedMeterError    the tokenizer's clock does not know the meter or the pickup
└── BundleError              a bundle cannot be trusted or understood
    ├── BundleFormatError    manifest missing, unreadable, or of an unknown format version
    ├── BundleIntegrityError a file is missing, its sha256 differs, or a graph reads a file that has none
    └── BundleMismatchError  parts that do not belong together (tokenizer hash, shapes)
"""


class FantasiaError(Exception):
    """Base of every error that Fantasia raises on purpose."""


class InvalidScoreError(FantasiaError):
    """A score, or a file that should hold one, cannot be read or represented."""


class UnsupportedMeterError(FantasiaError):
    """The tokenizer's clock does not know the meter or the pickup asked for."""


class BundleError(FantasiaError):
    """A bundle cannot be trusted or understood."""


class BundleFormatError(BundleError):
    """The manifest is missing, unreadable, or of an unknown format version."""


class BundleIntegrityError(BundleError):
    """A file of the bundle is missing, its sha256 is not the manifest's, or a graph reads a file without one."""


class BundleMismatchError(BundleError):
    """Parts of the bundle do not belong together: tokenizer hash, vocabulary or shapes."""
