"""What this package reports about its work."""

from enum import Enum


class Refusal(Enum):
    """Why a call was refused. The values are metric labels."""

    NO_TOKEN = "no_token"  # noqa: S105
    """It has no token, and needs one."""
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105
    """Its token is in no entry of the callers file."""
    NOT_ALLOWED = "not_allowed"
    """Its caller may not use this service."""
    CALLS = "calls"
    """Its caller has made too many calls in the last minute."""
    TOKENS = "tokens"
    """Its caller has asked for too many tokens in the last minute."""
    IN_FLIGHT = "in_flight"
    """Its caller has too much in flight."""


class AccessObserver:
    """Receives events. Every method is empty; a subclass overrides the ones that it needs. All must be quick."""

    def certificate_expires(self, certificate: str, at_seconds: float) -> None:
        """A certificate was loaded.

        Args:
            certificate: `server` or `client_ca`.
            at_seconds: when it expires, in seconds since 1970.
        """

    def reloaded(self, files: str, *, ok: bool) -> None:
        """Changed files were read.

        Args:
            files: `certificates` or `callers`.
            ok: whether they are used now; else the earlier ones are.
        """

    def refused(self, refusal: Refusal) -> None:
        """A call, or a scrape, was refused."""

    def caller_call(self, caller: str, code: str) -> None:
        """A call of a caller of the callers file ended with a gRPC code such as `OK`."""
