"""The least that sampling takes: one session, called over and over, its outputs fed back as they are."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.options import Options, Provider
from music.bundle import Bundle
from server.engine.chunk_inputs import Choices
from server.engine.onnx_runner import initial_state, open_session
from server.engine.philox import uniforms
from server.engine.precision import Precision, decode_graphs
from server.engine.request import EngineRequest

_NEXT: Final = "_next"
_TYPES: Final[dict[str, type[np.generic]]] = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}


class Session(Protocol):
    """What of an ONNX Runtime session is used here."""

    def run(self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Run the graph."""

    def get_inputs(self) -> Sequence[Any]:
        """Describe the inputs."""

    def get_overridable_initializers(self) -> Sequence[Any]:
        """Describe the inputs that need not be given."""

    def get_outputs(self) -> Sequence[Any]:
        """Describe the outputs."""

    def get_providers(self) -> Sequence[str]:
        """Name the execution providers."""


class BareLoop:
    """A decode loop without an engine: one of the bundle's own graphs, in the calling thread.

    It gives the graph the very inputs that the engine gives it, so it writes the same tokens. What an engine
    is for is missing: rows neither join nor leave, nothing is scheduled, and all draws are made before the
    clock starts.

    Args:
        bundle: whose graph it is.
        provider: what runs it.
        threads: of one run.
        precision: of the graph.
        steps: of one run; None for as many as there is a graph for.
        session: another session than the bundle's own graph, of `steps` steps.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: Provider,
        threads: int,
        precision: Precision = "float32",
        steps: int | None = None,
        session: Session | None = None,
    ) -> None:
        self._bundle = bundle
        graphs = decode_graphs(bundle, precision)
        self.chunk_steps = max(graphs) if steps is None else steps
        """Steps of one run."""
        self._session: Session = session or open_session(
            bundle, graphs[self.chunk_steps], provider=provider, threads=threads
        )
        values = (*self._session.get_inputs(), *self._session.get_overridable_initializers())
        self._inputs = {value.name for value in values}

    @property
    def provider(self) -> str:
        """The execution provider that runs it."""
        return str(self._session.get_providers()[0])

    def run(self, requests: Sequence[EngineRequest]) -> tuple[NDArray[np.int64], float]:
        """Decode the requests side by side, all of one length; whatever is forced is forced step by step.

        Returns:
            their tokens, (width, max_tokens), and the seconds that it took.
        """
        width, length, steps = len(requests), requests[0].max_tokens, self.chunk_steps
        runs = -(-length // steps)
        seeds = np.array([request.seed for request in requests], np.uint64)
        draws = uniforms(seeds, np.zeros(width, np.int64), runs * steps)
        forced = np.full((width, runs * steps), -1, np.int64)
        for row, request in enumerate(requests):
            forced[row, : len(request.forced)] = request.forced
        drawn = self._taken({"uniforms": draws, "forced": forced})
        chunks = [
            {name: np.ascontiguousarray(values[:, at : at + steps]) for name, values in drawn.items()}
            for at in range(0, runs * steps, steps)
        ]
        fixed = self._taken(self._fixed(requests))
        state = first_state(self._session, self._bundle, [request.clock_row for request in requests])
        outputs = ("tokens", *(name + _NEXT for name in state))
        written = []
        began = time.perf_counter()
        for chunk in chunks:
            tokens, *after = self._session.run(outputs, fixed | state | chunk)
            state = dict(zip(state, after, strict=True))
            written.append(tokens)
        seconds = time.perf_counter() - began
        return np.concatenate(written, axis=1)[:, :length], seconds

    def _taken(self, given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """What of this the graph takes."""
        return {name: values for name, values in given.items() if name in self._inputs}

    def _fixed(self, requests: Sequence[EngineRequest]) -> dict[str, NDArray[Any]]:
        """What stays the same from run to run."""
        vocabulary = self._bundle.network.vocabulary
        top_k = np.array([request.sampling.top_k for request in requests], np.int64)
        return {
            "temperature": np.array([request.sampling.temperature for request in requests], np.float32),
            "top_k": top_k,
            "choices": Choices(self._bundle).of(top_k),
            "top_p": np.array([request.sampling.top_p for request in requests], np.float32),
            "allowed": np.stack([request.allowed(vocabulary) for request in requests]),
        }


def bare_loop(bundle: Bundle, options: Options, precision: Precision, session: Session | None = None) -> BareLoop:
    """A loop as the options have it, with the longest chunk; `session` as in `BareLoop`."""
    return BareLoop(bundle, provider=options.provider, threads=options.threads, precision=precision, session=session)


def first_state(session: Session, bundle: Bundle, clock_rows: Sequence[int]) -> dict[str, NDArray[Any]]:
    """The state of some pieces before their first token.

    State is whatever the graph takes under one name and gives under the same with `_next`; what the runner says nothing
    of begins as zero.
    """
    outputs = {value.name for value in session.get_outputs()}
    told, state = initial_state(bundle), {}
    for value in session.get_inputs():
        if value.name + _NEXT in outputs:
            shape = [len(clock_rows) if isinstance(size, str) else size for size in value.shape]
            state[value.name] = np.zeros(shape, _TYPES[value.type])
            state[value.name][:] = told.get(value.name, 0)
    state["clock"][:] = clock_rows
    return state
