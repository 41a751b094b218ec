"""The runner whose state is in the host's memory."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.graph_names import NEXT
from music.remaining_length import UNKNOWN
from runtime.decode_graph import check_decode_graph
from runtime.first_token_runner import HostFirstTokenRunner
from runtime.forced_decoding import ForcedPrefill
from runtime.host_state import HostState
from runtime.precision import Precision, choose_precision, decode_graphs
from runtime.prefill import Prefill
from runtime.runner import Chunk, Decoded, SequenceState
from runtime.sampling import SamplingInputs
from runtime.session import CPU, CUDA, Provider, common_provider, onnxruntime, open_session
from runtime.state import initial_state, stack_slots, start_values


class HostRunner:
    """A `runtime.runner.Runner`: the state of all slots in NumPy arrays, and one decode session for each chunk size.

    State is copied only when a chunk has other rows than the chunk before it (`runtime.host_state`).

    Args:
        bundle: a verified bundle.
        slots: rows of state.
        max_batch_size: maximum number of rows of a run; None for all slots.
        provider: `cuda` requires CUDA; `auto` takes CUDA if it really runs.
        threads: threads of one run; 0 for ONNX Runtime's choice.
        precision: of the decode graphs; `auto` for the fastest that is exact on this machine.

    Raises:
        ProviderUnavailableError: CUDA is required and does not run here.
        PrecisionUnavailableError: int8 is required and does not run here.
        BundleMismatchError: a graph does not load, or its shapes differ from the manifest.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        slots: int,
        max_batch_size: int | None = None,
        provider: Provider = "auto",
        threads: int = 0,
        precision: Literal["auto"] | Precision = "auto",
    ) -> None:
        network, graphs = bundle.network, bundle.manifest.graphs
        self._slots = slots
        self._max_batch_size = slots if max_batch_size is None else min(max_batch_size, slots)
        self._vocabulary = network.vocabulary
        cpu = provider == "cpu"
        if not cpu:  # only a session shows which provider really runs
            probe = graphs.prefill or graphs.decode[min(graphs.decode)]
            session = open_session(bundle, probe, provider=provider, threads=threads)
            cpu = CUDA not in session.get_providers()
        self._precision = choose_precision(bundle, precision, cpu=cpu)
        self._sessions: dict[int, onnxruntime.InferenceSession] = {}
        for steps, name in sorted(decode_graphs(bundle, self._precision).items()):
            self._sessions[steps] = open_session(bundle, name, provider=provider, threads=threads)
            check_decode_graph(bundle, name, self._sessions[steps], steps)
        sessions = list(self._sessions.values())
        self._prefill: Prefill | ForcedPrefill
        if graphs.prefill is None:
            self._prefill = ForcedPrefill(bundle, self._sessions)
        else:
            # The manifest has int8 graphs of both kinds or none.
            int8 = self._precision == "int8" and graphs.prefill_int8
            sessions.append(open_session(bundle, int8 or graphs.prefill, provider=provider, threads=threads))
            self._prefill = Prefill(bundle, sessions[-1])
        self._provider = common_provider(sessions)
        self._sampling = SamplingInputs(bundle)
        self._begins = [(0, UNKNOWN)] * slots  # position index and remaining length of the last reset of each slot
        self._start = initial_state(bundle)
        self._state = HostState(stack_slots(self._start, slots), slots)
        self._first_token_runner: HostFirstTokenRunner | None = None
        if self._provider == CPU:
            self._first_token_runner = HostFirstTokenRunner(self._sessions, self._start, SamplingInputs(bundle))

    @property
    def slots(self) -> int:
        """See `Runner.slots`."""
        return self._slots

    @property
    def max_batch_size(self) -> int:
        """See `Runner.max_batch_size`."""
        return self._max_batch_size

    @property
    def vocabulary(self) -> int:
        """See `Runner.vocabulary`."""
        return self._vocabulary

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """See `Runner.chunk_sizes`."""
        return tuple(self._sessions)

    @property
    def provider(self) -> str:
        """See `Runner.provider`."""
        return self._provider

    @property
    def precision(self) -> Precision:
        """See `Runner.precision`."""
        return self._precision

    @property
    def first_token_runner(self) -> HostFirstTokenRunner | None:
        """See `Runner.first_token_runner`; None on a GPU, which runs one graph at a time."""
        return self._first_token_runner

    def reset(self, slot: int, position_index: int, remaining: int = UNKNOWN) -> None:
        """See `Runner.reset`."""
        self._begins[slot] = (position_index, remaining)
        self._state.write(slot, {**self._start, **start_values(self._start, position_index, remaining)})

    def resume(self, slot: int, state: SequenceState) -> None:
        """See `Runner.resume`."""
        self._state.write(slot, state)

    def state(self, slot: int) -> SequenceState:
        """See `Runner.state`."""
        return self._state.read(slot)

    def state_before_last_chunk(self, slot: int) -> SequenceState:
        """See `Runner.state_before_last_chunk`."""
        return self._state.read_before(slot)

    def rewind(self, slots: NDArray[np.intp]) -> None:
        """See `Runner.rewind`."""
        self._state.rewind(slots)

    def copy_states(self, sources: NDArray[np.intp], targets: NDArray[np.intp]) -> None:
        """See `Runner.copy_states`."""
        self._state.copy(sources, targets)

    def hold(self, slot: int) -> None:
        """See `Runner.hold`. Nothing to do: slots outside a chunk keep their state."""

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        """See `Runner.prefill`."""
        for part in self._prefill.run(tokens, *self._begins[slot], slice_tokens):
            if part.state is not None:
                self._state.write(slot, part.state)
            yield part.tokens

    def decode(self, chunk: Chunk) -> Decoded:
        """See `Runner.decode`."""
        state = self._state.gather(chunk.rows)
        outputs = ("tokens", "log_probabilities", *(name + NEXT for name in state))
        inputs = {**state, **self._sampling.of(chunk)}
        tokens, log_probabilities, *after = self._sessions[chunk.steps].run(outputs, inputs)
        self._state.update(after)
        return Decoded(tokens, log_probabilities)

    def close(self) -> None:
        """See `Runner.close`."""
        self._sessions.clear()
        self._first_token_runner = None
        del self._prefill
