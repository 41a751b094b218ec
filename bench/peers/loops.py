"""Loops that write pieces token by token: the network in PyTorch, and the bundle's one-step graph."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bench.bare_loop import BareLoop
from music.bundle import Bundle
from music.remaining_length import UNKNOWN
from music.voice_tracker import DECAYS, MAX_AGE, PITCH_CLASSES, SPANS, VoiceTracker
from runtime.scorer import Scorer
from server.engine.request import EngineRequest
from training.graphs.from_bundle import network_from_bundle
from training.network.inputs import Inputs, no_notes
from training.network.model import MusicLSTM


class Loop(Protocol):
    """Writes pieces."""

    def write(self, requests: Sequence[EngineRequest]) -> list[NDArray[np.int64]]:
        """Tokens of each request, written in one batch until the longest is finished."""


class OnnxLoop:
    """The bundle's float32 decode graph of one step, which samples inside, called once a token."""

    def __init__(self, bundle: Bundle) -> None:
        self._loop = BareLoop(bundle, provider="cpu", threads=1, steps=1)

    def write(self, requests: Sequence[EngineRequest]) -> list[NDArray[np.int64]]:
        """See `Loop.write`."""
        tokens, _ = self._loop.run(requests)
        return [row[: request.max_tokens] for row, request in zip(tokens, requests, strict=True)]


class TorchLoop:
    """The network that training uses, one step at a time, and sampling with top-k, top-p and `torch.multinomial`."""

    def __init__(self, bundle: Bundle) -> None:
        torch.set_num_threads(1)
        self._bundle = bundle
        self._network = network_from_bundle(bundle)

    @torch.inference_mode()
    def write(self, requests: Sequence[EngineRequest]) -> list[NDArray[np.int64]]:
        """See `Loop.write`."""
        vocabulary = self._bundle.network.vocabulary
        step = self._steps([request.position_index for request in requests])
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        temperature = torch.tensor([[request.sampling.temperature] for request in requests])
        top_p = torch.tensor([[request.sampling.top_p] for request in requests])
        top_k = torch.tensor([[request.sampling.top_k or vocabulary] for request in requests])
        bias = torch.from_numpy(np.stack([request.bias(vocabulary) for request in requests]))
        length = max(request.max_tokens for request in requests)
        written = np.empty((len(requests), length), np.int64)
        for index in range(length):
            logits = step.logits() / temperature + bias
            logits = logits.masked_fill(torch.from_numpy(~step.grammar_allows()), float("-inf"))
            ordered, ids = logits.sort(descending=True)
            probabilities = ordered.softmax(-1)
            dropped = (probabilities.cumsum(-1) - probabilities >= top_p) | (torch.arange(vocabulary) >= top_k)
            probabilities = probabilities.masked_fill(dropped, 0.0)
            ranks = [
                torch.multinomial(row, 1, generator=generator)
                for row, generator in zip(probabilities, generators, strict=True)
            ]
            tokens = ids.gather(1, torch.stack(ranks))[:, 0].numpy()
            written[:, index] = tokens
            step.advance(tokens)
        return [row[: request.max_tokens] for row, request in zip(written, requests, strict=True)]

    @torch.inference_mode()
    def logits(self, tokens: NDArray[Any], position_index: int) -> NDArray[np.float32]:
        """Logits before each token of one piece, (tokens, vocabulary)."""
        step = self._steps([position_index])
        rows = []
        for token in tokens:
            rows.append(step.logits()[0].numpy())
            step.advance(np.array([token], np.int64))
        return np.stack(rows)

    def _steps(self, position_indices: Sequence[int]) -> "_Steps":
        return _Steps(self._bundle, self._network, position_indices)


class _Steps:
    """The state of a batch of pieces between two steps of the network."""

    def __init__(self, bundle: Bundle, network: MusicLSTM, position_indices: Sequence[int]) -> None:
        tokenizer, pieces = bundle.tokenizer, len(position_indices)
        self._network, self._positions, self._grammar = network, tokenizer.positions, tokenizer.grammar
        self._token = np.full(pieces, tokenizer.start_token, np.int64)
        self._position_indices = np.array(position_indices, np.int64)
        self._remaining = np.full(pieces, UNKNOWN, np.int64)
        self._joint_states = [tokenizer.grammar.joint_start] * pieces
        self._layers = network.layers
        self._lstm = [(h, c) for h, c in zip(*network.zero_state(pieces), strict=True)]
        self._voices = (
            VoiceState(tokenizer.voice_tracker, pieces) if network.voices and tokenizer.voice_tracker else None
        )

    def logits(self) -> torch.Tensor:
        """Logits of the next token, (pieces, vocabulary). Moves the LSTM on: call it once a step."""
        network, voices = self._network, self._voices
        automata = self._grammar.automata[len(self._grammar.feature_tables) :]
        grammar_states = np.array(self._joint_states, np.int64) // math.prod(len(each.allowed) for each in automata)
        voice_states, profile = (voices.voice_states, voices.profile) if voices else (self._token, self._token)
        none = no_notes(len(self._token))
        inputs = Inputs(
            self._token,
            self._position_indices,
            grammar_states,
            voice_states,
            profile,
            self._remaining,
            none.indices,
            none.words,
            none.profile,
            none.keys,
            none.candidates,
        ).map(torch.from_numpy)
        values = network.embedding(inputs)
        outputs = [values]
        for index, layer in enumerate(self._layers):
            self._lstm[index] = torch.lstm_cell(values, self._lstm[index], *layer)
            values = self._lstm[index][0]
            outputs.append(values)
        values = torch.cat(outputs, -1) if network.config.skip else values
        logits: torch.Tensor = network.output(values)
        return (
            logits if network.voices is None else logits + network.voices.interval_logits(values, inputs.voice_states)
        )

    def grammar_allows(self) -> NDArray[np.bool_]:
        """Tokens that the grammar allows next, (pieces, vocabulary)."""
        return np.stack([self._grammar.joint_allowed(state) for state in self._joint_states])

    def advance(self, tokens: NDArray[np.int64]) -> None:
        """Take the next token of each piece, (pieces,)."""
        self._token = tokens
        self._position_indices = self._positions.successor[self._position_indices].astype(np.int64)
        self._joint_states = [
            self._grammar.joint_successor(state, token)
            for state, token in zip(self._joint_states, tokens.tolist(), strict=True)
        ]
        if self._voices is not None:
            self._voices.advance(tokens)


class VoiceState:
    """Voice states (pieces, size) and profiles (pieces, decays, 12) of a batch of pieces; see `music.voice_tracker`."""

    def __init__(self, tracker: VoiceTracker, pieces: int) -> None:
        self._tracker = tracker
        # Properties that compute their tables: once is enough.
        self._intervals, self._decay, self._pitch_class = tracker.intervals, tracker.decay[:, None], tracker.pitch_class
        self.voice_states: NDArray[np.int64] = np.tile(tracker.initial, (pieces, 1))
        self.profile: NDArray[np.float32] = np.zeros((pieces, len(DECAYS), PITCH_CLASSES), np.float32)

    def advance(self, tokens: NDArray[np.int64]) -> None:
        """Take the next token of each piece, (pieces,)."""
        tracker, pieces, own = self._tracker, len(tokens), self._tracker.voices - 1
        parts = self.voice_states[:, :-1].reshape(pieces, 4, tracker.voices)
        sounding, age, motion, last_pitch = (parts[:, kind, own] for kind in range(4))
        held, pitched = tokens == tracker.hold, tokens >= tracker.first_pitch
        after = np.empty_like(self.voice_states)
        shifted = after[:, :-1].reshape(pieces, 4, tracker.voices)
        shifted[:, :, 1:] = parts[:, :, :-1]
        shifted[:, 0, 0] = now = np.where(held, sounding, tokens)
        shifted[:, 1, 0] = np.where(held, np.minimum(age + 1, MAX_AGE), 0)
        shifted[:, 2, 0] = np.where(pitched, self._intervals[tokens, last_pitch], motion)
        shifted[:, 3, 0] = np.where(pitched, tokens, last_pitch)
        after[:, -1] = np.minimum(self.voice_states[:, -1] + 1, SPANS * tracker.span)
        self.voice_states = after
        self.profile = self.profile * self._decay + self._pitch_class[now][:, None, :]


def logit_difference(bundle: Bundle, request: EngineRequest) -> float:
    """Largest difference between a logit of the PyTorch network and the same one of the bundle's scoring graph."""
    loop = TorchLoop(bundle)
    (tokens,) = loop.write([request])
    (expected,) = Scorer(bundle, threads=1).logits([tokens], [request.position_index])
    return float(np.abs(loop.logits(tokens, request.position_index) - expected).max())
