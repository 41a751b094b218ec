"""The Prometheus rules of `deploy/monitoring`: their own tests, their pages, the metrics that they use."""

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from server.engine.observer import Outcome
from server.metrics import AccessMetrics, Metrics
from server.rpc.interceptor import METHODS
from tests.prometheus_tools import prometheus_tool

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RULE_TESTS = sorted(MONITORING.glob("*_test.yaml"))
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()

# Metrics of Prometheus itself, and of a process.
OTHER_METRICS = {"up", "process_start_time_seconds"}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(prometheus_tool("promtool")), *arguments]
    return subprocess.run(command, cwd=MONITORING, capture_output=True, text=True, check=False)  # noqa: S603


def test_the_rules_are_valid() -> None:
    checked = promtool("check", "rules", "rules.yaml")
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {len(RULES)} rules found" in checked.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: str(path.stem))
def test_each_alert_fires_when_it_should_and_only_then(path: Path) -> None:
    tested = promtool("test", "rules", path.name)
    assert tested.returncode == 0, tested.stdout


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = Counter(
        (case["alertname"], bool(case["exp_alerts"]))
        for path in RULE_TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
    )
    assert set(cases) == {(rule["alert"], fires) for rule in ALERTS for fires in (True, False)}


def test_each_alert_has_a_section_of_the_runbook_and_no_other_section_is_there() -> None:
    sections = re.findall(r"^## (Fantasia\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(sections) == sorted({rule["alert"] for rule in ALERTS})
    for rule in ALERTS:
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning")
    for section in re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]:
        assert all(part in section for part in ("**Meaning.**", "**Look.**", "**Do.**")), section.splitlines()[0]


def selected_names(expression: str) -> set[str]:
    """Names of the time series that a PromQL expression reads."""
    names: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name is not None
            names.add(node.name)

    promql_parser.walk(promql_parser.parse(expression), pre_visit=visit)
    return names


def exported_names() -> set[str]:
    """Names of all time series of a server with one model."""
    metrics = Metrics(METHODS)
    AccessMetrics(metrics)
    metrics.sequences.initialize(("quartet", "1"), [outcome.value for outcome in Outcome])
    suffixes = {"counter": ["_total"], "info": ["_info"], "histogram": ["_bucket", "_count", "_sum"]}
    return {family.name + suffix for family in metrics.registry.collect() for suffix in suffixes.get(family.type, [""])}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.get("record") or rule["alert"]))
def test_each_expression_reads_series_that_exist(rule: dict[str, Any]) -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    assert selected_names(rule["expr"]) <= exported_names() | recorded | OTHER_METRICS
