"""Counts of the notes of a source: kept, left out or changed, each note once."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class NoteCounts:
    """Counts for which `written + repeated == kept + left_out.total()`.

    Tied notes count as one note. Every note of a chord counts.
    """

    written: int = 0
    """Notes written in the source, without repeats."""
    repeated: int = 0
    """Notes added by expanding repeats, endings and jumps."""
    kept: int = 0
    """Notes of the resulting score."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Notes missing from the score, by reason, such as `grace` or `percussion`; each note under one reason."""
    changed: Counter[str] = field(default_factory=Counter)
    """Kept notes that were changed, by kind of change, such as `off_grid` or `unreleased`."""
    other: Counter[str] = field(default_factory=Counter)
    """Elements other than notes that the score cannot hold, such as `tempo_changes` or `chord_symbols`."""

    @property
    def balanced(self) -> bool:
        """Whether the counts add up."""
        return self.written + self.repeated == self.kept + self.left_out.total()

    def update(self, counts: "NoteCounts") -> None:
        """Add the counts of another source."""
        self.written += counts.written
        self.repeated += counts.repeated
        self.kept += counts.kept
        self.left_out.update(counts.left_out)
        self.changed.update(counts.changed)
        self.other.update(counts.other)


def format_counts(counts: Mapping[str, int]) -> str:
    """The counts as text, such as `1,204 grace, 3 cue`; `none` if all are zero."""
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()) if count) or "none"
