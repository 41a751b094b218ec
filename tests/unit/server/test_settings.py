import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from fantasia import __version__
from server.errors import SettingError
from server.settings import Settings, parse_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the variables of this machine, and make a folder of models."""
    for name in [name for name in os.environ if name.upper().startswith("FANTASIA")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()


def test_without_arguments_all_settings_have_their_defaults() -> None:
    settings = parse_settings([])

    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 50051, 9464)
    assert settings.models == Path("models")
    assert settings.provider == "auto"


def test_a_flag_precedes_a_variable_and_a_variable_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANTASIA_PORT", "1234")
    monkeypatch.setenv("FANTASIA_DRAIN_SECONDS", "2.5")
    settings = parse_settings(["--port", "0", "--queue-limit=7"])

    assert (settings.port, settings.drain_seconds, settings.queue_limit) == (0, 2.5, 7)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_wrong_value_is_reported_with_the_allowed_ones(arguments: list[str], sentence: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings(arguments)
    assert str(caught.value) == sentence


def test_a_wrong_variable_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANTASIA_THREADS", "many")
    with pytest.raises(SettingError, match="FANTASIA_THREADS"):
        parse_settings([])


def test_all_wrong_values_are_reported_at_once() -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings(["--port", "x", "--slots", "y"])
    assert "--port" in str(caught.value)
    assert "--slots" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("FANTASIA_QUEUE_LIMT", "is not a setting of this server: did you mean FANTASIA_QUEUE_LIMIT?"),
        ("FANTASIA_PORTS", "is not a setting of this server: did you mean FANTASIA_PORT?"),
        ("fantasia_slot", "is not a setting of this server: did you mean FANTASIA_SLOTS?"),
        ("FANTASIA_TLS_CERT", "is not a setting of this server: python -m server --help lists the settings"),
        ("FANTASIA_SERVICE_HOSTS", "is not a setting of this server"),
        ("FANTASIA_" + "X" * 5000, "is not a setting of this server"),
    ],
)
def test_an_unknown_variable_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, sentence: str) -> None:
    monkeypatch.setenv(name, "5")
    with pytest.raises(SettingError) as caught:
        parse_settings([])
    assert str(caught.value).startswith(f"the variable {name[:63]}")
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tls-key-file", "k"], "--tls-certificate-file and --tls-key-file must be given together"),
        (["--tls-certificate-file", "c"], "--tls-certificate-file and --tls-key-file must be given together"),
        (["--tls-client-ca-file", "c"], "--tls-client-ca-file needs --tls-certificate-file and --tls-key-file"),
    ],
)
def test_a_setting_that_needs_another_one_is_refused_alone(arguments: list[str], sentence: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings(arguments)
    assert str(caught.value) == sentence


def test_unknown_variables_and_wrong_values_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANTASIA_SLOT", "5")
    monkeypatch.setenv("FANTASIA_MODEL", "models")
    with pytest.raises(SettingError) as caught:
        parse_settings(["--threads", "many"])
    for words in ("--threads", "FANTASIA_SLOT ", "FANTASIA_MODEL "):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["FANTASIA_SERVER", "FANTASIA_TOKEN", "FANTASIA_TOKEN_FILE", "FANTASIA_SOUNDFONT", "FANTASIA", "FANTASIAS_PORT"],
)
def test_variables_of_other_programs_are_ignored(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "localhost:50051")
    assert parse_settings([]).port == 50051


def service_link(monkeypatch: pytest.MonkeyPatch, service: str, port: int, port_name: str) -> None:
    """Set the variables that Kubernetes sets for such a Service."""
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


def test_kubernetes_service_links_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    service_link(monkeypatch, "FANTASIA", 50051, "GRPC")
    service_link(monkeypatch, "FANTASIA_GATEWAY", 8080, "HTTP")
    monkeypatch.setenv("FANTASIA_PORT", "1234")  # the pod's own variable replaces the one of the link

    assert parse_settings([]).port == 1234


@pytest.mark.parametrize(
    ("service", "variable"), [("FANTASIA", "FANTASIA_PORT"), ("FANTASIA_METRICS", "FANTASIA_METRICS_PORT")]
)
def test_a_service_link_that_sets_a_setting_is_recognised(
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


@pytest.mark.parametrize("arguments", [["--models"], ["models"], ["--port=1", "extra"]])
def test_a_command_line_that_cannot_be_read_ends_with_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(arguments)
    assert caught.value.code == 2
    assert "Error: " in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"fantasia-server, version {__version__}\n"


def test_help_describes_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, field in Settings.model_fields.items():
        assert field.description is not None
        assert field.description in text
        assert f"env: FANTASIA_{name.upper()}]" in text
    assert "--port INTEGER" in text
    assert "[default: 50051; 0 to 65535; env: FANTASIA_PORT]" in text
    assert "--provider [auto|cpu|cuda]" in text
    assert "--tf32 / --no-tf32" in text


def test_the_docs_list_every_setting_with_its_default() -> None:
    text = (Path(__file__).parents[3] / "docs" / "deploy.md").read_text()
    rows = re.findall(r"^\| `--([a-z0-9-]+)` \| (?:`(.*)` )?\| (.+) \|$", text, re.MULTILINE)
    settings = []
    for name, field in Settings.model_fields.items():
        default = str(field.default).lower() if field.annotation is bool else str(field.default)
        settings.append((name.replace("_", "-"), default, field.description))

    assert rows == settings


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} " in text
