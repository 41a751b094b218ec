"""How tokens are drawn from the network's distribution."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn: temperature first; then both top-k and top-p must leave it, top-p of all probabilities.

    A field that is None is the model's default. The server checks the ranges.
    """

    temperature: float | None = None
    """Divides the logits, 0.01 to 10; 1 samples the distribution as trained."""
    top_k: int | None = None
    """Only the k likeliest tokens may be drawn, 1 to 1024; 0 for no limit."""
    top_p: float | None = None
    """Only the likeliest tokens whose probabilities sum to this: above 0, at most 1 (no limit)."""
