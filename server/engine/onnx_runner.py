"""Runs a bundle's graphs with ONNX Runtime, the state in the host's memory."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from music.errors import BundleMismatchError
from music.external_data import external_files
from music.linear_voicing import LinearVoicing
from server.engine.chunk_inputs import Choices, chunk_inputs
from server.engine.errors import ProviderUnavailableError
from server.engine.host_state import HostState
from server.engine.onnx_opener import OnnxOpener
from server.engine.ort import onnxruntime
from server.engine.precision import Precision, chosen_precision, decode_graphs
from server.engine.prefill import Prefill, Told
from server.engine.runner import Chunk, State
from server.engine.threads import may_spin, read_cpu

Provider = Literal["auto", "cpu", "cuda"]

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
_ERROR: Final = 3
_EXTERNAL_FOLDER: Final = "session.model_external_initializers_file_folder_path"


class OnnxRunner:
    """State of all slots beside one decode session for each chunk size; see `server.engine.runner.Runner`.

    State is h and c (layers, slots, hidden) float32 and, for each slot, what the graphs name beside them: the clock row
    and the grammar's state, (slots,) int64, and either the previous token likewise or the voices' row
    (slots, registers) float32 (`music.linear_voicing`). It is copied only when others run than ran before.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        slots: int,
        width: int | None = None,
        provider: Provider = "auto",
        threads: int = 0,
        precision: Literal["auto"] | Precision = "auto",
    ) -> None:
        """Load the decode graphs and the prefill graph.

        Args:
            bundle: a verified bundle.
            slots: rows of state.
            width: rows of a run at most; None for as many as there are slots.
            provider: `cuda` insists on it, `auto` takes it where it really runs.
            threads: threads of one run; 0 for as many as ONNX Runtime finds cores.
            precision: of the decode graphs; `auto` for the fastest that is exact on this machine.

        Raises:
            ProviderUnavailableError: CUDA was asked for and does not run here.
            PrecisionUnavailableError: int8 was asked for and does not run here.
            BundleMismatchError: a graph does not load, or has not the shape that the manifest says.
        """
        network, graphs = bundle.network, bundle.manifest.graphs
        self._slots = slots
        self._width = slots if width is None else min(width, slots)
        self._vocabulary = network.vocabulary
        cpu = provider == "cpu"
        if not cpu:  # only a session shows what really runs
            session = open_session(bundle, graphs.prefill, provider=provider, threads=threads)
            cpu = CUDA not in session.get_providers()
        self._precision = chosen_precision(bundle, precision, cpu=cpu)
        # The manifest has both int8 graphs or none.
        reading = graphs.prefill_int8 if self._precision == "int8" and graphs.prefill_int8 else graphs.prefill
        prefill = open_session(bundle, reading, provider=provider, threads=threads)
        self._prefill = Prefill(bundle, prefill)
        self._sessions: dict[int, onnxruntime.InferenceSession] = {}
        for steps, name in sorted(decode_graphs(bundle, self._precision).items()):
            self._sessions[steps] = open_session(bundle, name, provider=provider, threads=threads)
            check_decode(bundle, name, self._sessions[steps], steps)
        self._provider = _provider_of((*self._sessions.values(), prefill))
        self._choices = Choices(bundle)
        self._clock_rows = np.zeros(slots, np.int64)  # of the last resets
        self._linear = linear_voicing(bundle)
        self._start = initial_state(bundle)
        h = np.zeros((network.layers, slots, network.hidden), np.float32)
        self._state = HostState(
            {"h": h, "c": h.copy()} | {name: np.stack([value] * slots) for name, value in self._start.items()}
        )
        start = {"h": h[:, 0].copy(), "c": h[:, 0].copy(), **self._start}
        self._opener = OnnxOpener(self._sessions, start, Choices(bundle)) if self._provider == CPU else None

    @property
    def slots(self) -> int:
        """See `Runner.slots`."""
        return self._slots

    @property
    def width(self) -> int:
        """See `Runner.width`."""
        return self._width

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
    def opener(self) -> OnnxOpener | None:
        """See `Runner.opener`: a GPU does one thing at a time."""
        return self._opener

    def reset(self, slot: int, clock_row: int) -> None:
        """See `Runner.reset`."""
        self._clock_rows[slot] = clock_row
        self._state.put(slot, {"h": 0.0, "c": 0.0, **self._start, "clock": clock_row})

    def resume(self, slot: int, state: State) -> None:
        """See `Runner.resume`."""
        self._state.put(slot, state)

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
        state = self._state.take(chunk.rows)
        tokens, *after = self._sessions[chunk.steps].run(
            ("tokens", *(f"{name}_next" for name in state)), {**state, **chunk_inputs(chunk, self._choices)}
        )
        self._state.advance(after)
        result: NDArray[np.int64] = tokens
        return result

    def close(self) -> None:
        """See `Runner.close`."""
        self._sessions.clear()
        self._opener = None
        del self._prefill


def linear_voicing(bundle: Bundle) -> LinearVoicing | None:
    """What the decode graphs keep of the voices, if the network is told of them."""
    voicing = bundle.tokenizer.voicing
    return LinearVoicing(voicing) if voicing is not None and bundle.network.registers else None


def initial_state(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """A slot's state before the first token, by input of the decode graphs; h and c, which are zero, aside."""
    tokenizer, linear = bundle.tokenizer, linear_voicing(bundle)
    state: dict[str, NDArray[Any]] = {
        "clock": np.zeros((), np.int64),
        "grammar": np.array(tokenizer.grammar.joint_start, np.int64),
    }
    if linear is None:
        return state | {"token": np.array(tokenizer.start_token, np.int64)}
    return state | {"registers": linear.initial(tokenizer.start_token)}


def state_after(told: Told, linear: LinearVoicing | None) -> dict[str, NDArray[Any]]:
    """A slot's state after a primer, as `initial_state` has the one before the first token."""
    state: dict[str, NDArray[Any]] = {
        "clock": np.array(told.clock_rows[-1], np.int64),
        "grammar": np.array(told.joint_grammar[-1], np.int64),
    }
    if linear is None:
        return state | {"token": np.array(told.previous[-1], np.int64)}
    assert told.registers is not None
    assert told.profile is not None
    return state | {"registers": linear.row(told.registers[-1], told.profile[-1], int(told.previous[-1]))}


class OnnxScorer:
    """Logits of whole pieces, for evaluation and for the check after export."""

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        self._bundle = bundle
        self._session = open_session(bundle, bundle.manifest.graphs.score, provider="cpu", threads=threads)
        self._inputs = {value.name for value in self._session.get_inputs()}

    def logits(
        self, tokens: Sequence[NDArray[np.integer[Any]]], clock_starts: Sequence[int]
    ) -> list[NDArray[np.float32]]:
        """For each piece, the logits from which each of its tokens was to be drawn.

        Args:
            tokens: pieces, each (n,), the end token last.
            clock_starts: clock row of each piece's first token.

        Returns:
            for each piece (n, vocabulary), the grammar's mask not applied.
        """
        network, tokenizer = self._bundle.network, self._bundle.tokenizer
        lengths = np.array([len(piece) for piece in tokens], np.int32)
        shape = (int(lengths.max()), len(tokens))
        previous = np.full(shape, tokenizer.start_token, np.int64)
        clock_rows = np.zeros(shape, np.int64)
        for column, (piece, start) in enumerate(zip(tokens, clock_starts, strict=True)):
            previous[1 : len(piece), column] = piece[:-1]
            clock_rows[: len(piece), column] = tokenizer.clock.rows(start, len(piece))
        state = np.zeros((network.layers, len(tokens), network.hidden), np.float32)
        feed: dict[str, NDArray[Any]] = {
            "previous": previous,
            "clock_rows": clock_rows,
            "lengths": lengths,
            "h": state,
            "c": state,
        }
        if "grammar" in self._inputs:
            feed["grammar"] = _padded([tokenizer.grammar.states(piece).astype(np.int64) for piece in tokens])
        if "registers" in self._inputs:
            assert tokenizer.voicing is not None  # load_bundle has seen to it
            feed["registers"] = _padded([tokenizer.voicing.registers(piece) for piece in tokens])
            feed["profile"] = _padded([tokenizer.voicing.profile(piece) for piece in tokens])
        (logits,) = self._session.run(("logits",), feed)
        return [logits[:length, column] for column, length in enumerate(lengths)]


def _padded(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays (n, ...) of different n side by side, (longest, columns, ...), zero after their ends."""
    padded = np.zeros((max(map(len, columns)), len(columns), *columns[0].shape[1:]), columns[0].dtype)
    for index, column in enumerate(columns):
        padded[: len(column), index] = column
    return padded


def open_session(
    bundle: Bundle,
    name: str,
    *,
    provider: Provider,
    threads: int,
    changed: bytes | None = None,
    cuda: Mapping[str, str] | None = None,
    profile: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Load one graph of a bundle, or `changed` in its place; `cuda` has options of the CUDA provider.

    ONNX Runtime opens no file: it is given the bytes of the graph and of the weights, each verified after it was read.
    So nothing can change between the check and the use, and every file may be a symbolic link to wherever it lies.
    With `profile`, how a file shall begin, ONNX Runtime writes down there how long every node took.

    Raises:
        ProviderUnavailableError: CUDA was asked for and the session does not run on it.
        BundleIntegrityError: a file is not what it was when the bundle was loaded.
        BundleMismatchError: the graph does not load.
    """
    graph = bundle.read(name) if changed is None else changed
    weights = {file: bundle.read(file) for file in external_files(graph)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if threads:
        spinning = may_spin(threads, read_cpu())
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.log_severity_level = _ERROR
    if weights:  # it copies what it needs of them, and refuses a graph that names any other file
        options.add_external_initializers_from_files_in_memory(
            list(weights), list(weights.values()), list(map(len, weights.values()))
        )
    options.add_session_config_entry(_EXTERNAL_FOLDER, os.devnull)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    wanted = [CPU] if provider == "cpu" else [(CUDA, {"use_tf32": "0", **(cuda or {})}), CPU]
    if provider == "auto" and CUDA not in onnxruntime.get_available_providers():
        wanted = [CPU]
    if provider == "cuda" and CUDA not in onnxruntime.get_available_providers():
        raise ProviderUnavailableError(
            "provider cuda was asked for, but this ONNX Runtime has no CUDA: install onnxruntime-gpu, or choose cpu"
        )
    # A graph that cannot be captured shall say so; else a CUDA that cannot be had makes itself known below.
    fallback = int("enable_cuda_graph" not in (cuda or {}))
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=wanted, enable_fallback=fallback)
    except Exception as error:  # its exceptions share no base class but Exception
        raise BundleMismatchError(f"{bundle.path}: {name} does not load: {' '.join(str(error).split())}") from error
    # A session falls back to the CPU without a word; only what it says of itself can be trusted.
    if provider == "cuda" and CUDA not in session.get_providers():
        raise ProviderUnavailableError(
            "provider cuda was asked for, but no session runs on it: is there a GPU, and are CUDA and cuDNN installed?"
        )
    session.disable_fallback()  # or a run that fails on the GPU would be run on the CPU, and all later ones, unheard
    return session


def _provider_of(sessions: Any) -> str:
    """The provider that every session runs on; one that fell back makes the whole runner a CPU one."""
    return CUDA if all(CUDA in session.get_providers() for session in sessions) else CPU


def check_decode(bundle: Bundle, name: str, session: onnxruntime.InferenceSession, steps: int) -> None:
    """See that a decode graph takes and gives what the manifest says.

    Raises:
        BundleMismatchError: it does not.
    """
    network = bundle.network
    shapes = {value.name: list(value.shape) for value in (*session.get_inputs(), *session.get_outputs())}
    expected = {
        "h": [network.layers, "batch", network.hidden],
        "c": [network.layers, "batch", network.hidden],
        "allowed": ["batch", network.vocabulary],
        "uniforms": ["batch", steps],
        "tokens": ["batch", steps],
    }
    for value, initial in initial_state(bundle).items():
        expected[value] = ["batch", *initial.shape]
    for value, shape in expected.items():
        if shapes.get(value) != shape:
            raise BundleMismatchError(
                f"{bundle.path}: {name}: {value} has shape {shapes.get(value)}, the manifest says {shape}"
            )
