"""The part of a page that results are written into, between two marks, so that nobody types a number."""

from dataclasses import dataclass
from pathlib import Path

from music.errors import FantasiaError


@dataclass(frozen=True, slots=True)
class Region:
    """What stands between two marks."""

    begin: str
    end: str
    what: str
    """What belongs there, for the sentence that says there is no place for it."""
    error: type[FantasiaError]
    """Raised for a page that cannot be read, or has not both marks, in order."""

    def filled(self, page: str, body: str) -> str:
        """The page with `body` between its marks."""
        before, begin, rest = page.partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not begin or not end:
            raise self.error(f"the page has no place for {self.what}: put {self.begin!r} and {self.end!r} around it")
        return f"{before}{self.begin}\n\n{body}\n{self.end}{after}"

    def read(self, page: Path) -> str:
        """A page's text."""
        try:
            return page.read_text()
        except OSError as error:
            raise self.error(f"{page} cannot be read ({error.strerror})") from error
