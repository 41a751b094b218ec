"""The metrics by which autoscalers scale exist in a scrape of a real server."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.e2e.manifests import DEPLOY, Manifest
from tests.integration.replicas import serving
from tests.integration.scraping import Scrape, scrape_now_at
from tests.integration.serving import COMMAND, ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = DEPLOY / "components"


def load(*path: str) -> Manifest:
    manifest: Manifest = yaml.safe_load(COMPONENTS.joinpath(*path).read_text())
    return manifest


@pytest.fixture(scope="module")
def scrape() -> Scrape:
    process = subprocess.Popen(  # noqa: S603
        [*COMMAND, "--models", str(ROOT / "models")], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT
    )
    try:
        return scrape_now_at(serving(process).metrics_port)
    finally:
        process.terminate()
        process.wait(30)


def test_the_horizontal_autoscaler_uses_a_metric_of_the_server(scrape: Scrape) -> None:
    (metric,) = load("autoscaling", "horizontal-pod-autoscaler.yaml")["spec"]["metrics"]
    (rule,) = load("autoscaling", "prometheus-adapter.yaml")["rules"]["custom"]
    name = metric["pods"]["metric"]["name"]

    assert name in scrape.names()
    assert rule["seriesQuery"].startswith(f"{name}{{")


def test_keda_uses_a_metric_of_the_server(scrape: Scrape) -> None:
    (trigger,) = load("keda", "scaled-object.yaml")["spec"]["triggers"]
    (name,) = re.findall(r"fantasia_\w+", trigger["metadata"]["query"])

    assert name in scrape.names()


def test_both_autoscalers_have_the_same_target_below_the_limit(scrape: Scrape) -> None:
    (metric,) = load("autoscaling", "horizontal-pod-autoscaler.yaml")["spec"]["metrics"]
    (trigger,) = load("keda", "scaled-object.yaml")["spec"]["triggers"]
    target = metric["pods"]["target"]["averageValue"]

    assert trigger["metadata"]["threshold"] == target
    # A model refuses calls at its own limit; the target counts the models of a pod together.
    (limit,) = {sample.value for sample in scrape.samples if sample.name == "fantasia_queue_limit"}
    assert 0 < int(target) < limit
