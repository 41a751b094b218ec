"""One table, as text for a terminal or as Markdown for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate


@dataclass(frozen=True, slots=True)
class Table:
    """A table of cells that are already formatted."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Each as long as the header."""
    title: str = ""
    """Stands above the table. Empty for none."""
    text_columns: int = 1
    """Number of leading columns that hold text. They are aligned left, the others (numbers) right."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"a row has {len(row)} cells, the header has {len(self.header)}: {row!r}")

    def as_text(self) -> str:
        """Title and table for a terminal, without a newline at the end."""
        body = self._formatted("plain", self.header, self.rows)
        return f"{self.title}\n{body}" if self.title else body

    def as_markdown(self) -> str:
        """Title in bold and a table in GitHub's Markdown, without a newline at the end."""
        body = self._formatted(
            "pipe", [_escape(cell) for cell in self.header], [list(map(_escape, r)) for r in self.rows]
        )
        return f"**{self.title}**\n\n{body}" if self.title else body

    def _formatted(self, style: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        align = ["left" if column < self.text_columns else "right" for column in range(len(header))]
        # Without rows tabulate cannot know how many columns to align: an empty one stands in for them.
        return tabulate(
            rows or [[""] * len(header)],
            header,
            tablefmt=style,
            colalign=align,
            headersalign=align,
            disable_numparse=True,
        )


def _escape(cell: str) -> str:
    return cell.replace("|", r"\|")
