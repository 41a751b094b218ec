"""The layers that see the past of a sequence of `events`: inputs and outputs that are relative to the last pitches."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from music.tokenizers.note_tracker import BARS_AGO, DECAYS, ORDERS, PITCH_CLASSES, NoteTracker
from training.config import NetworkConfig
from training.network.inputs import Inputs

REACH: Final = 36
"""Keys below and above the last one that the network sees."""
INTERVAL_REACH: Final = 30
"""Intervals up to this have scores of their own; larger ones share one in each direction."""
SHARE_SCALE: Final = 3.0
"""Sum of the profile's shares, which puts them on the scale of the other embeddings."""
MIN_SHARE: Final = 0.02
"""Added to shares before their logarithm."""
MIN_PROFILE_SUM: Final = 1e-3


class NoteTensors(NamedTuple):
    """What the layers see of some steps (`music.tokenizers.note_tracker.NoteFeatures`). The first axes are the same."""

    indices: Tensor
    """(..., features) integers."""
    words: Tensor
    """(..., (sets + 1) * words) integers; the last set holds the keys that sound."""
    profile: Tensor
    """(..., decays * 12) float32."""
    keys: Tensor
    """(..., 1 + 2 * voices) integers."""
    candidates: Tensor
    """(..., candidates) integers."""

    @classmethod
    def of(cls, inputs: Inputs[Tensor]) -> "NoteTensors":
        """Those of the network's inputs."""
        return cls(
            inputs.note_indices, inputs.note_words, inputs.note_profile, inputs.note_keys, inputs.note_candidates
        )


class NoteLayers(nn.Module):
    """Embeds the features of a `NoteTracker`, and scores tokens with them.

    A PITCH is scored by its interval from the last key, from the lowest and the highest key of its voice's last chord
    and from the lowest key of the next voice's, and by the sets of keys that contain it. A token that the past suggests
    gets a score for each suggestion. The LSTM weighs the sets and the suggestions.
    """

    def __init__(self, config: NetworkConfig, tracker: NoteTracker, vocabulary: int, *, output_width: int) -> None:
        """Create the layers.

        Args:
            config: of the network.
            tracker: of the tokenizer.
            vocabulary: number of tokens; the last ones are the pitches of each voice.
            output_width: width of the outputs' input.
        """
        super().__init__()
        self.tracker = tracker
        self.vocabulary = vocabulary
        used: set[str] = set(config.note_features)
        self.sets = tracker.sets + 1
        sizes = np.array(tracker.feature_sizes)
        groups = feature_uses(tracker)
        columns = np.array([group is None or group in used for group in groups.indices])
        self.table = nn.Embedding(int(sizes.sum()), config.embedding)
        self.window = nn.Linear(self.sets * (2 * REACH + 1), config.embedding, bias=False)
        self.profile = nn.Linear(len(DECAYS) * PITCH_CLASSES, config.embedding, bias=False)
        self.voices = tracker.voices
        self.references = 1 + 2 + (tracker.voices > 1)
        self.span = 2 * INTERVAL_REACH + 1
        self.intervals = nn.Linear(output_width, self.voices * self.references * self.span)
        self.weights = nn.Linear(output_width, self.voices * len(score_sets(tracker)))
        self.suggestions = nn.Linear(output_width, tracker.candidates)
        self.trust = nn.Embedding(len(ORDERS) * (tracker.feature_sizes[-2]), 1)
        """Score of a match by the number of tokens that it has foreseen."""
        self.columns: Tensor
        self.offsets: Tensor
        self.word_bits: Tensor
        self.set_mask: Tensor
        self.score_mask: Tensor
        self.candidate_mask: Tensor
        self.turns: Tensor
        self.key_numbers: Tensor
        self.reach: Tensor
        self.pitch_classes: Tensor
        self.class_of_key: Tensor
        starts = np.cumsum(sizes) - sizes
        self._constant("columns", torch.as_tensor(np.flatnonzero(columns)))
        self._constant("offsets", torch.as_tensor(starts[columns]))
        self._constant("word_bits", torch.as_tensor(tracker.word_bits))
        self._constant("set_mask", _mask(groups.sets, used))
        self._constant("score_mask", _mask(groups.scores, used))
        self._constant("candidate_mask", _mask(groups.candidates, used))
        self.sees_profile = "profile" in used
        self.scores_intervals = config.interval_output
        keys = torch.arange(tracker.pitches)
        self._constant("key_numbers", keys)
        self._constant("reach", torch.arange(2 * REACH + 1))
        self._constant("turns", torch.arange(PITCH_CLASSES))
        self._constant("pitch_classes", keys % PITCH_CLASSES)
        self._constant("class_of_key", (keys[:, None] % PITCH_CLASSES == self.turns).float())
        nn.init.normal_(self.table.weight, std=0.25)
        nn.init.normal_(self.window.weight, std=0.05)
        nn.init.normal_(self.profile.weight, std=0.1)
        nn.init.zeros_(self.trust.weight)
        for layer in (self.intervals, self.weights, self.suggestions):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def _constant(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    def key_sets(self, notes: NoteTensors) -> Tensor:
        """The sets of keys (..., sets, keys) float32, 0 or 1."""
        words = nn.functional.embedding(notes.words.int(), self.word_bits)
        sets = words.view(*notes.words.shape[:-1], self.sets, -1)[..., : self.tracker.pitches]
        masked: Tensor = sets * self.set_mask[:, None]
        return masked

    def embedding(self, notes: NoteTensors, sets: Tensor) -> Tensor:
        """Sum of the embeddings of all features, (..., embedding).

        Args:
            notes: of the steps.
            sets: `key_sets` of them.
        """
        rows = notes.indices.int()[..., self.columns] + self.offsets
        summed = nn.functional.embedding_bag(rows.flatten(0, -2), self.table.weight, mode="sum")
        values = summed.view(*rows.shape[:-1], -1)
        last = notes.keys[..., 0].long()
        root = torch.where(last == self.tracker.none, self.tracker.middle, last)
        padded = nn.functional.pad(sets, (REACH, REACH))
        places = (root[..., None] + self.reach).unsqueeze(-2).expand(*sets.shape[:-1], -1)
        values = values + self.window(padded.gather(-1, places).flatten(-2))
        if not self.sees_profile:
            unturned: Tensor = values
            return unturned
        turned = ((root[..., None] + self.turns) % PITCH_CLASSES).unsqueeze(-2).expand(*root.shape, len(DECAYS), -1)
        shares = self._shares(notes).gather(-1, turned) * SHARE_SCALE
        embedded: Tensor = values + self.profile(shares.flatten(-2))
        return embedded

    def logits(self, values: Tensor, logits: Tensor, notes: NoteTensors, sets: Tensor) -> Tensor:
        """The logits (..., vocabulary) with all scores added.

        Args:
            values: (..., output width), input of the outputs.
            logits: (..., vocabulary) float32, of the absolute output.
            notes: of the steps.
            sets: `key_sets` of them.
        """
        tracker, voices, shape = self.tracker, self.voices, notes.keys.shape[:-1]
        scores = self._set_scores(self.weights(values).float(), notes, sets)
        if self.scores_intervals:
            intervals = self.intervals(values).float().view(*shape, voices, self.references, self.span)
            references = notes.keys.long()[..., self.reference_columns]  # (..., voices, references)
            places = (self.key_numbers - references.unsqueeze(-1)).clamp(-INTERVAL_REACH, INTERVAL_REACH)
            of_reference = intervals.gather(-1, places + INTERVAL_REACH)
            scores = scores + of_reference.masked_fill((references == tracker.none).unsqueeze(-1), 0.0).sum(-2)
        pitched = nn.functional.pad(scores.flatten(-2), (self.vocabulary - voices * tracker.pitches, 0))
        trust = self.trust(self._trust_rows(notes)).squeeze(-1)
        suggested = self.suggestions(values).float()
        suggested = suggested + nn.functional.pad(trust, (tracker.candidates - len(ORDERS), 0))
        candidates = notes.candidates.long()
        suggested = torch.where(candidates < 0, 0.0, suggested * self.candidate_mask)
        return (logits + pitched).scatter_add(-1, candidates.clamp_min(0), suggested)

    @property
    def masked_outputs(self) -> list[tuple[nn.Linear, Tensor]]:
        """The outputs in the order in which a graph stacks them, each with a mask (outputs,) of those in use."""
        return [
            (self.intervals, torch.full((self.intervals.out_features,), float(self.scores_intervals))),
            (self.weights, self.score_mask.repeat(self.voices)),
            (self.suggestions, self.candidate_mask),
        ]

    @property
    def masked_table(self) -> Tensor:
        """The table of embeddings for all features, (rows, embedding), zero for those that are not used."""
        used = torch.zeros(len(self.table.weight), 1)
        sizes = self.tracker.feature_sizes
        for column, offset in zip(self.columns.tolist(), self.offsets.tolist(), strict=True):
            used[offset : offset + sizes[column]] = 1.0
        return self.table.weight * used

    @property
    def masked_window(self) -> Tensor:
        """Weights (embedding, sets * window) of the keys around the last one, zero for sets that are not used."""
        return self.window.weight * self.set_mask.repeat_interleave(2 * REACH + 1)

    @property
    def masked_profile(self) -> Tensor:
        """Weights (embedding, decays * 12) of the profile, zero if it is not used."""
        return self.profile.weight * float(self.sees_profile)

    @property
    def masked_trust(self) -> Tensor:
        """Scores of the matches by length, (orders * lengths,)."""
        mask = self.candidate_mask[-len(ORDERS) :].repeat_interleave(self.tracker.feature_sizes[-2])
        return self.trust.weight[:, 0] * mask

    @property
    def reference_columns(self) -> list[list[int]]:
        """Columns of `NoteTensors.keys` from which each voice's intervals are measured."""
        voices = self.voices
        columns = [[0, 1 + voice, 1 + voices + voice] for voice in range(voices)]
        if voices > 1:
            for voice, own in enumerate(columns):
                own.append(1 + (voice + 1) % voices)
        return columns

    def _trust_rows(self, notes: NoteTensors) -> Tensor:
        # The match lengths are the last features but one.
        orders = len(ORDERS)
        lengths = notes.indices[..., -1 - orders : -1].int()
        return lengths + torch.arange(orders, dtype=torch.int, device=lengths.device) * self.tracker.feature_sizes[-2]

    def _shares(self, notes: NoteTensors) -> Tensor:
        """Share of each pitch class: (..., decays, 12)."""
        profile = notes.profile.float().view(*notes.profile.shape[:-1], len(DECAYS), PITCH_CLASSES)
        return profile / profile.sum(-1, keepdim=True).clamp_min(MIN_PROFILE_SUM)

    def _set_scores(self, weights: Tensor, notes: NoteTensors, sets: Tensor) -> Tensor:
        """The scores of each voice's keys (..., voices, keys) by the sets that contain them.

        Args:
            weights: (..., voices * score sets) of each voice, in the order of `score_sets`.
            notes: of the steps.
            sets: `key_sets` of them.
        """
        voices, names = self.voices, len(self.tracker.set_names)
        weights = weights.view(*weights.shape[:-1], voices, -1) * self.score_mask
        own, others, sounding, classes = torch.split(weights, [names - 1, names - 1, 1, 2 + len(DECAYS)], -1)
        by_name = sets[..., :-1, :].reshape(*sets.shape[:-2], names, voices, -1)
        total = by_name.sum(-2)
        scores = torch.einsum("...vn,...nvk->...vk", own - others, by_name[..., 1:, :, :])
        scores = scores + torch.cat([others, sounding], -1) @ torch.cat([total[..., 1:, :], sets[..., -1:, :]], -2)
        present = (total[..., :2, :] @ self.class_of_key).clamp_max(1.0)
        logarithms = torch.log(self._shares(notes) + MIN_SHARE)
        by_class = classes @ torch.cat([present, logarithms], -2)  # (..., voices, 12)
        added: Tensor = scores + by_class[..., self.pitch_classes]
        return added


class FeatureUses(NamedTuple):
    """The group in `NetworkConfig.note_features` to which each feature belongs; None: always used."""

    indices: Sequence[str | None]
    sets: Sequence[str]
    scores: Sequence[str]
    candidates: Sequence[str]


def score_sets(tracker: NoteTracker) -> list[str]:
    """Names of what a voice's pitches are scored by."""
    own = list(tracker.set_names[1:])
    return [
        *own,
        *(f"others_{name}" for name in own),
        "sounding",
        "chord_classes",
        "last_classes",
        *(f"profile_{decay}" for decay in DECAYS),
    ]


def feature_uses(tracker: NoteTracker) -> FeatureUses:
    """Which group each feature belongs to."""
    ago, voices = len(BARS_AGO), tracker.voices
    indices: list[str | None] = []
    for name, sizes in tracker.feature_groups.items():
        groups: dict[str, list[str | None]] = {
            "previous": [None],
            "next": ["past"] * len(sizes),
            "duration": [*["past"] * ago, *["durations"] * (voices + 1)],
            "velocity": ["durations"],
            "interval": ["intervals"] * len(sizes),
            "key": ["intervals"],
            "match": ["match"] * len(sizes),
            "match_length": ["match"] * len(sizes),
            "bars": [None],
        }
        indices += groups[name]
    by_name = ["chord", "chord", *["past"] * ago]
    sets = [group for group in by_name for _ in range(voices)]
    scored = ["chord", *["past"] * ago]
    candidates = ["past"] * 2 * ago
    return FeatureUses(
        indices=indices,
        sets=[*sets, "sounding"],
        scores=[*scored, *scored, "sounding", "chord", "chord", "profile", "profile"],
        candidates=[*candidates, *["durations"] * (voices + 2), *["match"] * len(ORDERS)],
    )


def _mask(groups: Sequence[str], used: set[str]) -> Tensor:
    return torch.tensor([float(group in used) for group in groups])
