"""The Job for a training on several nodes: its parts fit together, and its command trains."""

import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest

from tests.e2e.manifests import DEPLOY, Manifest, Manifests, container_of, kustomized, pod_of
from tests.integration.replicas import free_port

ROOT = DEPLOY.parent


@pytest.fixture
def manifests() -> Manifests:
    return kustomized(DEPLOY / "training")


@pytest.fixture
def job(manifests: Manifests) -> Manifest:
    return manifests["Job"]


@pytest.mark.parametrize("version", ["1.35", "1.36", "1.37"])
def test_every_manifest_fits_the_schema(manifests: Manifests, version: str) -> None:
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_its_pods_find_each_other(manifests: Manifests, job: Manifest) -> None:
    service = manifests["Service"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    (port,) = container_of(job)["ports"]
    name, service_name = job["metadata"]["name"], service["metadata"]["name"]

    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert pod_of(job)["subdomain"] == service_name
    assert f"--master-addr={name}-0.{service_name}" in container_of(job)["args"]
    assert f"--master-port={port['containerPort']}" in container_of(job)["args"]


def test_each_pod_is_a_node(job: Manifest) -> None:
    spec = job["spec"]

    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    assert f"--nnodes={spec['completions']}" in container_of(job)["args"]
    assert "--node-rank=$(JOB_COMPLETION_INDEX)" in container_of(job)["args"]


def test_no_service_of_the_server_selects_its_pods(job: Manifest) -> None:
    selector = kustomized(DEPLOY / "base")["Service"]["spec"]["selector"]

    assert not selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_its_claim_is_the_one_that_it_mounts(manifests: Manifests, job: Manifest) -> None:
    claims = [volume["persistentVolumeClaim"] for volume in pod_of(job)["volumes"] if "persistentVolumeClaim" in volume]

    assert claims == [{"claimName": manifests["PersistentVolumeClaim"]["metadata"]["name"]}]
    assert manifests["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.deploy
@pytest.mark.timeout(900)
def test_its_command_trains_on_two_nodes(job: Manifest, small_corpus: Path, tmp_path: Path) -> None:
    container = container_of(job)
    port = free_port()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.npz").symlink_to(small_corpus)
    replaced = {
        "--master-addr=fantasia-training-0.fantasia-training": "--master-addr=127.0.0.1",
        "--master-port=29500": f"--master-port={port}",
        "auto": "smoke",
    }
    arguments = [replaced.get(argument, argument) for argument in container["args"]]
    assert replaced.keys() <= set(container["args"])
    program = Path(sys.executable).with_name(*container["command"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    nodes = [
        subprocess.Popen(  # noqa: S603
            [program, *(argument.replace("$(JOB_COMPLETION_INDEX)", str(index)) for argument in arguments)],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for index in range(job["spec"]["completions"])
    ]  # fmt: skip
    outputs = [node.communicate(timeout=800)[0] for node in nodes]

    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert list((tmp_path / "runs" / "mine").iterdir())
