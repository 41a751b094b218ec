"""The Kubernetes manifests, against Kubernetes' own schemas and against the server that they run."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from server.rpc.interceptor import SERVICE
from server.settings import Settings, parse_settings

BASE = Path(__file__).resolve().parents[2] / "deploy" / "base"
# From the first with the sleep action on by default to the newest whose schema there is.
KUBERNETES = ["1.30", "1.37"]

Manifest = dict[str, Any]


def load(name: str) -> Manifest:
    manifest: Manifest = yaml.safe_load((BASE / name).read_text())
    return manifest


RESOURCES: list[str] = load("kustomization.yaml")["resources"]


@pytest.fixture
def deployment() -> Manifest:
    return load("deployment.yaml")


@pytest.fixture
def pod(deployment: Manifest) -> Manifest:
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: Manifest) -> Manifest:
    (container,) = pod["containers"]
    assert isinstance(container, dict)
    return container


@pytest.fixture
def settings(container: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """What the server makes of the container's environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FANTASIA_{name.upper()}", raising=False)
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    return parse_settings([])


def test_every_manifest_is_a_resource_of_the_kustomization() -> None:
    assert {"kustomization.yaml", *RESOURCES} == {path.name for path in BASE.iterdir()}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")
def test_kustomize_renders_the_resources_as_they_are() -> None:
    command = ["kubectl", "kustomize", str(BASE)]
    rendered = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603

    def order(manifest: Manifest) -> str:
        return str(manifest["kind"])

    assert sorted(yaml.safe_load_all(rendered.stdout), key=order) == sorted(map(load, RESOURCES), key=order)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", RESOURCES)
def test_a_manifest_fits_the_schema(name: str, version: str) -> None:
    kubernetes_validate.validate(load(name), version, strict=True)


def test_the_schema_knows_a_misspelt_field(deployment: Manifest, pod: Manifest) -> None:
    pod["terminationGracePeriodSecond"] = 40

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[-1], strict=True)


def test_every_selector_finds_the_pods(deployment: Manifest) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()

    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        load("service.yaml")["spec"]["selector"],
        load("pod-disruption-budget.yaml")["spec"]["selector"]["matchLabels"],
    ):
        assert selector
        assert selector.items() <= labels


def test_every_variable_is_a_setting(container: Manifest) -> None:
    known = {f"FANTASIA_{name.upper()}" for name in Settings.model_fields}

    assert {variable["name"] for variable in container["env"]} <= known


def test_the_container_opens_the_ports_that_the_server_listens_on(container: Manifest, settings: Settings) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert ports == {"grpc": settings.port, "metrics": settings.metrics_port}


def test_the_service_leads_to_the_ports_of_the_container(container: Manifest) -> None:
    service = load("service.yaml")["spec"]

    assert service["clusterIP"] == "None"
    assert {port["targetPort"] for port in service["ports"]} == {port["name"] for port in container["ports"]}
    assert all(port["name"] == port["targetPort"] for port in service["ports"])


@pytest.mark.parametrize("name", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_asks_for_health_that_the_server_tells(container: Manifest, settings: Settings, name: str) -> None:
    probe = container[name]["grpc"]

    assert probe["port"] == settings.port
    assert probe.get("service", "") in ("", SERVICE.full_name)


def test_there_is_time_to_drain(pod: Manifest, container: Manifest, settings: Settings) -> None:
    asleep_seconds = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    spare_seconds = pod["terminationGracePeriodSeconds"] - asleep_seconds - settings.drain_seconds

    # After the drain, answers are sent, engines stopped and threads joined.
    assert spare_seconds >= 5


def test_a_start_that_never_ends_is_told_before_it_is_killed(container: Manifest, settings: Settings) -> None:
    probe = container["startupProbe"]

    assert settings.startup_timeout_seconds + 10 <= probe["periodSeconds"] * probe["failureThreshold"]


def test_memory_holds_what_peers_can_take(container: Manifest, settings: Settings) -> None:
    limit = container["resources"]["limits"]["memory"]
    streams = settings.max_connections * settings.max_streams_per_connection * 30_000
    requests = settings.max_connections * 4 * settings.max_request_bytes

    assert limit.endswith("Gi")
    assert 182e6 + streams + requests < int(limit.removesuffix("Gi")) * 2**30


def test_service_links_cannot_set_the_port(pod: Manifest) -> None:
    assert pod["enableServiceLinks"] is False


def test_the_pod_meets_the_restricted_standard(pod: Manifest, container: Manifest) -> None:
    """Kubernetes' Pod Security Standards, level restricted, and more: no writing, no token."""
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod.keys()


def test_memory_and_cpu_are_asked_for_and_bounded(container: Manifest) -> None:
    resources = container["resources"]

    assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}
