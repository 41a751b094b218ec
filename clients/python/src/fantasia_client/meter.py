"""Time signatures."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Meter:
    """A time signature, such as `Meter(3, 4)`. The server says which ones a model counts."""

    numerator: int = 4
    """Beats in a bar."""
    denominator: int = 4
    """The note that is one beat: 4 means a quarter note."""

    def bar_ticks(self, ticks_per_quarter: int) -> float:
        """Length of one bar in ticks."""
        return self.numerator * self.beat_ticks(ticks_per_quarter)

    def beat_ticks(self, ticks_per_quarter: int) -> float:
        """Length of one beat in ticks."""
        return 4 * ticks_per_quarter / self.denominator

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"

    @classmethod
    def parse(cls, text: str) -> "Meter":
        """Read `3/4`.

        Raises:
            ValueError: the text is not two positive integers with a slash between them.
        """
        parts = text.split("/")
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
            raise ValueError(f"a meter is written like 3/4, not {text!r}")
        return cls(int(parts[0]), int(parts[1]))
