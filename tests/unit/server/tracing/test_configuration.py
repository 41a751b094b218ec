import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from server.app import serve
from server.errors import SettingError
from server.settings import Settings
from server.tracing import tracer_from_environment


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "must be otlp, console or none, not 'zipkin'"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "must be grpc, not 'http/protobuf'"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "must be grpc, not 'http/json'"),
    ],
)
def test_an_unsupported_value_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingError, match=f"{variable} {allowed}"):
        tracer_from_environment()


@pytest.mark.parametrize("exporter", ["none", "console", " OTLP "])
def test_the_supported_exporters_make_a_tracer(monkeypatch: pytest.MonkeyPatch, exporter: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", exporter)
    tracer_from_environment().close()


def test_a_missing_package_stops_the_start_with_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith("server.tracing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.grpc._aio_server", None)
    with pytest.raises(SettingError, match=r"--tracing needs the package of opentelemetry.*requirements/tracing\.txt"):
        asyncio.run(serve(Settings(port=0, metrics_port=0, models=tmp_path, tracing=True)))


@pytest.mark.slow
def test_nothing_of_opentelemetry_is_imported_when_tracing_is_off() -> None:
    code = "import sys, server.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ended.stdout.strip() == "[]"
