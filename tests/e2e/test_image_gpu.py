"""The image of the target gpu on a machine without a GPU: its libraries are complete, and its errors are clear."""

import json
import re
from pathlib import Path

import pytest

from fantasia_client import Client
from tests.e2e.image_engine import HARDENED, Container, built, inspect_image, python_in, run

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def image() -> str:
    return built("gpu")


def test_every_library_of_the_cuda_provider_is_there(image: str) -> None:
    program = """
import json, pathlib, re, subprocess
import onnxruntime
onnxruntime.preload_dlls()
loaded = sorted({pathlib.Path(line.split()[-1]).name for line in open("/proc/self/maps") if "/nvidia/" in line})
folders = ":".join(sorted({str(path.parent) for path in pathlib.Path("/opt/venv").rglob("nvidia/**/*.so*")}))
provider = pathlib.Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
found = subprocess.run(["ldd", provider], capture_output=True, text=True, env={"LD_LIBRARY_PATH": folders}).stdout
print(json.dumps({"loaded": loaded, "missing": re.findall(r"(\\S+) => not found", found)}))
"""
    found = json.loads(python_in(image, program).splitlines()[-1])

    assert found["missing"] == ["libcuda.so.1"]  # the driver's, which the container toolkit mounts
    for name in ("libcublas", "libcublasLt", "libcudart", "libcudnn", "libcufft", "libcurand"):
        assert any(library.startswith(f"{name}.so") for library in found["loaded"]), found["loaded"]


def test_it_has_onnx_runtime_once_and_no_training(image: str) -> None:
    program = """
import importlib.metadata, json
print(json.dumps(sorted(each.name for each in importlib.metadata.distributions())))
"""
    names = json.loads(python_in(image, program))

    assert "onnxruntime-gpu" in names
    assert not {"onnxruntime", "torch", "music21", "pip", "nvidia-nccl-cu13"} & set(names)


def test_without_a_gpu_it_ends_with_one_sentence(image: str) -> None:
    ended = run("--rm", *HARDENED, "--network=none", image, check=False)

    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if "provider cuda" in line]
    assert "is there a GPU" in line


def test_it_serves_on_a_cpu_if_told_to(image: str) -> None:
    container = Container(image, "--env=FANTASIA_PROVIDER=cpu", memory="1g")
    try:
        port, _ = container.ports()
        with Client(f"localhost:{port}") as client:
            assert client.generate(bars=2, seed=7).token_count == 2 * 64
        assert container.stop() == 0
    finally:
        container.remove()


def test_the_image_of_the_cpu_has_no_cuda(image: str) -> None:
    locked = (Path(__file__).resolve().parents[2] / "requirements" / "server.txt").read_text()

    assert not re.search(r"^(nvidia|onnxruntime-gpu)", locked, re.MULTILINE)
    assert inspect_image(image)["Config"]["Env"].count("FANTASIA_PROVIDER=cuda") == 1
