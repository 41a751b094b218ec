"""Where results and their figures lie."""

from pathlib import Path
from typing import Final

RESULTS: Final = Path(__file__).parent / "results"
"""A JSON file for each recorded run."""
FIGURES: Final = Path("images") / "performance"
"""The figures, as seen from the page."""
