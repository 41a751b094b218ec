import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from server.errors import SettingError
from server.settings import Settings, parse_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine's, and a folder of models."""
    for name in [name for name in os.environ if name.upper().startswith("FANTASIA")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()


def test_without_arguments_the_defaults_hold() -> None:
    settings = parse_settings([])

    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 50051, 9464)
    assert settings.models == Path("models")
    assert settings.provider == "auto"


def test_a_flag_wins_over_a_variable_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANTASIA_PORT", "1234")
    monkeypatch.setenv("FANTASIA_DRAIN_SECONDS", "2.5")
    settings = parse_settings(["--port", "0", "--queue-limit=7"])

    assert (settings.port, settings.drain_seconds, settings.queue_limit) == (0, 2.5, 7)


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANTASIA_PORT", "")

    assert parse_settings([]).port == 50051


def test_tf32_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not parse_settings([]).tf32
    assert parse_settings(["--tf32"]).tf32

    monkeypatch.setenv("FANTASIA_TF32", "true")
    assert parse_settings([]).tf32
    assert not parse_settings(["--no-tf32"]).tf32

    monkeypatch.setenv("FANTASIA_TF32", "perhaps")
    with pytest.raises(SettingError, match=r"FANTASIA_TF32\) must be true or false, not 'perhaps'"):
        parse_settings([])


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse_settings([]).port = 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "65536"], "--port (or FANTASIA_PORT) must be a whole number from 0 to 65535, not '65536'"),
        (["--port", "http"], "--port (or FANTASIA_PORT) must be a whole number from 0 to 65535, not 'http'"),
        (["--slots", "0"], "--slots (or FANTASIA_SLOTS) must be a whole number from 1 to 4096, not '0'"),
        (["--slots", "1.5"], "--slots (or FANTASIA_SLOTS) must be a whole number from 1 to 4096, not '1.5'"),
        (
            ["--drain-seconds", "nan"],
            "--drain-seconds (or FANTASIA_DRAIN_SECONDS) must be a number from 0 to 3600, not 'nan'",
        ),
        (
            ["--drain-seconds", "-1"],
            "--drain-seconds (or FANTASIA_DRAIN_SECONDS) must be a number from 0 to 3600, not '-1'",
        ),
        (
            ["--provider", "tpu"],
            "--provider (or FANTASIA_PROVIDER) must be one of auto, cpu, cuda, not 'tpu'",
        ),
        (["--models", "nowhere"], "--models (or FANTASIA_MODELS) must be a folder that exists, not 'nowhere'"),
        (
            ["--models", "x" * 5000],
            f"--models (or FANTASIA_MODELS) must be a folder that exists, not '{'x' * 63}…'",
        ),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(arguments: list[str], sentence: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings(arguments)
    assert str(caught.value) == sentence


def test_a_wrong_variable_is_told_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANTASIA_THREADS", "many")
    with pytest.raises(SettingError, match="FANTASIA_THREADS"):
        parse_settings([])


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings(["--port", "x", "--slots", "y"])
    assert "--port" in str(caught.value)
    assert "--slots" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("FANTASIA_QUEUE_LIMT", "is no setting of this server: did you mean FANTASIA_QUEUE_LIMIT?"),
        ("FANTASIA_PORTS", "is no setting of this server: did you mean FANTASIA_PORT?"),
        ("fantasia_slot", "is no setting of this server: did you mean FANTASIA_SLOTS?"),
        ("FANTASIA_TLS_CERT", "is no setting of this server: python -m server --help lists the settings"),
        ("FANTASIA_SERVICE_HOSTS", "is no setting of this server"),
        ("FANTASIA_" + "X" * 5000, "is no setting of this server"),
    ],
)
def test_a_variable_that_is_no_setting_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    monkeypatch.setenv(name, "5")
    with pytest.raises(SettingError) as caught:
        parse_settings([])
    assert str(caught.value).startswith(f"the variable {name[:63]}")
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 200


def test_unknown_variables_are_told_together_with_wrong_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANTASIA_SLOT", "5")
    monkeypatch.setenv("FANTASIA_MODEL", "models")
    with pytest.raises(SettingError) as caught:
        parse_settings(["--threads", "many"])
    for words in ("--threads", "FANTASIA_SLOT ", "FANTASIA_MODEL "):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["FANTASIA_SERVER", "FANTASIA", "FANTASIAS_PORT"])
def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "localhost:50051")
    assert parse_settings([]).port == 50051


def service_link(monkeypatch: pytest.MonkeyPatch, service: str, port: int, port_name: str) -> None:
    """What Kubernetes sets in every pod beside such a Service."""
    url = f"tcp://10.0.0.7:{port}"
    for suffix, value in {
        "SERVICE_HOST": "10.0.0.7",
        "SERVICE_PORT": str(port),
        f"SERVICE_PORT_{port_name}": str(port),
        "PORT": url,
        f"PORT_{port}_TCP": url,
        f"PORT_{port}_TCP_PROTO": "tcp",
        f"PORT_{port}_TCP_PORT": str(port),
        f"PORT_{port}_TCP_ADDR": "10.0.0.7",
    }.items():
        monkeypatch.setenv(f"{service}_{suffix}", value)


def test_service_links_of_kubernetes_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    service_link(monkeypatch, "FANTASIA", 50051, "GRPC")
    service_link(monkeypatch, "FANTASIA_GATEWAY", 8080, "HTTP")
    monkeypatch.setenv("FANTASIA_PORT", "1234")  # what the pod itself says wins over the link

    assert parse_settings([]).port == 1234


@pytest.mark.parametrize(
    ("service", "variable"), [("FANTASIA", "FANTASIA_PORT"), ("FANTASIA_METRICS", "FANTASIA_METRICS_PORT")]
)
def test_a_service_link_in_place_of_a_setting_is_recognised(
    monkeypatch: pytest.MonkeyPatch, service: str, variable: str
) -> None:
    service_link(monkeypatch, service, 9464, "METRICS")
    with pytest.raises(SettingError) as caught:
        parse_settings([])
    assert str(caught.value).endswith(
        f"{variable} seems to come from a Kubernetes service link: set enableServiceLinks: false"
    )
    assert str(caught.value).count(";") == 1


def test_an_unknown_flag_ends_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(["--prot", "1"])
    assert caught.value.code == 2
    assert "--prot" in capsys.readouterr().err


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} " in text
