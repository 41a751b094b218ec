import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from music.bundle import Bundle, load_bundle
from runtime.errors import ProviderUnavailableError
from runtime.host_runner import HostRunner
from runtime.session import expected_provider, preload_cuda_libraries


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


def test_cuda_is_refused_without_cuda(small: Bundle) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ProviderUnavailableError, match="has no CUDA"):
        HostRunner(small, slots=1, provider="cuda")
    assert HostRunner(small, slots=1, provider="auto").provider == "CPUExecutionProvider"


class FallenBackSession:
    """A session that was opened for CUDA and silently fell back to the CPU."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_a_session_that_fell_back_to_the_cpu_is_refused(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """`get_available_providers` names CUDA on machines without a GPU; only the session is reliable."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", FallenBackSession)
    with pytest.raises(ProviderUnavailableError, match="no session runs on it"):
        HostRunner(small, slots=1, provider="cuda")


@pytest.mark.parametrize(
    ("requested", "files", "expected"),
    [
        ("auto", [], "CPUExecutionProvider"),
        ("auto", ["nvidiactl", "nvidia-uvm", "nvidia-modeset"], "CPUExecutionProvider"),  # a driver without a GPU
        ("auto", ["nvidiactl", "nvidia3"], "CUDAExecutionProvider"),
        ("cpu", ["nvidia0"], "CPUExecutionProvider"),
        ("cuda", [], "CUDAExecutionProvider"),
    ],
)
def test_cuda_is_expected_where_the_process_has_a_gpu_or_it_is_required(
    tmp_path: Path, requested: Any, files: list[str], expected: str
) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert expected_provider(requested, tmp_path) == expected


def test_telemetry_is_off_before_onnx_runtime_is_imported() -> None:
    """In a new process, because this one has imported it already."""
    spy = (
        "import builtins, os; real = builtins.__import__\n"
        "def spy(name, *rest, **more):\n"
        "    if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = spy\n"
        "import runtime.session"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    ended = subprocess.run([sys.executable, "-c", spy], capture_output=True, text=True, check=True, env=environment)  # noqa: S603
    assert ended.stdout.splitlines()[0] == "1"


def test_cuda_libraries_are_preloaded_if_onnx_runtime_can(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: asked.append(1), raising=False)
    preload_cuda_libraries()
    monkeypatch.delattr(onnxruntime, "preload_dlls")
    preload_cuda_libraries()
    assert asked == [1]
