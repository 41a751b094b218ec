"""The Kubernetes manifests fit Kubernetes, each other and the server.

Schemas find wrong fields. The other tests here look for what a schema cannot see: selectors that match no pod, ports
without a listener, probes of services that do not exist, periods that end too early.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fantasia import __version__
from server.rpc.interceptor import SERVICE
from server.settings import Settings, parse_settings
from tests.e2e.manifests import (
    BASE,
    COMPONENTS,
    DEPLOY,
    OVERLAYS,
    Manifest,
    Manifests,
    bytes_of,
    combined,
    container_of,
    kustomized,
    pod_of,
    variables_of,
)

NEWEST = ["1.35", "1.36", "1.37"]
SLEEP = "1.30"
"""The first version with the sleep action by default."""
OPERATORS = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
"""Kinds that operators bring, not Kubernetes."""
SHIPPED_MEMORY = 575e6
"""Bytes of the server after each of the three models has evaluated as much as a call may have (docs/deploy.md)."""


@pytest.fixture(scope="module", params=["base", *OVERLAYS])
def folder(request: pytest.FixtureRequest) -> Path:
    name: str = request.param
    return BASE if name == "base" else DEPLOY / "overlays" / name


@pytest.fixture
def manifests(folder: Path) -> Manifests:
    return kustomized(folder)


@pytest.fixture
def deployment(manifests: Manifests) -> Manifest:
    return manifests["Deployment"]


@pytest.fixture
def pod(deployment: Manifest) -> Manifest:
    return pod_of(deployment)


@pytest.fixture
def container(deployment: Manifest) -> Manifest:
    return container_of(deployment)


@pytest.fixture
def settings(deployment: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The server's settings from the container's environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FANTASIA_{name.upper()}", raising=False)
    for name, value in variables_of(deployment).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    return parse_settings([])


def everything(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a manifest with its path and value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield f"{path}/{key}", inner
        yield from everything(f"{path}/{key}", inner)


def test_every_manifest_of_the_base_is_a_resource() -> None:
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())

    assert {"kustomization.yaml", *kustomization["resources"]} == {path.name for path in BASE.iterdir()}


@pytest.mark.parametrize("version", NEWEST)
def test_every_manifest_fits_the_schema(manifests: Manifests, version: str) -> None:
    for kind in manifests.keys() - OPERATORS:
        kubernetes_validate.validate(manifests[kind], version, strict=True)


def test_the_base_fits_the_oldest_version() -> None:
    for manifest in kustomized(BASE).values():
        kubernetes_validate.validate(manifest, SLEEP, strict=True)


@pytest.mark.parametrize("version", NEWEST)
@pytest.mark.parametrize("name", sorted(set(COMPONENTS) - {"mutual-tls"}))
def test_every_component_fits_the_schema(name: str, version: str, tmp_path: Path) -> None:
    for kind, manifest in combined(tmp_path, [name]).items():
        if kind not in OPERATORS:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schema_refuses_an_unknown_field(deployment: Manifest, pod: Manifest) -> None:
    pod["terminationGracePeriodSecond"] = 40

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, NEWEST[-1], strict=True)


def test_every_selector_matches_the_pods(manifests: Manifests, deployment: Manifest) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    selectors = [manifests["Service"]["spec"]["selector"]]
    selectors += [
        value["matchLabels"]
        for kind, manifest in manifests.items()
        for path, value in everything(kind, manifest)
        if path.endswith(("elector",)) and isinstance(value, dict) and "matchLabels" in value
        if kind != "ServiceMonitor" and "/ingress/" not in path
    ]

    assert len(selectors) >= 5
    for selector in selectors:
        assert selector.items() <= labels
        assert len(selector) == 3


def test_every_name_that_a_manifest_refers_to_exists(manifests: Manifests, pod: Manifest) -> None:
    names = {kind: manifest["metadata"]["name"] for kind, manifest in manifests.items()}

    assert pod["serviceAccountName"] == names["ServiceAccount"]
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        if kind in manifests:
            assert manifests[kind]["spec"]["scaleTargetRef"]["name"] == names["Deployment"]


def test_every_mount_has_a_volume(pod: Manifest, container: Manifest) -> None:
    mounted = {mount["name"] for mount in container.get("volumeMounts", [])}

    assert mounted == {volume["name"] for volume in pod.get("volumes", [])}
    assert all(mount["readOnly"] for mount in container.get("volumeMounts", []))


def test_every_file_that_a_setting_names_is_mounted(deployment: Manifest, container: Manifest) -> None:
    folders = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
    files = {value for name, value in variables_of(deployment).items() if name.endswith("_FILE")}

    assert {str(Path(file).parent) for file in files} == folders


def test_secrets_are_readable_for_the_pods_group_only(pod: Manifest) -> None:
    for volume in pod.get("volumes", []):
        assert volume["secret"]["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


def test_every_variable_is_a_setting(deployment: Manifest) -> None:
    known = {f"FANTASIA_{name.upper()}" for name in Settings.model_fields}

    assert variables_of(deployment).keys() <= known


def test_the_container_ports_are_the_servers_ports(container: Manifest, settings: Settings) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert ports == {"grpc": settings.port, "health": settings.health_port, "metrics": settings.metrics_port}


def test_the_service_has_the_ports_of_callers_and_prometheus(manifests: Manifests, settings: Settings) -> None:
    service = manifests["Service"]["spec"]

    assert service["clusterIP"] == "None"
    assert {port["name"]: port["port"] for port in service["ports"]} == {
        "grpc": settings.port,
        "metrics": settings.metrics_port,
    }
    assert all(port["targetPort"] == port["name"] for port in service["ports"])


def test_the_network_policy_opens_the_ports_of_the_service(folder: Path, container: Manifest) -> None:
    policy = kustomized(folder).get("NetworkPolicy")
    if policy is None:
        assert folder.name == "local"
        return
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}

    assert opened == {"grpc", "metrics"}
    assert opened <= {port["name"] for port in container["ports"]}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["egress"] == []


def test_the_service_monitor_finds_the_service(manifests: Manifests) -> None:
    if "ServiceMonitor" not in manifests:
        pytest.skip("this overlay has no monitoring")
    monitor, service = manifests["ServiceMonitor"]["spec"], manifests["Service"]
    (endpoint,) = monitor["endpoints"]

    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "fantasia"


@pytest.mark.parametrize("name", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_calls_a_health_service_that_the_server_has(container: Manifest, settings: Settings, name: str) -> None:
    probe = container[name]["grpc"]

    assert (settings.health_host, probe["port"]) == ("0.0.0.0", settings.health_port)  # noqa: S104 - in a container
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
    streams = settings.max_connections * settings.max_streams_per_connection * 30_000
    requests = (settings.max_connections * 4 + 64) * settings.max_request_bytes

    assert SHIPPED_MEMORY + streams + requests < bytes_of(container["resources"]["limits"]["memory"])


def test_the_memory_request_covers_the_measured_use(container: Manifest) -> None:
    assert bytes_of(container["resources"]["requests"]["memory"]) > SHIPPED_MEMORY


def test_service_links_cannot_set_the_port(pod: Manifest) -> None:
    assert pod["enableServiceLinks"] is False


def test_the_pod_meets_the_restricted_security_standard(pod: Manifest, container: Manifest) -> None:
    """Kubernetes' Pod Security Standards, level restricted; also no writable file system and no token."""
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 10_000
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()


def test_memory_and_cpu_have_requests_and_limits(container: Manifest) -> None:
    resources = container["resources"]

    assert resources["requests"].keys() == resources["limits"].keys() >= {"cpu", "memory"}


def test_replicas_spread_over_zones_and_nodes(pod: Manifest) -> None:
    keys = [constraint["topologyKey"] for constraint in pod["topologySpreadConstraints"]]

    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_an_autoscaled_deployment_sets_no_number_of_replicas(manifests: Manifests) -> None:
    assert ("replicas" in manifests["Deployment"]["spec"]) == ("HorizontalPodAutoscaler" not in manifests)


def test_the_overlays_differ_as_they_say() -> None:
    found = {name: kustomized(DEPLOY / "overlays" / name) for name in OVERLAYS}
    gpu = container_of(found["gpu"]["Deployment"])

    assert found["cpu"].keys() == found["gpu"].keys() >= {"HorizontalPodAutoscaler", "ServiceMonitor"}
    assert gpu["image"] == f"fantasia:{__version__}-gpu"
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == gpu["resources"]["requests"]["nvidia.com/gpu"] == "1"
    assert variables_of(found["gpu"]["Deployment"])["FANTASIA_PROVIDER"] == "cuda"
    assert found["local"]["Deployment"]["spec"]["replicas"] == 1
    assert not pod_of(found["local"]["Deployment"]).get("volumes")


def test_all_versions_are_the_projects(manifests: Manifests) -> None:
    versions = {
        value
        for kind, manifest in manifests.items()
        for path, value in everything(kind, manifest)
        if path.endswith("labels/app.kubernetes.io/version")
    }

    assert versions == {__version__}
    assert container_of(manifests["Deployment"])["image"].removesuffix("-gpu") == f"fantasia:{__version__}"
