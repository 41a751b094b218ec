"""Loops that write pieces a token at a time."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from bench.bare import first_state
from bench.peers.network import PieceState, PlainNetwork
from music.bundle import Bundle
from server.engine.chunk_inputs import Choices
from server.engine.onnx_runner import OnnxScorer
from server.engine.request import EngineRequest

_NEXT: Final = "_next"


class Loop(Protocol):
    """Writes pieces."""

    def write(self, requests: Sequence[EngineRequest]) -> list[NDArray[np.int64]]:
        """The tokens of each, side by side until the longest is through."""


class TorchLoop:
    """The network in PyTorch, and the sampling that every tutorial has."""

    def __init__(self, bundle: Bundle) -> None:
        torch.set_num_threads(1)
        self._bundle = bundle
        self._network = PlainNetwork(bundle).eval()

    @torch.inference_mode()
    def write(self, requests: Sequence[EngineRequest]) -> list[NDArray[np.int64]]:
        """See `Loop.write`."""
        state = PieceState(self._bundle, [request.clock_row for request in requests])
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        temperature, top_p = (
            torch.tensor([[getattr(request.sampling, name)] for request in requests])
            for name in ("temperature", "top_p")
        )
        top_k = torch.tensor([[request.sampling.top_k or self._bundle.network.vocabulary] for request in requests])
        permitted = np.ones((len(requests), self._bundle.network.vocabulary), np.bool_)
        for row, request in enumerate(requests):
            if request.end_token is not None:
                permitted[row, request.end_token] = request.may_end
        length = max(request.max_tokens for request in requests)
        written = np.empty((len(requests), length), np.int64)
        for step in range(length):
            logits = self._network(state) / temperature
            logits = logits.masked_fill(torch.from_numpy(~(state.allowed() & permitted)), float("-inf"))
            ordered, ids = logits.sort(descending=True)
            probabilities = ordered.softmax(-1)
            dropped = (probabilities.cumsum(-1) - probabilities >= top_p) | (torch.arange(ids.shape[1]) >= top_k)
            probabilities = probabilities.masked_fill(dropped, 0.0)
            ranks = [
                torch.multinomial(row, 1, generator=generator)
                for row, generator in zip(probabilities, generators, strict=True)
            ]
            tokens = ids.gather(1, torch.stack(ranks))[:, 0].numpy()
            written[:, step] = tokens
            state.advance(tokens)
        return [row[: request.max_tokens] for row, request in zip(written, requests, strict=True)]

    @torch.inference_mode()
    def logits(self, tokens: NDArray[Any], clock_row: int) -> NDArray[np.float32]:
        """The logits from which each of a piece's tokens was to be drawn, (n, vocabulary)."""
        state = PieceState(self._bundle, [clock_row])
        rows = []
        for token in tokens:
            rows.append(self._network(state)[0].numpy())
            state.advance(np.array([token], np.int64))
        return np.stack(rows)


class OnnxLoop:
    """The bundle's float32 decode graph of one step, which draws the token itself, called once a token."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            bundle.file(bundle.manifest.graphs.decode[1]), options, providers=["CPUExecutionProvider"]
        )

    def write(self, requests: Sequence[EngineRequest]) -> list[NDArray[np.int64]]:
        """See `Loop.write`."""
        pieces, length = len(requests), max(request.max_tokens for request in requests)
        draws = np.stack([np.random.default_rng(request.seed).random(length, np.float32) for request in requests])
        allowed = np.ones((pieces, self._bundle.network.vocabulary), np.bool_)
        for row, request in enumerate(requests):
            if request.end_token is not None:
                allowed[row, request.end_token] = request.may_end
        top_k = np.array([request.sampling.top_k for request in requests], np.int64)
        feed = {
            "choices": Choices(self._bundle).of(top_k),
            "temperature": np.array([request.sampling.temperature for request in requests], np.float32),
            "top_k": top_k,
            "top_p": np.array([request.sampling.top_p for request in requests], np.float32),
            "allowed": allowed,
            "forced": np.full((pieces, 1), -1, np.int64),
            **first_state(self._session, self._bundle, [request.clock_row for request in requests]),
        }
        names = [value.name for value in self._session.get_outputs()]
        written = np.empty((pieces, length), np.int64)
        for step in range(length):
            feed["uniforms"] = draws[:, step : step + 1]
            for name, value in zip(names, self._session.run(names, feed), strict=True):
                if name == "tokens":
                    written[:, step] = value[:, 0]
                else:
                    feed[name.removesuffix(_NEXT)] = value
        return [row[: request.max_tokens] for row, request in zip(written, requests, strict=True)]


def worst_logit(bundle: Bundle, request: EngineRequest) -> float:
    """Largest difference between a logit of the PyTorch module and the same one of the bundle's scorer."""
    loop = TorchLoop(bundle)
    (tokens,) = loop.write([request])
    (theirs,) = OnnxScorer(bundle, threads=1).logits([tokens], [request.clock_row])
    return float(np.abs(loop.logits(tokens, request.clock_row) - theirs).max())
