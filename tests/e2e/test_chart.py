"""The Helm chart renders what kustomize renders, and refuses wrong values with a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fantasia import __version__
from server.settings import Settings
from tests.e2e.manifests import (
    BASE,
    CHART,
    COMPONENTS,
    OVERLAYS,
    combined,
    container_of,
    kustomized,
    normalised,
    pod_of,
    refusal,
    templated,
    variables_of,
)
from tools.chart_schema import ELSEWHERE, settings_schema

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
# The values of each component. Components that need another one name it.
COMPONENT_VALUES = {
    "autoscaling": (["autoscaling"], ["autoscaling.enabled=true"]),
    "keda": (["keda"], ["autoscaling.enabled=true", "autoscaling.kind=keda"]),
    "mutual-tls": (["tls", "mutual-tls"], ["tls.enabled=true", "tls.mutual=true"]),
    "tls": (["tls"], ["tls.enabled=true"]),
    "callers": (["callers"], ["callers.enabled=true"]),
    "models-claim": (["models-claim"], ["models.source=claim"]),
    "models-image": (["models-image"], ["models.source=volume"]),
    "monitoring": (["monitoring"], ["monitoring.enabled=true"]),
    "resume-key": (["resume-key"], ["resumeKey.enabled=true"]),
}


def setting(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def test_its_defaults_are_the_base() -> None:
    assert normalised(templated()) == normalised(kustomized(BASE))


@pytest.mark.parametrize("name", OVERLAYS)
def test_its_values_for_an_overlay_are_the_overlay(name: str) -> None:
    chart = templated("--values", CHART / f"values-{name}.yaml")

    assert normalised(chart) == normalised(kustomized(BASE.parent / "overlays" / name))


def test_every_component_has_values() -> None:
    assert sorted(COMPONENT_VALUES) == COMPONENTS


@pytest.mark.parametrize("name", COMPONENTS)
def test_its_values_for_a_component_are_the_component(name: str, tmp_path: Path) -> None:
    components, values = COMPONENT_VALUES[name]
    chart = templated(*setting(*values))

    assert normalised(chart) == normalised(combined(tmp_path, components))
    assert normalised(chart) != normalised(kustomized(BASE))


def test_its_version_is_the_projects() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_another_release_has_names_and_labels_of_its_own() -> None:
    manifests = templated(*setting("fullnameOverride=composer"))

    assert {manifest["metadata"]["name"] for manifest in manifests.values()} == {"composer"}
    assert pod_of(manifests["Deployment"])["serviceAccountName"] == "composer"


def test_a_longer_drain_has_a_longer_grace_period() -> None:
    options = ["--set-json", "settings.drain_seconds=300.5", "--set", "preStopSeconds=10"]
    deployment = templated(*options)["Deployment"]

    assert pod_of(deployment)["terminationGracePeriodSeconds"] == 10 + 301 + 10


def test_large_numbers_have_no_exponent() -> None:
    options = ["--set", "settings.max_request_bytes=100000000", "--set-json", "settings.startup_timeout_seconds=0.5"]
    variables = variables_of(templated(*options)["Deployment"])

    assert variables["FANTASIA_MAX_REQUEST_BYTES"] == "100000000"
    assert variables["FANTASIA_STARTUP_TIMEOUT_SECONDS"] == "0.5"


def test_optional_parts_can_be_left_out_and_added() -> None:
    manifests = templated(
        *setting("networkPolicy.enabled=false", "podDisruptionBudget.enabled=false", "priorityClassName=high"),
        *setting("podLabels.team=music", "podAnnotations.note=x", "nodeSelector.disk=ssd", "image.pullPolicy=Always"),
        *setting("imagePullSecrets[0].name=registry", "extraEnv[0].name=TZ", "extraEnv[0].value=UTC"),
    )

    deployment = manifests["Deployment"]
    assert not {"NetworkPolicy", "PodDisruptionBudget"} & manifests.keys()
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "music"
    assert deployment["spec"]["template"]["metadata"]["annotations"] == {"note": "x"}
    assert pod_of(deployment)["priorityClassName"] == "high"
    assert pod_of(deployment)["nodeSelector"] == {"disk": "ssd"}
    assert pod_of(deployment)["imagePullSecrets"] == [{"name": "registry"}]
    assert container_of(deployment)["imagePullPolicy"] == "Always"
    assert variables_of(deployment)["TZ"] == "UTC"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("replica=3", "'replica' not allowed"),
        ("replicas=-1", "/replicas': minimum: got -1, want 0"),
        ("settings.slots=0", "/settings/slots': minimum: got 0, want 1"),
        ("settings.slotz=9", "'slotz' not allowed"),
        ("settings.provider=gpu", "/settings/provider': value must be one of"),
        ("settings.port=1", "'port' not allowed"),
        ("tls.enabled=maybe", "/tls/enabled': got string, want boolean"),
        ("tls.mutual=true", "/tls"),
        ("models.source=bucket", "/models/source': value must be one of"),
        ("autoscaling.kind=vpa", "/autoscaling/kind': value must be one of"),
        ("autoscaling.waitingPerPod=0", "/autoscaling/waitingPerPod': minimum"),
        ("extraEnv[0].name=FANTASIA_SLOTS", "/extraEnv/0/name"),
        ("monitoring.interval=15", "/monitoring/interval"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, words: str) -> None:
    assert words in refusal("--set", value)


def test_the_schema_knows_every_value() -> None:
    def unknown(values: dict[str, Any], schema: dict[str, Any], path: str) -> list[str]:
        if "properties" not in schema:
            return []
        found = [f"{path}{name}" for name in values if name not in schema["properties"]]
        assert schema.get("additionalProperties") is False, path
        for name, value in values.items():
            if isinstance(value, dict) and name in schema["properties"]:
                found += unknown(value, schema["properties"][name], f"{path}{name}.")
        return found

    assert unknown(VALUES, SCHEMA, "") == []
    assert set(VALUES) == set(SCHEMA["properties"]) - {"global"}  # Helm's own


def test_the_settings_of_the_schema_are_those_of_the_server() -> None:
    known = SCHEMA["properties"]["settings"]["properties"]
    assert known == settings_schema()["properties"], "run `python -m tools.chart_schema`"
    assert set(Settings.model_fields) - set(known) == ELSEWHERE
