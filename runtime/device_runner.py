"""The runner whose state stays in a device's memory, for GPUs."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.remaining_length import UNKNOWN
from runtime.decode_graph import check_decode_graph
from runtime.device_graph import DeviceBiases, DeviceGraph, DeviceSampling
from runtime.device_state import Device, DeviceState
from runtime.forced_decoding import ForcedPrefill
from runtime.precision import Precision, choose_precision, decode_graphs
from runtime.prefill import Prefill
from runtime.runner import Chunk, Decoded, SequenceState
from runtime.session import CPU, CUDA, open_session, preload_cuda_libraries
from runtime.state import StateArrays, start_values

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_PROVIDERS: Final = {"cpu": CPU, "cuda": CUDA}


class _CaptureMismatchError(Exception):
    """A captured graph returns other values than the same graph without capture."""


class DeviceRunner:
    """A `runtime.runner.Runner` that runs all slots in every chunk, in float32.

    * Batch size. cuBLAS chooses kernels by shape. With a single shape, a row cannot depend on the other rows. The price
      is that one sequence costs as much as a full batch.
    * State never leaves the device (`DeviceState`). A chunk sends its random numbers, its forced tokens and the state
      of new sequences; it receives its tokens and their log-probabilities.
    * CUDA graphs. The constructor captures every decode graph in both directions and compares each capture, bit by bit,
      with a run without capture, on other random numbers and another state. If ONNX Runtime refuses a capture, or a bit
      differs, no CUDA graph is used and a warning is logged; `captured` tells which of both.
    * Threads. ONNX Runtime keeps captures for the thread that made them, and while CUDA captures, no other thread may
      allocate memory on the device. So one thread captures in the constructor, before any model runs, and runs every
      later chunk. Without captures, a chunk runs in the caller's thread.

    A slot that skips a chunk must be held before, or be reset or resumed before it runs again; see `DeviceState`.

    Args:
        bundle: a verified bundle.
        slots: rows of every run.
        device: `cuda`; or `cpu` for tests, which runs everything but real captures.
        precision: the operator's choice; `int8` is refused.
        tf32: whether products may round their factors to 10 bits of mantissa, which is faster.
        capture: whether to use CUDA graphs.

    Raises:
        ProviderUnavailableError: the device does not run here.
        PrecisionUnavailableError: int8 is requested.
        BundleMismatchError: a graph does not load, or its shapes differ from the manifest.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        slots: int,
        device: Literal["cpu", "cuda"] = "cuda",
        precision: Literal["auto"] | Precision = "auto",
        tf32: bool = False,
        capture: bool = True,
    ) -> None:
        preload_cuda_libraries()
        self._bundle = bundle
        self._device = Device(device)
        self._slots = slots
        self._cuda_options = {"use_tf32": "1" if tf32 else "0"}
        self._begins = [(0, UNKNOWN)] * slots  # position index and remaining length of the last reset of each slot
        # This session is opened first: it shows whether the device runs at all.
        self._prefill = self._open_prefill()
        self._precision = choose_precision(bundle, precision, cpu=False)
        self._state = DeviceState(bundle, slots, self._device)
        self._sampling = DeviceSampling(slots, self._device)
        self._biases = DeviceBiases(slots, bundle.chunk_sizes[-1], bundle.network.vocabulary, self._device)
        self._graphs: dict[int, DeviceGraph] = {}
        self._thread: ThreadPoolExecutor | None = None
        if capture:
            self._capture()
        if not self._graphs:
            self._graphs = self._open_graphs(captured=False)
        fields = {"model": bundle.name, "device": device, "slots": slots, "captured": self.captured, "tf32": tf32}
        _log.info("decoding on a device", extra={"fields": fields})

    @property
    def slots(self) -> int:
        """See `Runner.slots`."""
        return self._slots

    @property
    def max_batch_size(self) -> int:
        """See `Runner.max_batch_size`: all slots, always."""
        return self._slots

    @property
    def vocabulary(self) -> int:
        """See `Runner.vocabulary`."""
        return self._bundle.network.vocabulary

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """See `Runner.chunk_sizes`."""
        return tuple(self._graphs)

    @property
    def provider(self) -> str:
        """See `Runner.provider`."""
        return _PROVIDERS[self._device.name]

    @property
    def precision(self) -> Precision:
        """See `Runner.precision`."""
        return self._precision

    @property
    def captured(self) -> bool:
        """Whether chunks run as captured CUDA graphs."""
        return self._thread is not None

    @property
    def first_token_runner(self) -> None:
        """None: only one thread may run the captures, and one row costs as much as all rows."""
        return None

    def reset(self, slot: int, position_index: int, remaining: int = UNKNOWN) -> None:
        """See `Runner.reset`. Nothing is sent before the slot's first chunk."""
        self._begins[slot] = (position_index, remaining)
        start = self._state.start
        self._state.stage(slot, {**start, **start_values(start, position_index, remaining)})

    def resume(self, slot: int, state: SequenceState) -> None:
        """See `Runner.resume`. Nothing is sent before the slot's first chunk."""
        self._state.stage(slot, state)

    def state(self, slot: int) -> SequenceState:
        """See `Runner.state`."""
        return self._run(lambda: self._state.row(slot))

    def state_before_last_chunk(self, slot: int) -> SequenceState:
        """See `Runner.state_before_last_chunk`."""
        return self._run(lambda: self._state.row_before(slot))

    def rewind(self, slots: NDArray[np.intp]) -> None:
        """See `Runner.rewind`: the slots' rows move to the host."""
        self._run(lambda: self._state.rewind(slots.tolist()))

    def copy_states(self, sources: NDArray[np.intp], targets: NDArray[np.intp]) -> None:
        """See `Runner.copy_states`. The rows are copied on the device, before the next chunk."""
        self._state.copy(sources.tolist(), targets.tolist())

    def hold(self, slot: int) -> None:
        """See `Runner.hold`: the slot's row moves to the host."""
        self._state.stage(slot, self.state(slot))

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        """See `Runner.prefill`."""
        for part in self._prefill.run(tokens, *self._begins[slot], slice_tokens):
            if part.state is not None:
                self._state.stage(slot, part.state)
            yield part.tokens

    def decode(self, chunk: Chunk) -> Decoded:
        """See `Runner.decode`."""
        return self._run(lambda: self._decode(chunk))

    def close(self) -> None:
        """See `Runner.close`."""
        self._run(self._graphs.clear)
        if self._thread is not None:
            self._thread.shutdown()
        del self._prefill, self._state, self._sampling, self._biases

    def _decode(self, chunk: Chunk) -> Decoded:
        self._state.load(chunk.rows)
        graph = self._graphs[chunk.steps]
        self._sampling.send(chunk)
        graph.send(chunk, self._biases.send(chunk))
        graph.run(self._state.side)
        self._state.swap()
        return graph.decoded(chunk.rows)

    def _run(self, work: Callable[[], _T]) -> _T:
        return work() if self._thread is None else self._thread.submit(work).result()

    def _open_prefill(self) -> Prefill | ForcedPrefill:
        graphs = self._bundle.manifest.graphs
        if graphs.prefill is not None:
            return Prefill(self._bundle, self._open_session(graphs.prefill))
        steps = {min(graphs.decode), max(graphs.decode)}
        return ForcedPrefill(self._bundle, {count: self._open_session(graphs.decode[count]) for count in steps})

    def _open_session(self, name: str, **cuda_options: str) -> Any:
        options = {**self._cuda_options, **cuda_options}
        return open_session(self._bundle, name, provider=self._device.name, threads=1, cuda_options=options)

    def _open_graphs(self, *, captured: bool) -> dict[int, DeviceGraph]:
        graphs, options = {}, {"enable_cuda_graph": "1"} if captured else {}
        for steps, name in sorted(decode_graphs(self._bundle, self._precision).items()):
            session = self._open_session(name, **options)
            check_decode_graph(self._bundle, name, session, steps)
            graphs[steps] = DeviceGraph(
                session, steps, self._slots, self._state, self._sampling, self._biases, self._device, captured
            )
        return graphs

    def _capture(self) -> None:
        """Open the decode graphs with captures, and check these; leave no graph open if that fails."""
        self._thread = ThreadPoolExecutor(1, f"device-{self._bundle.name}")
        try:
            self._graphs = self._run(self._open_captured)
        # The exceptions of ONNX Runtime share no base class but Exception. If a capture is refused, its Python package
        # may fall back to the CPU, and the error then says that there is no device.
        except Exception as error:
            fields = {"model": self._bundle.name, "device": self._device.name}
            _log.warning("no CUDA graphs: every chunk launches its kernels", exc_info=error, extra={"fields": fields})
            self._thread.shutdown()
            self._thread, self._graphs = None, {}
        for side in range(2):
            self._state.overwrite(side, self._state.initial())

    def _open_captured(self) -> dict[int, DeviceGraph]:
        graphs = self._open_graphs(captured=True)
        random = np.random.default_rng(0)
        for side in range(2):
            for graph in graphs.values():
                self._check_capture(graph, side, random)
        # Once more with all captures: one capture must not use the memory of another.
        for graph in graphs.values():
            for side in range(2):
                self._check_capture(graph, side, random)
        return graphs

    def _check_capture(self, graph: DeviceGraph, side: int, random: np.random.Generator) -> None:
        """Compare a captured run with a run without capture, on random numbers, from the state of the last check.

        Raises:
            _CaptureMismatchError: they differ.
        """
        steps = graph.steps
        graph.send_uniforms(random.random((self._slots, steps), dtype=np.float32))
        before = self._state.read(side)
        results = []
        for captured in (False, True):
            graph.clear_decoded()
            self._state.overwrite(1 - side, before)
            graph.run(side, captured=captured)
            decoded = graph.decoded(np.arange(self._slots))
            written: StateArrays = {"tokens": decoded.tokens, "log_probabilities": decoded.log_probabilities}
            results.append({**written, **self._state.read(1 - side)})
        plain, replayed = results
        for name, values in plain.items():
            if values.tobytes() != replayed[name].tobytes():
                raise _CaptureMismatchError(
                    f"a captured chunk of {steps} steps returns other {name} than one without capture"
                )
        if self._state.read(side)["h"].tobytes() != before["h"].tobytes():
            raise _CaptureMismatchError(f"a captured chunk of {steps} steps writes the state that it reads")
