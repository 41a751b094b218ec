"""The image of the target cpu, built and run with the security settings of the Deployment."""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fantasia import __version__
from fantasia_client import Client, Health
from tests.e2e.image_engine import Container, built, inspect_image, podman, python_in, run, scrape

MEBIBYTE = 1 << 20
MOST_BYTES = 350 * 10**6

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]

Start = Callable[..., Container]


@pytest.fixture(scope="module")
def image() -> str:
    return built("cpu")


@pytest.fixture
def start(image: str) -> Iterator[Start]:
    """Starts servers, and removes them at the end."""
    started: list[Container] = []

    def started_one(*more: str, cpus: float = 2) -> Container:
        started.append(Container(image, *more, cpus=cpus))
        return started[-1]

    yield started_one
    for container in started:
        container.remove()


def test_it_generates_music_without_privileges_and_drains(start: Start) -> None:
    container = start()
    port, _ = container.ports()
    with Client(f"localhost:{port}") as client:
        assert client.health() is Health.SERVING
        first, second = (client.generate(bars=4, seed=7).midi for _ in range(2))
    status = container.status()
    code = container.stop()

    assert first.startswith(b"MThd")
    assert first == second
    assert status["Uid"].split() == ["10001"] * 4
    assert (int(status["CapEff"], 16), status["NoNewPrivs"], status["Seccomp"]) == (0, "1", "2")
    assert int(status["VmHWM"].removesuffix("kB")) * 1024 < 512 * MEBIBYTE
    assert code == 0
    # Every line is from the server's log, without a warning but that there is no key.
    log = container.log().splitlines()
    (warning,) = [line for line in log if " level=info " not in line]
    assert "no key for resume tokens" in warning
    assert log[-1].endswith("msg=stopped")


@pytest.mark.parametrize("cpus", [0.5, 1, 2])
def test_it_serves_within_a_cpu_limit_as_any_user(start: Start, cpus: float) -> None:
    container = start("--user=1000650000:0", cpus=cpus)  # as OpenShift chooses a user
    port, _ = container.ports()
    with Client(f"localhost:{port}") as client:
        piece = client.generate(bars=2, seed=7)
    status = container.status()

    assert piece.token_count == 2 * 64
    assert status["Uid"].split() == ["1000650000"] * 4
    assert container.stop() == 0


def test_a_running_stream_completes_after_sigterm(start: Start) -> None:
    container = start()
    port, _ = container.ports()
    with Client(f"localhost:{port}") as client:
        stream = client.stream(bars=64, seed=1)
        next(stream)
        podman("kill", "--signal=TERM", container.id)
        updates = list(stream)
    podman("wait", container.id)

    assert len(updates) > 1
    assert stream.piece is not None
    assert stream.piece.token_count == 64 * 64  # 16 steps of four voices a bar
    assert container.inspect("{{.State.ExitCode}}") == "0"


def test_a_running_call_completes_after_sigterm(start: Start) -> None:
    container = start()
    port, metrics_port = container.ports()
    with Client(f"localhost:{port}") as client, ThreadPoolExecutor() as threads:
        call = threads.submit(client.generate, bars=64, seed=1)
        while not re.search(r"^fantasia_slots_used\{.*\} 1\.0$", scrape(metrics_port), re.MULTILINE):
            assert not call.done()
        podman("kill", "--signal=TERM", container.id)
        assert not call.done()
        piece = call.result()
    podman("wait", container.id)

    assert piece.token_count == 64 * 64
    assert container.inspect("{{.State.ExitCode}}") == "0"


def test_it_is_small(image: str) -> None:
    assert inspect_image(image)["Size"] < MOST_BYTES


def test_its_labels_are_true(image: str, start: Start) -> None:
    labels = inspect_image(image)["Labels"]
    port, _ = start().ports()
    with Client(f"localhost:{port}") as client:
        served = {(model.name, model.digest) for model in client.list_models()}
    labelled = dict(entry.split("=") for entry in labels["fantasia.models"].split(","))

    assert labels["org.opencontainers.image.version"] == __version__
    assert re.fullmatch("[0-9a-f]{40}", labels["org.opencontainers.image.revision"])
    assert {(name.split("/")[0], digest.removeprefix("sha256:")) for name, digest in labelled.items()} >= served
    assert len(served) == 3


def test_its_bill_of_materials_names_all_packages(image: str) -> None:
    program = """
import hashlib, importlib.metadata, json, pathlib
bill = json.loads(pathlib.Path("/usr/share/sbom/fantasia.cdx.json").read_text())
status = pathlib.Path("/var/lib/dpkg/status").read_text()
print(json.dumps({
    "listed": sorted(part["purl"] for part in bill["components"] if "purl" in part),
    "python": sorted(f"pkg:pypi/{each.name.lower().replace('_', '-')}@{each.version}"
        for each in importlib.metadata.distributions() if each.locate_file("").is_relative_to("/opt/venv")),
    "debian": status.count("\\nStatus: install ok installed"),
    "models": sorted(part["version"] for part in bill["components"] if part["type"] == "machine-learning-model"),
    "served": sorted(hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pathlib.Path("/app/models").rglob("manifest.json")),
}))
"""
    found = json.loads(python_in(image, program))

    assert set(found["python"]) == {purl for purl in found["listed"] if purl.startswith("pkg:pypi/")}
    assert sum(purl.startswith("pkg:deb/") for purl in found["listed"]) == found["debian"] > 50
    assert found["models"] == found["served"] != []


def test_it_contains_only_the_server(image: str) -> None:
    program = """
import importlib.util, json, shutil
names = ["torch", "music21", "matplotlib", "pytest", "training", "pip", "server", "onnxruntime"]
programs = ["gcc", "cc", "ld", "as", "make", "pip", "curl", "wget", "python"]
print(json.dumps([*filter(importlib.util.find_spec, names), *filter(shutil.which, programs)]))
"""

    assert json.loads(python_in(image, program)) == ["server", "onnxruntime", "python"]


def test_every_module_can_be_imported(image: str) -> None:
    program = """
import importlib, pathlib
paths = [path for name in ("music", "runtime", "server", "fantasia") for path in pathlib.Path(name).rglob("*.py")]
for path in paths:
    if path.name != "__main__.py":
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
print(len(paths))
"""

    assert int(python_in(image, program)) > 100


def test_its_code_is_compiled_and_read_only(image: str) -> None:
    program = """
import os, pathlib
for path in pathlib.Path("/app").rglob("*"):
    assert os.access(path, os.R_OK) and not os.access(path, os.W_OK), path
    if path.suffix == ".py":
        assert any((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")), path
"""

    run("--rm", "--entrypoint=python", image, "-c", program)
