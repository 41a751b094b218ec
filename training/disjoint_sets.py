"""Disjoint sets of indices, joined pair by pair."""


class DisjointSets:
    """Sets of the indices 0 to n - 1, each alone at first; a set is known by its lowest index (union-find)."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def find(self, index: int) -> int:
        """Lowest index of the set that `index` is in."""
        parents = self._parents
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    def join(self, first: int, second: int) -> None:
        """Make one set of the two that hold these indices."""
        a, b = self.find(first), self.find(second)
        self._parents[max(a, b)] = min(a, b)
