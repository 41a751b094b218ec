"""The part of the network that sees the voices: embeddings of the registers, and outputs by interval."""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from music.voicing import DECAYS, PITCH_CLASSES, Voicing
from training.config import NetworkConfig

SHARES: Final = 3.0
"""What the shares of the pitch classes add up to: the scale on which the other embeddings are."""
LEAST_SHARE: Final = 1e-6


class Voices(nn.Module):
    """Registers in, scores of pitches out; see `music.voicing.Voicing`."""

    def __init__(self, config: NetworkConfig, voicing: Voicing, places: NDArray[np.integer[Any]], *, seen: int) -> None:
        """`places` (clock rows,) says at which place of the step each clock row stands; outputs see `seen` values."""
        super().__init__()
        self.voicing = voicing
        self.told_profile = "profile" in config.told
        groups = voicing.feature_groups.items()
        told = np.array([name in config.told for name, sizes in groups for _ in sizes])
        sizes = np.where(told, voicing.feature_sizes, 0)
        total = int(sizes.sum())
        self.span = 2 * voicing.pitches
        self.table = nn.Embedding(voicing.voices * total, config.embedding)
        self.key = nn.Linear(len(DECAYS) * PITCH_CLASSES, config.embedding, bias=False) if self.told_profile else None
        self.output = nn.Linear(seen, voicing.voices * self.span) if config.relative else None
        self.columns: Tensor
        self.offsets: Tensor
        self.intervals: Tensor
        self.pairs: Tensor
        self.turned: Tensor
        self.none: Tensor
        starts = np.cumsum(sizes) - sizes
        self._constant("columns", np.flatnonzero(told))
        self._constant("offsets", places[:, None].astype(np.int64) * total + starts[told])
        self._constant("intervals", voicing.intervals)
        self._constant("pairs", np.array(voicing.pairs, np.int64).reshape(-1, 2))
        self._constant("turned", voicing.turned)
        self.register_buffer("none", torch.arange(self.span) == 0, persistent=False)
        nn.init.normal_(self.table.weight, std=0.25)
        if self.output is not None:
            nn.init.normal_(self.output.weight, std=0.01)
            nn.init.zeros_(self.output.bias)

    def _constant(self, name: str, values: NDArray[np.int64]) -> None:
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.long), persistent=False)

    def embedding(self, registers: Tensor, profile: Tensor, clock_rows: Tensor) -> Tensor:
        """Sum of the embedded features and of the turned profile.

        Takes (..., registers), (..., decays, 12) and (...,); gives (..., embedding).
        """
        voices = self.voicing.voices
        intervals = self.intervals[registers[..., self.pairs[:, 0]], registers[..., self.pairs[:, 1]]]
        elapsed = registers[..., -1:] // self.voicing.span
        age, motion, heard = (registers[..., first : first + voices - 1] for first in self.voicing.others)
        moved = (age == 0) & (motion > 0)
        came_from = torch.where(moved, heard - motion + self.voicing.pitches, self.voicing.start)
        before = self.intervals[registers[..., self.voicing.own, None], came_from]
        features = torch.cat([registers[..., : 3 * voices], elapsed, intervals, before], -1)[..., self.columns]
        rows = features + self.offsets[clock_rows]
        summed = nn.functional.embedding_bag(rows.flatten(0, -2), self.table.weight, mode="sum")
        embedded = summed.view(*rows.shape[:-1], -1)
        if self.key is None:
            return embedded
        places = self.turned[registers[..., self.voicing.own]].unsqueeze(-2).expand_as(profile)
        shares = profile.gather(-1, places) * (SHARES / profile.sum(-1, keepdim=True).clamp_min(LEAST_SHARE))
        key: Tensor = self.key(shares.flatten(-2))
        return embedded + key

    def scores(self, values: Tensor, registers: Tensor) -> Tensor:
        """What every token gains by its interval from each voice: (..., seen), (..., registers) to (..., tokens)."""
        if self.output is None:
            return values.new_zeros(())
        scores: Tensor = self.output(values)
        scores = scores.view(*values.shape[:-1], -1, self.span).masked_fill(self.none, 0.0)
        columns = self.intervals.T[registers[..., self.voicing.heard]]  # (..., voices, tokens)
        return scores.gather(-1, columns).sum(-2)
