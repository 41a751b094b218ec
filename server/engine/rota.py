"""Whose turn it is, where more sequences decode than one run takes."""

from collections.abc import Collection


class Rota:
    """Those who decode, in turn: whoever has sat out longest comes first.

    Args:
        width: how many run at once, at least 1.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._order: dict[int, None] = {}  # slots, whose turn it is first
        self._everybody: list[int] | None = []

    def __len__(self) -> int:
        return len(self._order)

    def enter(self, slot: int) -> None:
        """Join at the end; the slot must not be there yet."""
        assert slot not in self._order
        self._order[slot] = None
        self._everybody = None

    def leave(self, slot: int) -> None:
        """Go; the slot must be there."""
        del self._order[slot]
        self._everybody = None

    def clear(self) -> None:
        """Let everybody go."""
        self._order.clear()
        self._everybody = []

    def turn(self, first: Collection[int]) -> list[int]:
        """Choose who runs next, ascending; the same list as long as all fit in and nobody comes or goes.

        Args:
            first: slots that go before all others, in turn among themselves.
        """
        if len(self._order) <= self._width:
            if self._everybody is None:
                self._everybody = sorted(self._order)
            return self._everybody
        self._everybody = None
        chosen = [slot for slot in self._order if slot in first][: self._width]
        if len(chosen) < self._width:
            others = (slot for slot in self._order if slot not in first)
            chosen += [slot for slot, _ in zip(others, range(self._width - len(chosen)), strict=False)]
        for slot in chosen:
            del self._order[slot]
            self._order[slot] = None
        return sorted(chosen)
