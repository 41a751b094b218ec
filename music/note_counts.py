"""What became of the notes of a source: read, left out or changed, each counted once."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class NoteCounts:
    """Counts that add up: `struck + repeated == kept + left_out.total()`.

    A note is struck once, however many ties prolong it. Every note of a chord counts.
    """

    struck: int = 0
    """Notes that the source strikes, each as often as it is written."""
    repeated: int = 0
    """Notes added by playing out repeats, endings and jumps."""
    kept: int = 0
    """Notes of the score that was read."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Notes that the score does not have, by reason, such as `grace` or `percussion`; each under one reason."""
    changed: Counter[str] = field(default_factory=Counter)
    """Notes that are kept but not as written, by what was changed, such as `off_grid` or `unreleased`."""
    other: Counter[str] = field(default_factory=Counter)
    """What the source holds beside notes and the score does not, such as `tempo_changes` or `chord_symbols`."""

    @property
    def balanced(self) -> bool:
        """Whether every note is accounted for."""
        return self.struck + self.repeated == self.kept + self.left_out.total()

    def update(self, counts: "NoteCounts") -> None:
        """Add those of another source."""
        self.struck += counts.struck
        self.repeated += counts.repeated
        self.kept += counts.kept
        self.left_out.update(counts.left_out)
        self.changed.update(counts.changed)
        self.other.update(counts.other)


def in_words(counts: Mapping[str, int]) -> str:
    """The counts by name, such as `1,204 grace, 3 cue`; `none` where there are none."""
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()) if count) or "none"
