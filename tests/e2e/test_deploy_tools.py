"""Chart, manifests, Dockerfile and lock files, checked by Helm's linter, checkov and pip-audit: `make deploy-test`."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.manifests import CHART, DEPLOY, OVERLAYS, tool
from tools.cluster_tools import checkov, helm, kubectl, pip_audit

ROOT = DEPLOY.parent
ACCEPTED = {
    "CKV_K8S_15": "the tag is a version, so a node need not ask for it again",
    "CKV_K8S_21": "the command that applies the manifests names the namespace",
    "CKV_K8S_43": "the registry of the operator gives the digest",
    "CKV_DOCKER_2": "Kubernetes' probes replace HEALTHCHECK",
    "CKV_DOCKER_7": "checkov does not read the version in the build argument",
}
"""Checks of checkov that do not apply, and why."""
WITHOUT_POLICY = {"CKV2_K8S_6": "these pods have no network policy: a cluster on one machine, and a training"}

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]


def run(*command: str | Path, accepted: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False, cwd=ROOT)  # noqa: S603
    assert ended.returncode in accepted, ended.stdout + ended.stderr
    return ended


def findings(framework: str, *where: str | Path) -> set[str]:
    """Identifiers of the failed checks. checkov must have checked something."""
    options = ["--framework", framework, "--compact", "--output", "json", "--skip-download", "--soft-fail"]
    found: dict[str, Any] = json.loads(run(tool(checkov), *options, *where).stdout)
    assert found["summary"]["passed"] > 20
    assert found["summary"]["parsing_errors"] == 0
    return {check["check_id"] for check in found["results"]["failed_checks"]}


@pytest.mark.parametrize("values", ["values.yaml", *(f"values-{name}.yaml" for name in OVERLAYS)])
def test_helm_finds_no_fault_in_the_chart(values: str) -> None:
    run(tool(helm), "lint", "--strict", CHART, "--values", CHART / values)


@pytest.mark.parametrize("folder", ["overlays/cpu", "overlays/gpu", "overlays/local", "training"])
def test_checkov_finds_no_fault_in_the_manifests(folder: str, tmp_path: Path) -> None:
    path = tmp_path / "manifests.yaml"
    path.write_text(run(tool(kubectl), "kustomize", DEPLOY / folder).stdout)
    accepted = ACCEPTED.keys() | (WITHOUT_POLICY if folder in ("overlays/local", "training") else {}).keys()

    assert findings("kubernetes", "--file", path) - accepted == set()


def test_checkov_finds_no_fault_in_the_dockerfile() -> None:
    assert findings("dockerfile", "--file", ROOT / "Dockerfile") - ACCEPTED.keys() == set()


def test_checkov_would_find_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "manifests.yaml"
    text = run(tool(kubectl), "kustomize", DEPLOY / "overlays" / "cpu").stdout
    path.write_text(text.replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"))

    assert "CKV_K8S_22" in findings("kubernetes", "--file", path)


@pytest.mark.parametrize("lock", ["server.txt", "server-gpu.txt"])
def test_no_locked_package_has_a_known_vulnerability(lock: str) -> None:
    options = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
    ended = run(tool(pip_audit), *options, "--requirement", ROOT / "requirements" / lock, accepted=(0, 1))
    packages = json.loads(ended.stdout)["dependencies"]
    if all("skip_reason" in package for package in packages):
        pytest.skip("the package index serves no vulnerabilities")

    assert [package for package in packages if package.get("vulns") or "skip_reason" in package] == []
