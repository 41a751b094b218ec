"""The reference: one ONNX Runtime session in a loop, its outputs fed back as inputs."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.options import Provider
from music.bundle import Bundle
from music.graph_names import CANDIDATE_LIMIT, NEXT, POSITION, REMAINING
from runtime.philox import uniforms
from runtime.precision import Precision, decode_graphs
from runtime.sampling import candidate_limit
from runtime.session import open_session
from runtime.state import initial_state, stack_slots
from server.engine.request import EngineRequest


class BareLoop:
    """A decode loop without an engine: one decode graph of the bundle, in the calling thread.

    The graph gets the same inputs as from the engine, so it writes the same tokens. There is no scheduling, rows do not
    join or leave, and all random draws are made before the clock starts.

    Args:
        bundle: whose graph it is.
        provider: what runs it.
        threads: of one run.
        precision: of the graph.
        steps: of one run; None for the longest chunk that has a graph.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: Provider,
        threads: int,
        precision: Precision = "float32",
        steps: int | None = None,
    ) -> None:
        self._bundle = bundle
        graphs = decode_graphs(bundle, precision)
        self.chunk_steps = max(graphs) if steps is None else steps
        """Steps of one run."""
        self._session = open_session(bundle, graphs[self.chunk_steps], provider=provider, threads=threads)
        values = (*self._session.get_inputs(), *self._session.get_overridable_initializers())
        self._inputs = {value.name for value in values}

    @property
    def provider(self) -> str:
        """The execution provider that runs it."""
        return str(self._session.get_providers()[0])

    def rate(self, requests: Sequence[EngineRequest]) -> float:
        """Tokens a second of these requests, all of one length."""
        return sum(request.max_tokens for request in requests) / self.run(requests)[1]

    def run(self, requests: Sequence[EngineRequest]) -> tuple[NDArray[np.int64], float]:
        """Decode the requests in one batch until the longest is finished.

        Returns:
            tokens (requests, longest max_tokens) and the seconds that it took.
        """
        width, steps = len(requests), self.chunk_steps
        length = max(request.max_tokens for request in requests)
        runs = -(-length // steps)
        forced = np.full((width, runs * steps), -1, np.int64)
        for row, request in enumerate(requests):
            forced[row, : len(request.forced)] = request.forced
        seeds = np.array([request.seed for request in requests], np.uint64)
        per_step = self._used(
            {
                "uniforms": uniforms(seeds, np.zeros(width, np.int64), runs * steps),
                "forced": forced,
                "bias_index": np.repeat(np.arange(width)[:, None], runs * steps, axis=1),
            }
        )
        chunks = [
            {name: np.ascontiguousarray(values[:, at : at + steps]) for name, values in per_step.items()}
            for at in range(0, runs * steps, steps)
        ]
        constant = self._used(self._sampling_inputs(requests))
        state = self._first_state(requests)
        outputs = ("tokens", "log_probabilities", *(name + NEXT for name in state))
        written = []
        began = time.perf_counter()
        for chunk in chunks:
            tokens, _, *after = self._session.run(outputs, constant | state | chunk)
            state = dict(zip(state, after, strict=True))
            written.append(tokens)
        seconds = time.perf_counter() - began
        return np.concatenate(written, axis=1)[:, :length], seconds

    def _used(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Those that the graph has."""
        return {name: values for name, values in inputs.items() if name in self._inputs}

    def _sampling_inputs(self, requests: Sequence[EngineRequest]) -> dict[str, NDArray[Any]]:
        top_k = np.array([request.sampling.top_k for request in requests], np.int64)
        return {
            "temperature": np.array([request.sampling.temperature for request in requests], np.float32),
            "top_k": top_k,
            CANDIDATE_LIMIT: candidate_limit(top_k, self._bundle.tokenizer.grammar.max_allowed),
            "top_p": np.array([request.sampling.top_p for request in requests], np.float32),
            "bias": np.stack([request.bias(self._bundle.network.vocabulary) for request in requests]),
        }

    def _first_state(self, requests: Sequence[EngineRequest]) -> dict[str, NDArray[Any]]:
        state = stack_slots(initial_state(self._bundle), len(requests))
        state[POSITION][:] = [request.position_index for request in requests]
        if REMAINING in state:
            state[REMAINING][:] = [request.remaining for request in requests]
        return state
