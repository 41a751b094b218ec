"""The token that names the caller: given, from a file or from the environment."""

import os
import re
from contextlib import suppress
from pathlib import Path

VARIABLE = "FANTASIA_TOKEN"
FILE_VARIABLE = "FANTASIA_TOKEN_FILE"
_MAX_CHARACTERS = 4096
_VALID = re.compile(r"[!-~]+")  # what HTTP/2 metadata may hold, without spaces


class InsecureTokenWarning(UserWarning):
    """A token is sent without TLS to another machine, so any machine on the way can read it."""


class Token:
    """A bearer token. A file is read again for every call, so that a token can be replaced while the client runs.

    Args:
        text: the token.

    Raises:
        ValueError: the token is empty, too long, or has spaces or characters that are not ASCII. The message does not
            contain it.
    """

    def __init__(self, text: str) -> None:
        self._text = _checked(text, "the token")
        self._path: Path | None = None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Token":
        """The token in a file; white space around it is ignored.

        Raises:
            OSError: the file cannot be read.
            ValueError: it contains no token.
        """
        token = cls(_read(Path(path)))
        token._path = Path(path)
        return token

    @classmethod
    def from_environment(cls) -> "Token | None":
        """The token in the file that `FANTASIA_TOKEN_FILE` names, else in `FANTASIA_TOKEN`; None without both.

        Raises:
            OSError: the file cannot be read.
            ValueError: the token is not valid.
        """
        if path := os.environ.get(FILE_VARIABLE):
            return cls.from_file(path)
        text = os.environ.get(VARIABLE)
        return cls(_checked(text.strip(), VARIABLE)) if text else None

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call. While a file cannot be read or has no valid token, the latest valid one counts."""
        if self._path is not None:
            with suppress(OSError, ValueError):  # it is being replaced
                self._text = _read(self._path)
        return (("authorization", f"Bearer {self._text}"),)

    def __repr__(self) -> str:
        return "Token(...)" if self._path is None else f"Token.from_file({str(self._path)!r})"


def _read(path: Path) -> str:
    try:
        return _checked(path.read_text(encoding="utf-8").strip(), f"the token in {path}")
    except UnicodeDecodeError as error:
        raise ValueError(f"the token in {path} is not text") from error


def _checked(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{what} must be text, not {type(text).__name__}")
    if not text:
        raise ValueError(f"{what} is empty")
    if len(text) > _MAX_CHARACTERS or not _VALID.fullmatch(text):
        raise ValueError(f"{what} must be 1 to {_MAX_CHARACTERS} printable ASCII characters without spaces")
    return text
