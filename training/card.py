"""The model card: what a bundle is, in words and numbers, beside the bundle."""

from pathlib import Path
from typing import Final

CARD: Final = "README.md"
SAMPLES: Final = "samples"
MARK: Final = "<!-- Written by `python -m training card`. -->"
"""First line of every card: what tells it from a page that somebody wrote."""


def card_files(bundle: Path) -> set[str]:
    """Names in a bundle's folder that a card put there: itself and its samples, or nothing.

    A page of somebody's own, and a folder that holds more than samples, are not among them.
    """
    card, samples = bundle / CARD, bundle / SAMPLES
    try:
        with card.open(encoding="utf-8") as file:
            found = {CARD} if file.readline().rstrip() == MARK else set()
    except (OSError, UnicodeDecodeError):
        return set()
    if found and samples.is_dir() and all(path.suffix in (".mid", ".png") for path in samples.iterdir()):
        found.add(SAMPLES)
    return found
