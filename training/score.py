"""Loss and accuracy of a network over some pieces."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """Loss and accuracy over some pieces."""

    nats: float
    """Total negative log-likelihood, every token charged."""
    correct: int
    """Tokens that the network held likeliest."""
    tokens: int
    note_steps: int
    """Tokens that stand for time: `tokens` without the ends."""

    @property
    def loss(self) -> float:
        """Nats per note-step."""
        return self.nats / self.note_steps

    @property
    def accuracy(self) -> float:
        """Share of the tokens that the network held likeliest."""
        return self.correct / self.tokens
