"""What kustomize and Helm make of deploy/, and the parts of it that tests compare."""

import os
import subprocess
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tools.cluster_tools import ToolUnavailableError, helm, kubectl

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"
CHART: Final = DEPLOY / "chart"
BASE: Final = DEPLOY / "base"
OVERLAYS: Final = ("cpu", "gpu", "local")
COMPONENTS: Final = sorted(path.name for path in (DEPLOY / "components").iterdir())

Manifest = dict[str, Any]
Manifests = dict[str, Manifest]
"""Manifests by kind; there are no two of one kind."""


def tool(fetch: Callable[[], Path]) -> Path:
    """The program, or a skipped test with the reason why there is none."""
    try:
        return fetch()
    except ToolUnavailableError as error:
        pytest.skip(f"needs a tool: {error}")


def kustomized(folder: Path) -> Manifests:
    """What kustomize makes of a folder."""
    return _rendered([tool(kubectl), "kustomize", folder])


def templated(*options: str | Path) -> Manifests:
    """What Helm makes of the chart, in a release called fantasia."""
    return _rendered([tool(helm), "template", "fantasia", CHART, *options])


def refusal(*options: str | Path) -> str:
    """The error of Helm for these options."""
    command = [tool(helm), "template", "fantasia", CHART, *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert ended.returncode == 1, ended.stdout
    return ended.stderr


def combined(folder: Path, components: Iterable[str]) -> Manifests:
    """The base with these components. `folder` holds the kustomization; it must be outside of the repository."""
    paths = [DEPLOY / "components" / name for name in components]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [_relative(BASE, folder)],
        "components": [_relative(path, folder) for path in paths],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return kustomized(folder)


def _relative(path: Path, folder: Path) -> str:
    """The path as seen from the folder. Kustomize takes relative paths only."""
    return os.path.relpath(path, folder.resolve())


def _rendered(command: list[str | Path]) -> Manifests:
    # Parsed anew each time, since tests change what they get.
    found = [manifest for manifest in yaml.safe_load_all(_output(*map(str, command))) if manifest]
    manifests = {manifest["kind"]: manifest for manifest in found}
    assert len(manifests) == len(found)
    return manifests


@cache
def _output(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def normalised(value: Any) -> Any:
    """The same content in one order: lists of named things by name, without the labels that only Helm sets."""
    if isinstance(value, dict):
        return {
            key: normalised(inner)
            for key, inner in value.items()
            if key not in ("helm.sh/chart", "app.kubernetes.io/managed-by")
        }
    if isinstance(value, list):
        items = [normalised(item) for item in value]
        if items and all(isinstance(item, dict) and "name" in item for item in items):
            return sorted(items, key=lambda item: str(item["name"]))
        return items
    return value


def pod_of(manifest: Manifest) -> Manifest:
    """The pod's spec in a Deployment or a Job."""
    spec: Manifest = manifest["spec"]["template"]["spec"]
    return spec


def container_of(manifest: Manifest) -> Manifest:
    """The only container."""
    (container,) = pod_of(manifest)["containers"]
    assert isinstance(container, dict)
    return container


def variables_of(manifest: Manifest) -> dict[str, str]:
    """The variables of the only container."""
    return {variable["name"]: variable["value"] for variable in container_of(manifest)["env"]}


def bytes_of(quantity: str) -> int:
    """A quantity of memory in bytes."""
    for suffix, factor in (("Mi", 1 << 20), ("Gi", 1 << 30)):
        if quantity.endswith(suffix):
            return int(quantity.removesuffix(suffix)) * factor
    raise ValueError(f"{quantity} has no suffix Mi or Gi")
