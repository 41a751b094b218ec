"""Every query of the dashboard and every rule, in a real Prometheus that scrapes real servers under load.

`make monitoring-test` runs this. Two servers form one deployment: one with tokens, TLS and all shipped models, a small
queue and much to do; one with another bundle under the name of a shipped model, in another precision.
"""

import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import grpc
import promql_parser
import pytest
import trustme
import yaml

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from tests.integration.replicas import ENVIRONMENT, Replica, free_port, serving, until
from tests.prometheus_tools import prometheus_tool

pytestmark = [pytest.mark.monitoring, pytest.mark.timeout(600)]

ROOT: Final = Path(__file__).resolve().parents[2]
MONITORING: Final = ROOT / "deploy" / "monitoring"
RULES: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD: Final = json.loads((MONITORING / "dashboard.json").read_text())
TOKEN: Final = "token-of-the-monitoring-test-which-is-long-enough"  # noqa: S105
LOAD_SECONDS: Final = 45
COMPARISONS: Final = {"==", "!=", ">", "<", ">=", "<="}
# No machine of this test has a GPU that is not used, and metrics are there.
WITHOUT_DATA: Final = {"FantasiaGpuNotUsed", "FantasiaAbsent"}
# What the two servers and their load must set off, pending or firing.
SET_OFF: Final = {
    "FantasiaQueueRefuses", "FantasiaErrorBudgetBurnFast", "FantasiaErrorBudgetBurnSlow", "FantasiaDigestMismatch",
    "FantasiaArithmeticMismatch",
}  # fmt: skip


@contextmanager
def server(*arguments: str) -> Iterator[Replica]:
    command = [sys.executable, "-m", "server", "--port", "0", "--metrics-port", "0", "--log-level", "info"]
    with subprocess.Popen(  # noqa: S603
        [*command, *arguments], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT
    ) as process:
        try:
            yield serving(process)
        finally:
            process.kill()


class Prometheus:
    """A real Prometheus that scrapes some ports of localhost as the job `fantasia`, once a second."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.targets = [f"127.0.0.1:{port}" for port in ports]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(MONITORING / "rules.yaml")],
            "scrape_configs": [{"job_name": "fantasia", "static_configs": [{"targets": self.targets}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        self._url = f"http://{address}/api/v1"
        self.process = subprocess.Popen(  # noqa: S603
            [
                str(prometheus_tool("prometheus")),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--log.level=error",
            ]
        )

    def get(self, path: str, **parameters: object) -> Any:
        """The data of an answer of its HTTP API."""
        url = f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def scrapes(self) -> bool:
        """Whether it runs, and has scraped all targets."""
        try:
            with urllib.request.urlopen(f"{self._url}/targets", timeout=30) as answer:  # noqa: S310
                targets = json.load(answer)["data"]["activeTargets"]
        except OSError:  # it does not listen yet, or answers 503
            return False
        return len(targets) == len(self.targets) and all(target["health"] == "up" for target in targets)

    def values(self, query: str) -> list[float]:
        """All finite values of a query over the last half minute."""
        now = time.time()
        found = self.get("query_range", query=query, start=now - 30, end=now, step=1)["result"]
        values = [float(value) for series in found for _, value in series["values"]]
        return [value for value in values if math.isfinite(value)]


def requests_in_turn() -> Iterator[tuple[str, Any]]:
    """A method and its request, of every kind that a metric is for."""
    bars = [pb.Note(onset_ticks=480 * i, duration_ticks=480, pitch=60 + i % 7, velocity=70) for i in range(64)]
    given = pb.GivenPiece(notes=pb.NoteList(notes=bars))
    for seed in cycle(range(1000)):
        yield "StreamGenerate", pb.StreamGenerateRequest(request=pb.GenerateRequest(bars=4, seed=seed))
        yield "Generate", pb.GenerateRequest(bars=32, seed=seed, candidates=4)
        yield "Generate", pb.GenerateRequest(model="folk", bars=8, seed=seed)
        yield "Generate", pb.GenerateRequest(given=given, bars=2, seed=seed)
        yield "Evaluate", pb.EvaluateRequest(pieces=[given])
        yield "Generate", pb.GenerateRequest(bars=-1)
        yield "ListModels", pb.ListModelsRequest()


def call_until(stop: threading.Event, address: str, ca: bytes, first: int) -> None:
    """Call, one after the other, with deadlines so that some calls are cancelled. Failures are what is measured."""
    calls = requests_in_turn()
    for _ in range(first):
        next(calls)
    credentials = grpc.ssl_channel_credentials(ca)
    with grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", "localhost")]) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        for number, (method, request) in enumerate(calls):
            if stop.is_set():
                return
            try:
                call = getattr(stub, method)(request, metadata=metadata, timeout=2 if number % 5 else 30)
                if method == "StreamGenerate":
                    for _ in call:
                        pass
            except grpc.RpcError:
                stop.wait(0.05)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, ca: trustme.CA) -> Iterator[list[Replica]]:
    folder = tmp_path_factory.mktemp("servers")
    certificate = ca.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
    certificate.private_key_pem.write_to_path(str(folder / "tls.key"))
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    (folder / "callers.toml").write_text(f'[callers.studio]\ntokens = ["sha256:{digest}"]\n')
    other = folder / "models" / "chorales"
    shutil.copytree(ROOT / "models" / "chorales", other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "description": "Another bundle of the same name."}))
    tls = ["--tls-certificate-file", str(folder / "tls.crt"), "--tls-key-file", str(folder / "tls.key")]
    busy = ["--slots", "8", "--queue-limit", "2", "--callers-file", str(folder / "callers.toml")]
    with ExitStack() as stack:
        yield [
            stack.enter_context(server("--models", "models", *tls, *busy)),
            stack.enter_context(server("--models", str(other.parent), "--precision", "float32")),
        ]


@pytest.fixture(scope="module")
def prometheus(
    servers: list[Replica], ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """After some time of load, which goes on."""
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), [each.metrics_port for each in servers])
    stop = threading.Event()
    arguments = (stop, servers[0].address, ca.cert_pem.bytes())
    threads = [threading.Thread(target=call_until, args=(*arguments, number)) for number in range(14)]
    for thread in threads:
        thread.start()
    try:
        until(running.scrapes, "Prometheus does not scrape the servers", 120)
        time.sleep(LOAD_SECONDS)
        yield running
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        running.process.terminate()
        running.process.wait(30)


def test_both_servers_are_scraped(prometheus: Prometheus) -> None:
    targets = prometheus.get("targets")["activeTargets"]
    assert [target["health"] for target in targets] == ["up", "up"], targets


def as_grafana_asks(query: str, targets: list[str]) -> str:
    """The query with the variables that Grafana puts in when all values are chosen."""
    chosen = {"job": "fantasia", "model": "(chorales|folk|piano)", "__rate_interval": "15s"}
    chosen["instance"] = "({})".format("|".join(target.replace(".", r"\\.") for target in targets))
    return re.sub(r"\$(\w+)", lambda name: chosen[name[1]], query)


QUERIES: Final = [
    (panel["title"], target["expr"])
    for panel in DASHBOARD["panels"]
    if panel["type"] != "row"
    for target in panel["targets"]
]


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[f"{title}-{i}" for i, (title, _) in enumerate(QUERIES)])
def test_every_query_of_the_dashboard_has_data(prometheus: Prometheus, title: str, query: str) -> None:
    assert prometheus.values(as_grafana_asks(query, prometheus.targets)), f"{title}: {query}"


def test_every_choice_of_the_dashboard_has_values(prometheus: Prometheus) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
            match = as_grafana_asks(series, prometheus.targets)
            assert prometheus.get(f"label/{label}/values", **{"match[]": match}), variable["name"]


def compared(expression: str) -> list[str]:
    """What an expression compares: the sides of each comparison; the expression itself if it compares nothing."""
    sides: list[str] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.BinaryExpr) and str(node.op) in COMPARISONS:
            sides.extend(side.prettify() for side in (node.lhs, node.rhs))

    promql_parser.walk(promql_parser.parse(expression), pre_visit=visit)
    return sides or [expression]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.get("record") or rule["alert"]))
def test_every_rule_has_data(prometheus: Prometheus, rule: dict[str, Any]) -> None:
    if rule.get("alert") in WITHOUT_DATA:
        assert not prometheus.values(rule["expr"])
        return
    if "record" in rule:
        assert prometheus.values(rule["record"])
        assert prometheus.values(rule["expr"])
        return
    for side in compared(rule["expr"]):
        assert prometheus.values(side), side


def test_prometheus_evaluates_every_rule_without_an_error(prometheus: Prometheus) -> None:
    groups = prometheus.get("rules")["groups"]
    found = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert set(found) == {rule.get("record") or rule["alert"] for rule in RULES}
    assert {name: rule.get("lastError") for name, rule in found.items() if rule["health"] != "ok"} == {}


def test_the_load_and_the_differences_set_off_their_alerts(prometheus: Prometheus) -> None:
    active = {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}
    assert active >= SET_OFF
    assert not active & {"FantasiaGpuNotUsed", "FantasiaAbsent", "FantasiaReplicaDown", "FantasiaInternalError"}


def test_no_metric_has_more_series_than_labels_allow(prometheus: Prometheus) -> None:
    counted = prometheus.get("query", query='count({job="fantasia", __name__=~"fantasia_.+"}) by (instance)')["result"]
    assert [int(float(series["value"][1])) < 2500 for series in counted] == [True, True], counted


def test_a_lost_replica_sets_off_its_alert(prometheus: Prometheus, servers: list[Replica]) -> None:
    servers[1].process.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        active = {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}
        if "FantasiaReplicaDown" in active:
            return
        time.sleep(0.5)
    raise AssertionError(active)
