"""Runs a bundle's graphs on a device with memory of its own, where the state of all slots stays."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from server.engine.device_graph import DeviceGraph, Sampling
from server.engine.device_state import Device, DeviceState
from server.engine.onnx_runner import CPU, CUDA, check_decode, linear_voicing, open_session, state_after
from server.engine.ort import onnxruntime
from server.engine.precision import Precision, chosen_precision, decode_graphs
from server.engine.prefill import Prefill
from server.engine.runner import Chunk, State

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_PROVIDERS: Final = {"cpu": CPU, "cuda": CUDA}


class CaptureError(Exception):
    """A captured graph gives something else than the same graph without capture."""


class DeviceRunner:
    """All slots in every run, in float32; see `server.engine.runner.Runner`.

    * Width. cuBLAS chooses kernels by shape. With one shape for ever, a row cannot depend on its company; the price is
      that a single sequence costs as much as a full house.
    * State never leaves the device (`DeviceState`). What goes there for a chunk are its draws and forced tokens, and
      who joins; what comes back are its tokens.
    * CUDA graphs. Every decode graph is captured when the runner is made, in both directions, and each capture is then
      compared, bit by bit, with a run without: on other draws, on another state. Where ONNX Runtime refuses to
      capture, or anything differs, nothing is captured, and a warning says so; `captured` tells which it is.
    * Threads. ONNX Runtime keeps captures for the thread that made them, and while CUDA captures, no other thread may
      allocate memory on the device. So the captures are made in the constructor, before any model runs, by a thread
      that runs every later chunk as well; without captures a chunk runs in the thread of the caller.

    A slot that sits out a chunk must be reset before it runs again; see `DeviceState`.

    Args:
        bundle: a verified bundle.
        slots: rows of every run.
        device: `cuda`; or `cpu`, which runs all of it but real captures, for tests.
        precision: what was asked for; `int8` is refused.
        tf32: let products round their factors to 10 bits of mantissa, which is faster.
        capture: whether to try.

    Raises:
        ProviderUnavailableError: the device does not run here.
        PrecisionUnavailableError: int8 was asked for.
        BundleMismatchError: a graph does not load, or has not the shape that the manifest says.
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
        preload_libraries()
        self._bundle = bundle
        self._device = Device(device)
        self._slots = slots
        self._linear = linear_voicing(bundle)
        self._cuda = {"use_tf32": "1" if tf32 else "0"}
        self._clock_rows = np.zeros(slots, np.int64)  # of the last resets
        # This session comes first: it shows whether the device runs at all.
        self._prefill = Prefill(bundle, self._session(bundle.manifest.graphs.prefill))
        self._precision = chosen_precision(bundle, precision, cpu=False)
        self._state = DeviceState(bundle, slots, self._device)
        self._sampling = Sampling(slots, bundle.network.vocabulary, self._device)
        self._graphs: dict[int, DeviceGraph] = {}
        self._thread: ThreadPoolExecutor | None = None
        if capture:
            self._capture()
        if not self._graphs:
            self._graphs = self._opened(captured=False)
        fields = {"model": bundle.name, "device": device, "slots": slots, "captured": self.captured, "tf32": tf32}
        _log.info("decoding on a device", extra={"fields": fields})

    @property
    def slots(self) -> int:
        """See `Runner.slots`."""
        return self._slots

    @property
    def width(self) -> int:
        """See `Runner.width`: all slots, always."""
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
    def opener(self) -> None:
        """See `Runner.opener`: the thread that captured runs everything, and a lone row costs as much as all."""
        return None

    def reset(self, slot: int, clock_row: int) -> None:
        """See `Runner.reset`. Nothing is sent before the first chunk that the slot is in."""
        self._clock_rows[slot] = clock_row
        self._state.put(slot, {**self._state.start, "clock": np.array(clock_row, np.int64)})

    def resume(self, slot: int, state: State) -> None:
        """See `Runner.resume`; nobody has an opener's state here."""
        raise NotImplementedError("a device has no opener")

    def prefill(self, slot: int, tokens: NDArray[np.int64], slice_tokens: int) -> Iterator[int]:
        """See `Runner.prefill`."""
        told, read = self._prefill.told(tokens, int(self._clock_rows[slot])), 0
        for advance in self._prefill.advance(told, slice_tokens):
            read += advance.tokens
            if read == len(tokens):
                self._state.put(slot, {"h": advance.h, "c": advance.c, **state_after(told, self._linear)})
            yield advance.tokens

    def decode(self, chunk: Chunk) -> NDArray[np.int64]:
        """See `Runner.decode`."""
        return self._run(lambda: self._decoded(chunk))

    def close(self) -> None:
        """See `Runner.close`."""
        self._run(self._graphs.clear)
        if self._thread is not None:
            self._thread.shutdown()
        del self._prefill, self._state, self._sampling

    def _decoded(self, chunk: Chunk) -> NDArray[np.int64]:
        self._state.enter(chunk.rows)
        graph = self._graphs[chunk.steps]
        self._sampling.set(chunk)
        graph.set(chunk)
        graph.run(self._state.side)
        self._state.advanced()
        return graph.tokens(chunk.rows)

    def _run(self, work: Callable[[], _T]) -> _T:
        return work() if self._thread is None else self._thread.submit(work).result()

    def _session(self, name: str, **cuda: str) -> Any:
        return open_session(self._bundle, name, provider=self._device.name, threads=1, cuda={**self._cuda, **cuda})

    def _opened(self, *, captured: bool) -> dict[int, DeviceGraph]:
        graphs, options = {}, {"enable_cuda_graph": "1"} if captured else {}
        for steps, name in sorted(decode_graphs(self._bundle, self._precision).items()):
            session = self._session(name, **options)
            check_decode(self._bundle, name, session, steps)
            graphs[steps] = DeviceGraph(
                session, steps, self._slots, self._state, self._sampling, self._device, captured
            )
        return graphs

    def _capture(self) -> None:
        """Open the decode graphs captured and tried; leave none where that does not go."""
        self._thread = ThreadPoolExecutor(1, f"device-{self._bundle.name}")
        try:
            self._graphs = self._run(self._opened_and_tried)
        # ONNX Runtime's exceptions share no base class but Exception; and where a capture is refused, its Python
        # package may fall back to the CPU, which then looks as if there were no device.
        except Exception as error:
            fields = {"model": self._bundle.name, "device": self._device.name}
            _log.warning("no CUDA graphs: every chunk launches its kernels", exc_info=error, extra={"fields": fields})
            self._thread.shutdown()
            self._thread, self._graphs = None, {}
        for side in range(2):
            self._state.overwrite(side, self._state.initial())

    def _opened_and_tried(self) -> dict[int, DeviceGraph]:
        graphs = self._opened(captured=True)
        random = np.random.default_rng(0)
        for side in range(2):
            for graph in graphs.values():
                self._try(graph, side, random)
        # Once more, now that all are captured: what one capture holds must not be another's.
        for graph in graphs.values():
            for side in range(2):
                self._try(graph, side, random)
        return graphs

    def _try(self, graph: DeviceGraph, side: int, random: np.random.Generator) -> None:
        """Compare a captured run with one without, on random draws, from wherever the last try has led.

        Raises:
            CaptureError: they differ.
        """
        steps = graph.steps
        graph.fill(random.random((self._slots, steps), dtype=np.float32))
        before = self._state.read(side)
        results = []
        for captured in (False, True):
            graph.forget()
            self._state.overwrite(1 - side, before)
            graph.run(side, captured=captured)
            results.append({"tokens": graph.tokens(np.arange(self._slots)), **self._state.read(1 - side)})
        plain, replayed = results
        for name, values in plain.items():
            if values.tobytes() != replayed[name].tobytes():
                raise CaptureError(f"a captured chunk of {steps} steps gives other {name} than one without capture")
        if self._state.read(side)["h"].tobytes() != before["h"].tobytes():
            raise CaptureError(f"a captured chunk of {steps} steps writes the state that it reads")


def preload_libraries() -> None:
    """Find CUDA and cuDNN where pip has installed them; without effect where ONNX Runtime is made for CPUs."""
    if hasattr(onnxruntime, "preload_dlls"):  # since 1.21
        onnxruntime.preload_dlls()
