"""The Kubernetes manifests fit the schemas of Kubernetes and the settings of the server."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from server.rpc.interceptor import SERVICE
from server.settings import Settings, parse_settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
BASE = DEPLOY / "base"
RESUME_KEY = DEPLOY / "resume-key"
# The first version with the sleep action by default, and the newest version with a schema.
KUBERNETES = ["1.30", "1.37"]

needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")

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
    """The server's settings from the container's environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FANTASIA_{name.upper()}", raising=False)
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    return parse_settings([])


def test_every_manifest_is_a_resource_of_the_kustomization() -> None:
    assert {"kustomization.yaml", *RESOURCES} == {path.name for path in BASE.iterdir()}


def rendered(folder: Path) -> dict[str, Manifest]:
    """What kustomize makes of a folder, by kind."""
    command = ["kubectl", "kustomize", str(folder)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S603
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(output)}


@needs_kubectl
def test_kustomize_renders_the_resources_unchanged() -> None:
    assert rendered(BASE) == {manifest["kind"]: manifest for manifest in map(load, RESOURCES)}


@needs_kubectl
@pytest.mark.parametrize("version", KUBERNETES)
def test_the_overlay_with_a_resume_key_adds_only_the_key(version: str) -> None:
    manifests, base = rendered(RESUME_KEY), rendered(BASE)
    deployment = manifests["Deployment"]

    kubernetes_validate.validate(deployment, version, strict=True)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod.pop("volumes") == [{"name": "resume-key", "secret": {"secretName": "fantasia-resume-key"}}]
    (mount,) = container.pop("volumeMounts")
    assert mount == {"name": "resume-key", "mountPath": "/etc/fantasia/resume", "readOnly": True}
    added = [variable for variable in container["env"] if variable["name"] == "FANTASIA_RESUME_KEY_FILE"]
    assert added == [{"name": "FANTASIA_RESUME_KEY_FILE", "value": f"{mount['mountPath']}/key"}]
    container["env"].remove(added[0])
    assert manifests == base


def test_the_variable_of_the_resume_key_is_a_setting() -> None:
    patch: Manifest = yaml.safe_load((RESUME_KEY / "deployment.yaml").read_text())
    (container,) = patch["spec"]["template"]["spec"]["containers"]

    assert [variable["name"] for variable in container["env"]] == ["FANTASIA_RESUME_KEY_FILE"]
    assert "resume_key_file" in Settings.model_fields


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", RESOURCES)
def test_a_manifest_fits_the_schema(name: str, version: str) -> None:
    kubernetes_validate.validate(load(name), version, strict=True)


def test_the_schema_refuses_an_unknown_field(deployment: Manifest, pod: Manifest) -> None:
    pod["terminationGracePeriodSecond"] = 40

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[-1], strict=True)


def test_every_selector_matches_the_pods(deployment: Manifest) -> None:
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


def test_the_container_ports_are_the_servers_ports(container: Manifest, settings: Settings) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert ports == {"grpc": settings.port, "metrics": settings.metrics_port}


def test_the_service_targets_the_container_ports(container: Manifest) -> None:
    service = load("service.yaml")["spec"]

    assert service["clusterIP"] == "None"
    assert {port["targetPort"] for port in service["ports"]} == {port["name"] for port in container["ports"]}
    assert all(port["name"] == port["targetPort"] for port in service["ports"])


@pytest.mark.parametrize("name", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_calls_a_health_service_that_the_server_has(container: Manifest, settings: Settings, name: str) -> None:
    probe = container[name]["grpc"]

    assert probe["port"] == settings.port
    assert probe.get("service", "") in ("", SERVICE.full_name)


def test_the_grace_period_covers_the_drain(pod: Manifest, container: Manifest, settings: Settings) -> None:
    sleep_seconds = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    spare_seconds = pod["terminationGracePeriodSeconds"] - sleep_seconds - settings.drain_seconds

    # After the drain, answers are sent, engines stopped and threads joined.
    assert spare_seconds >= 5


def test_the_startup_timeout_ends_before_the_probe_kills(container: Manifest, settings: Settings) -> None:
    probe = container["startupProbe"]

    assert settings.startup_timeout_seconds + 10 <= probe["periodSeconds"] * probe["failureThreshold"]


def test_the_memory_limit_covers_the_connection_limits(container: Manifest, settings: Settings) -> None:
    limit = container["resources"]["limits"]["memory"]
    streams = settings.max_connections * settings.max_streams_per_connection * 30_000
    requests = (settings.max_connections * 4 + 64) * settings.max_request_bytes

    assert limit.endswith("Mi")
    assert 331e6 + streams + requests < int(limit.removesuffix("Mi")) * 2**20


def test_service_links_cannot_set_the_port(pod: Manifest) -> None:
    assert pod["enableServiceLinks"] is False


def test_the_pod_meets_the_restricted_security_standard(pod: Manifest, container: Manifest) -> None:
    """Kubernetes' Pod Security Standards, level restricted; also no writable file system and no token."""
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod.keys()


def test_memory_and_cpu_have_requests_and_limits(container: Manifest) -> None:
    resources = container["resources"]

    assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}
