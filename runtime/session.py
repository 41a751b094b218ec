"""ONNX Runtime sessions on the graphs of a bundle. Every import of `onnxruntime` goes through this module."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

# The Linux wheels of ONNX Runtime send telemetry unless this variable is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from music.bundle import Bundle
from music.errors import BundleMismatchError
from music.external_data import external_files
from runtime.errors import ProviderUnavailableError
from runtime.threads import may_spin, read_cpu_budget

__all__ = [
    "CPU",
    "CUDA",
    "Provider",
    "common_provider",
    "expected_provider",
    "onnxruntime",
    "open_session",
    "preload_cuda_libraries",
]

Provider = Literal["auto", "cpu", "cuda"]

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
_GPU_FILE: Final = re.compile(r"nvidia\d+")
_LOG_ERRORS: Final = 3
_EXTERNAL_FOLDER: Final = "session.model_external_initializers_file_folder_path"


def open_session(
    bundle: Bundle,
    name: str,
    *,
    provider: Provider,
    threads: int,
    graph: bytes | None = None,
    cuda_options: Mapping[str, str] | None = None,
    profile_prefix: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Load one graph of a bundle.

    ONNX Runtime opens no file: it gets the bytes of the graph and of the weights, each verified after it was read. So a
    file cannot change between check and use, and every file may be a symbolic link.

    Args:
        bundle: a verified bundle.
        name: file name of the graph.
        provider: `cuda` requires CUDA; `auto` takes CUDA if this ONNX Runtime has it.
        threads: threads of one run; 0 for ONNX Runtime's choice.
        graph: bytes to load in place of the file `name`.
        cuda_options: options of the CUDA provider.
        profile_prefix: where ONNX Runtime writes the time of each node; the beginning of the file's path.

    Raises:
        ProviderUnavailableError: CUDA is required and the session does not run on it.
        BundleIntegrityError: a file has changed since the bundle was loaded.
        BundleMismatchError: the graph does not load.
    """
    model = bundle.read(name) if graph is None else graph
    weights = {file: bundle.read(file) for file in external_files(model)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if threads:
        spinning = may_spin(threads, read_cpu_budget())
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.log_severity_level = _LOG_ERRORS
    if weights:  # ONNX Runtime copies what it needs, and refuses a graph that names any other file
        options.add_external_initializers_from_files_in_memory(
            list(weights), list(weights.values()), list(map(len, weights.values()))
        )
    options.add_session_config_entry(_EXTERNAL_FOLDER, os.devnull)
    if profile_prefix is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile_prefix)
    providers: Sequence[Any] = [CPU]
    if provider != "cpu":
        providers = [(CUDA, {"use_tf32": "0", **(cuda_options or {})}), CPU]
    if provider == "auto" and CUDA not in onnxruntime.get_available_providers():
        providers = [CPU]
    if provider == "cuda" and CUDA not in onnxruntime.get_available_providers():
        raise ProviderUnavailableError(
            "provider cuda was requested, but this ONNX Runtime has no CUDA: install onnxruntime-gpu, or choose cpu"
        )
    # With the fallback, a graph that CUDA cannot capture would run on the CPU without an error. Without capture, the
    # check of the providers below finds a session that is not on CUDA.
    fallback = int("enable_cuda_graph" not in (cuda_options or {}))
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=fallback)
    except Exception as error:  # the exceptions of ONNX Runtime share no base class but Exception
        raise BundleMismatchError(f"{bundle.path}: {name} does not load: {' '.join(str(error).split())}") from error
    # `get_available_providers` names CUDA on machines without a GPU, and a session falls back to the CPU silently. Only
    # `get_providers` of the session is reliable.
    if provider == "cuda" and CUDA not in session.get_providers():
        raise ProviderUnavailableError(
            "provider cuda was requested, but no session runs on it: is there a GPU, and are CUDA and cuDNN installed?"
        )
    # Otherwise a run that fails on the GPU would be repeated on the CPU, and all later runs too, without an error.
    session.disable_fallback()
    return session


def common_provider(sessions: Sequence[onnxruntime.InferenceSession]) -> str:
    """CUDA if every session runs on it, else the CPU."""
    return CUDA if all(CUDA in session.get_providers() for session in sessions) else CPU


def expected_provider(requested: Provider, devices: Path = Path("/dev")) -> str:
    """The provider that an operator's choice should give on this machine, whether it works or not.

    Args:
        requested: `auto` means CUDA where this process has an NVIDIA GPU.
        devices: folder of device files. The driver has a file for each GPU, such as `nvidia0`, and Kubernetes gives a
            container the files of its GPUs only.
    """
    if requested == "auto":
        return CUDA if any(_GPU_FILE.fullmatch(path.name) for path in devices.glob("nvidia*")) else CPU
    return CUDA if requested == "cuda" else CPU


def preload_cuda_libraries() -> None:
    """Load CUDA and cuDNN from where pip installs them; without effect in an ONNX Runtime for CPUs."""
    if hasattr(onnxruntime, "preload_dlls"):  # since 1.21
        onnxruntime.preload_dlls()
