"""The least that sampling takes: one session, called over and over, its outputs fed back as they are."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.options import Provider
from music.bundle import Bundle
from music.voicing import DECAYS, PITCH_CLASSES
from server.engine.onnx_runner import open_session
from server.engine.philox import uniforms
from server.engine.request import EngineRequest


class BareLoop:
    """A decode loop without an engine: the bundle's own graph with its longest chunk, in the calling thread.

    It gives the graph the very inputs that the engine gives it, so it writes the same tokens. What an engine
    is for is missing: rows neither join nor leave, nothing is scheduled, and all draws are made before the
    clock starts.
    """

    def __init__(self, bundle: Bundle, *, provider: Provider, threads: int) -> None:
        self._bundle = bundle
        self.chunk_steps = bundle.chunk_sizes[-1]
        """Steps of one run."""
        name = bundle.manifest.graphs.decode[self.chunk_steps]
        self._session = open_session(bundle, name, provider=provider, threads=threads)

    @property
    def provider(self) -> str:
        """The execution provider that runs it."""
        return str(self._session.get_providers()[0])

    def run(self, requests: Sequence[EngineRequest]) -> tuple[NDArray[np.int64], float]:
        """Decode the requests side by side: all of one length, without forced tokens.

        Returns:
            their tokens, (width, max_tokens), and the seconds that it took.
        """
        network, tokenizer = self._bundle.network, self._bundle.tokenizer
        width, length, steps = len(requests), requests[0].max_tokens, self.chunk_steps
        runs = -(-length // steps)
        seeds = np.array([request.seed for request in requests], np.uint64)
        draws = uniforms(seeds, np.zeros(width, np.int64), runs * steps)
        chunks = [np.ascontiguousarray(draws[:, at : at + steps]) for at in range(0, runs * steps, steps)]
        allowed = np.ones((width, network.vocabulary), np.bool_)
        for row, request in enumerate(requests):
            if request.end_token is not None:
                allowed[row, request.end_token] = request.may_end
        fixed = {
            "forced": np.full((width, steps), -1, np.int64),
            "temperature": np.array([request.sampling.temperature for request in requests], np.float32),
            "top_k": np.array([request.sampling.top_k for request in requests], np.int64),
            "top_p": np.array([request.sampling.top_p for request in requests], np.float32),
            "allowed": allowed,
        }
        shape = (network.layers, width, network.hidden)
        state: dict[str, NDArray[Any]] = {
            "h": np.zeros(shape, np.float32),
            "c": np.zeros(shape, np.float32),
            "token": np.full(width, tokenizer.start_token, np.int64),
            "clock": np.array([request.clock_row for request in requests], np.int64),
            "grammar": np.full(width, tokenizer.grammar.joint_start, np.int64),
        }
        if network.registers and tokenizer.voicing is not None:
            state["registers"] = np.tile(tokenizer.voicing.initial, (width, 1))
            state["profile"] = np.zeros((width, len(DECAYS), PITCH_CLASSES), np.float32)
        outputs = ("tokens", *(f"{name}_next" for name in state))
        written = []
        began = time.perf_counter()
        for chunk in chunks:
            tokens, *after = self._session.run(outputs, {**fixed, **state, "uniforms": chunk})
            state = dict(zip(state, after, strict=True))
            written.append(tokens)
        seconds = time.perf_counter() - began
        return np.concatenate(written, axis=1)[:, :length], seconds
