"""The layers that see the voices: embeddings of the voice states, and outputs by interval."""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from music.voice_tracker import DECAYS, PITCH_CLASSES, VoiceTracker
from training.config import NetworkConfig

PROFILE_SCALE: Final = 3.0
"""Sum of the profile's shares, which puts them on the scale of the other embeddings."""
MIN_PROFILE_SUM: Final = 1e-6


class VoiceLayers(nn.Module):
    """Embeds the voice states and scores pitches by interval. See `music.voice_tracker.VoiceTracker`."""

    def __init__(
        self, config: NetworkConfig, tracker: VoiceTracker, places: NDArray[np.integer[Any]], *, output_width: int
    ) -> None:
        """Create the layers.

        Args:
            config: of the network.
            tracker: of the tokenizer.
            places: (position indices,), the place in the step of each position index.
            output_width: width of the outputs' input.
        """
        super().__init__()
        self.tracker = tracker
        names = [name for name, sizes in tracker.feature_groups.items() for _ in sizes]
        used = np.array([name in config.voice_features for name in names])
        sizes = np.where(used, tracker.feature_sizes, 0)
        total = int(sizes.sum())
        self.span = 2 * tracker.pitches
        self.table = nn.Embedding(tracker.voices * total, config.embedding)
        self.key: nn.Linear | None = None
        """Embeds the profile."""
        if "profile" in config.voice_features:
            self.key = nn.Linear(len(DECAYS) * PITCH_CLASSES, config.embedding, bias=False)
        self.output = nn.Linear(output_width, tracker.voices * self.span) if config.interval_output else None
        self.columns: Tensor
        self.offsets: Tensor
        self.intervals: Tensor
        self.pairs: Tensor
        self.turned: Tensor
        self.no_interval: Tensor
        starts = np.cumsum(sizes) - sizes
        self._constant("columns", np.flatnonzero(used))
        self._constant("offsets", places[:, None].astype(np.int64) * total + starts[used])
        self._constant("intervals", tracker.intervals)
        self._constant("pairs", np.array(tracker.pairs, np.int64).reshape(-1, 2))
        self._constant("turned", tracker.rotations)
        self.register_buffer("no_interval", torch.arange(self.span) == 0, persistent=False)
        nn.init.normal_(self.table.weight, std=0.25)
        if self.output is not None:
            nn.init.normal_(self.output.weight, std=0.01)
            nn.init.zeros_(self.output.bias)

    def _constant(self, name: str, values: NDArray[np.int64]) -> None:
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.long), persistent=False)

    def embedding(self, voice_states: Tensor, profile: Tensor, position_indices: Tensor) -> Tensor:
        """Sum of the embedded features and of the embedded profile.

        Args:
            voice_states: (..., size) int64.
            profile: (..., decays, 12) float32.
            position_indices: (...,) int64, position indices.

        Returns:
            (..., embedding) float32.
        """
        voices = self.tracker.voices
        intervals = self.intervals[voice_states[..., self.pairs[:, 0]], voice_states[..., self.pairs[:, 1]]]
        elapsed = voice_states[..., -1:] // self.tracker.span
        age, motion, sounding = (voice_states[..., first : first + voices - 1] for first in self.tracker.other_voices)
        moved = (age == 0) & (motion > 0)
        came_from = torch.where(moved, sounding - motion + self.tracker.pitches, self.tracker.start)
        before = self.intervals[voice_states[..., self.tracker.next_voice_pitch, None], came_from]
        features = torch.cat([voice_states[..., : 3 * voices], elapsed, intervals, before], -1)[..., self.columns]
        rows = features + self.offsets[position_indices]
        summed = nn.functional.embedding_bag(rows.flatten(0, -2), self.table.weight, mode="sum")
        embedded = summed.view(*rows.shape[:-1], -1)
        if self.key is None:
            return embedded
        # Turned so that the pitch class of the voice's own last pitch comes first.
        places = self.turned[voice_states[..., self.tracker.next_voice_pitch]].unsqueeze(-2).expand_as(profile)
        shares = profile.gather(-1, places) * (PROFILE_SCALE / profile.sum(-1, keepdim=True).clamp_min(MIN_PROFILE_SUM))
        key: Tensor = self.key(shares.flatten(-2))
        return embedded + key

    def interval_logits(self, values: Tensor, voice_states: Tensor) -> Tensor:
        """Sum of the scores of every token by its interval from each voice.

        Args:
            values: (..., output width) float32.
            voice_states: (..., size) int64.

        Returns:
            (..., vocabulary) float32, or a scalar 0 without an interval output.
        """
        if self.output is None:
            return values.new_zeros(())
        scores: Tensor = self.output(values)
        scores = scores.view(*values.shape[:-1], -1, self.span).masked_fill(self.no_interval, 0.0)
        columns = self.intervals.T[voice_states[..., self.tracker.last_pitches]]  # (..., voices, vocabulary)
        return scores.gather(-1, columns).sum(-2)
