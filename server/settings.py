"""The server's settings: read from the command line and the environment, checked, then frozen."""

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import click
from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from fantasia import __version__
from music.manifest import NAME_PATTERN
from server.errors import SettingError, shortened
from server.logs import LogFormat
from server.repository.layout import VERSION_PATTERN

PROGRAM: Final = "python -m server"
_ENV_PREFIX: Final = "FANTASIA_"
CLIENT_VARIABLES: Final = frozenset({"FANTASIA_SERVER", "FANTASIA_SOUNDFONT", "FANTASIA_TOKEN", "FANTASIA_TOKEN_FILE"})
"""Variables of the `fantasia` command, which may run in the same environment."""
_SERVICE_HOST: Final = "_SERVICE_HOST"
_SERVICE_LINK: Final = ("tcp://", "udp://", "sctp://")
_MIN_SIMILARITY: Final = 0.6
"""Similarity from which on a name is suggested for an unknown one: the ratio of `difflib`, 0 to 1."""


def _existing_folder(value: object) -> Path:
    """The folder at a path.

    Raises:
        ValueError: it does not exist, or cannot be accessed.
    """
    path = Path(str(value))
    try:
        if path.is_dir():
            return path
    except OSError as error:  # such as a name that is too long
        raise ValueError("cannot be accessed") from error
    raise ValueError("is not a folder")


Access = Literal["open", "checked", "off"]
"""Use of a service: by every peer that can connect, by callers who may use it, or by none."""


def parse_default_versions(text: str) -> dict[str, int]:
    """Numbers of versions by name of the model, of a text such as `piano=2,folk=1`.

    Raises:
        ValueError: it is no such text, or names a model twice.
    """
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, version = part.partition("=")
        if not re.fullmatch(NAME_PATTERN, name) or not re.fullmatch(VERSION_PATTERN, version) or name in found:
            raise ValueError(f"{part!r} is wrong")
        found[name] = int(version)
    return found


def _checked_versions(text: str) -> str:
    parse_default_versions(text)
    return text


class Settings(BaseSettings):
    """All settings. Each field is a flag of the command line and an environment variable."""

    model_config = SettingsConfigDict(env_prefix=_ENV_PREFIX, env_ignore_empty=True, frozen=True, validate_default=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 or :: for all addresses.")
    port: int = Field(default=50051, ge=0, le=65535, description="Port of the gRPC service; 0 for any free port.")
    metrics_port: int = Field(
        default=9464, ge=0, le=65535, description="Port of the Prometheus metrics; 0 for any free port."
    )
    models: Annotated[Path, BeforeValidator(_existing_folder)] = Field(
        default=Path("models"),
        description="Model repository: a folder with a folder for each model, which is a bundle or has a folder for "
        "each version; or one bundle.",
    )
    default_model: str = Field(
        default="",
        description="Model for requests that name none. If empty: chorales if it is loaded, else the only model.",
    )
    default_versions: Annotated[str, AfterValidator(_checked_versions)] = Field(
        default="",
        description="Versions for requests that name none, such as piano=2,folk=1. For other models: the version that "
        "the entry `default` of the model's folder names, else the highest.",
    )
    served_versions: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Number of the highest versions of a model that are served, and the default version besides them.",
    )
    model_poll_seconds: float = Field(
        default=10.0,
        ge=0,
        le=86400,
        description="Interval between looks for new and changed models, in seconds; 0 for none. SIGHUP starts a look.",
    )
    provider: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Execution provider; auto uses CUDA if it works here, else the CPU."
    )
    precision: Literal["auto", "float32", "int8"] = Field(
        default="auto", description="Precision of the models; auto uses int8 if it is faster on this CPU."
    )
    tf32: bool = Field(default=False, description="TF32 matrix products on CUDA: faster, less precise.")
    threads: int = Field(
        default=0, ge=0, le=256, description="CPU threads per model; 0 chooses by CPU limit and model size."
    )
    slots: int = Field(default=256, ge=1, le=4096, description="Maximum number of running sequences per model.")
    max_batch_size: int = Field(default=64, ge=1, le=4096, description="Maximum batch size of one run on a CPU.")
    queue_limit: int = Field(
        default=128, ge=0, le=100_000, description="Maximum number of sequences per model that wait for a slot."
    )
    max_pieces_per_caller: int = Field(
        default=256, ge=1, le=100_000, description="Maximum number of pieces that one caller has in flight."
    )
    max_tokens_per_caller: int = Field(
        default=1 << 20,
        ge=1,
        le=1 << 40,
        description="Maximum number of tokens (estimated) in the pieces that one caller has in flight.",
    )
    calls_per_minute_per_caller: int = Field(
        default=0, ge=0, le=1_000_000, description="Maximum number of calls of one caller in a minute; 0 for no limit."
    )
    tokens_per_minute_per_caller: int = Field(
        default=0,
        ge=0,
        le=1 << 40,
        description="Maximum number of tokens generated for one caller in a minute; 0 for no limit.",
    )
    max_request_bytes: int = Field(
        default=1 << 20, ge=1 << 10, le=1 << 28, description="Maximum size of a request message, in bytes."
    )
    max_given_bytes: int = Field(
        default=1 << 19, ge=1 << 10, le=1 << 24, description="Maximum size of a given MIDI file, in bytes."
    )
    max_given_notes: int = Field(default=20_000, ge=1, le=500_000, description="Maximum number of notes given.")
    max_given_bars: int = Field(default=1024, ge=1, le=10_000, description="Maximum length of a given piece, in bars.")
    max_given_tracks: int = Field(
        default=64, ge=1, le=1024, description="Maximum number of tracks of a given MIDI file, and of voices given."
    )
    max_candidates: int = Field(default=64, ge=1, le=64, description="Maximum number of candidates of a request.")
    max_candidate_steps: int = Field(
        default=64 * 1024,
        ge=1,
        le=1 << 30,
        description="Maximum number of candidates times steps of the whole piece.",
    )
    max_evaluated_steps: int = Field(
        default=64 * 1024,
        ge=1,
        le=1 << 30,
        description="Maximum number of steps of all pieces of an Evaluate call together.",
    )
    resume_key_file: str = Field(
        default="",
        description="File of at least 32 bytes: the key of resume tokens, the same on all replicas. "
        "If empty: a random key, and other replicas refuse the tokens of this one.",
    )
    max_connections: int = Field(
        default=256, ge=1, le=65535, description="Maximum number of connections that are open at once."
    )
    max_streams_per_connection: int = Field(
        default=100, ge=1, le=65535, description="Maximum number of calls that one connection has open at once."
    )
    max_metadata_bytes: int = Field(
        default=8 << 10, ge=1 << 10, le=1 << 20, description="Maximum size of the metadata of a call, in bytes."
    )
    max_connection_idle_seconds: float = Field(
        default=300.0, ge=1, le=86400, description="Time without a call after which a connection is closed, in seconds."
    )
    max_connection_age_seconds: float = Field(
        default=1800.0,
        ge=1,
        le=86400,
        description="Age at which a connection takes no more calls, in seconds; it varies by 10 %.",
    )
    tls_certificate_file: str = Field(
        default="",
        description="PEM file of the server's certificate, and the intermediate ones after it. If empty: no TLS.",
    )
    tls_key_file: str = Field(default="", description="PEM file of the certificate's private key.")
    tls_client_ca_file: str = Field(
        default="",
        description="PEM file of the authorities that sign client certificates. If set, every client needs one.",
    )
    callers_file: str = Field(
        default="", description="TOML file of the callers, with the hashes of their tokens. If empty: no tokens needed."
    )
    health_access: Access = Field(
        default="open", description="Health on the gRPC port; checked: for callers who may use it."
    )
    reflection_access: Access = Field(
        default="checked", description="Reflection on the gRPC port; checked: for callers who may use it."
    )
    metrics_access: Access = Field(
        default="open", description="Metrics; checked: with TLS, and for callers who may use them."
    )
    health_host: str = Field(
        default="",
        description="Address of a second port with health alone, without TLS and tokens, for Kubernetes' probes. "
        "If empty: no such port.",
    )
    health_port: int = Field(
        default=50052, ge=0, le=65535, description="That second port, if there is a health host; 0 for any free port."
    )
    startup_timeout_seconds: float = Field(
        default=300.0, ge=0.1, le=86400, description="Maximum time until the server is ready, in seconds."
    )
    drain_seconds: float = Field(
        default=25.0, ge=0, le=3600, description="Time that running calls get to finish after SIGTERM, in seconds."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Minimum level of log lines."
    )
    tracing: bool = Field(
        default=False, description="OpenTelemetry traces, configured by the OTEL_ variables; needs further packages."
    )
    log_format: LogFormat = Field(
        default="logfmt", description="Form of log lines: key=value, or one JSON object a line."
    )


def parse_settings(arguments: Sequence[str]) -> Settings:
    """Read the settings from the command line and the environment; a flag takes precedence over a variable.

    Args:
        arguments: the command line without the program's name.

    Raises:
        SettingError: values are wrong, or variables are unknown. The message names all of them, and what is allowed.
        SystemExit: the command line has an unknown flag (code 2), or asks for help or the version (code 0).
    """
    try:
        given = _command().make_context(PROGRAM, list(arguments)).params
    except click.exceptions.Exit as error:
        raise SystemExit(error.exit_code) from error
    except click.UsageError as error:
        error.show()
        raise SystemExit(error.exit_code) from error
    unknown = _unknown_variables(os.environ)
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingError("; ".join([*map(_sentence, error.errors()), *unknown])) from error
    if wrong := [*_contradictions(settings), *unknown]:
        raise SettingError("; ".join(wrong))
    return settings


def _contradictions(settings: Settings) -> list[str]:
    """A sentence for each setting that another one needs."""
    sentences = []
    if bool(settings.tls_certificate_file) != bool(settings.tls_key_file):
        sentences.append("--tls-certificate-file and --tls-key-file must be given together")
    if settings.tls_client_ca_file and not settings.tls_certificate_file:
        sentences.append("--tls-client-ca-file needs --tls-certificate-file and --tls-key-file")
    return sentences


def _command() -> click.Command:
    """The command line: an option for each field. Values stay text, since `Settings` checks flags and variables."""
    command = click.Command(
        PROGRAM,
        params=[_option(name, field) for name, field in Settings.model_fields.items()],
        help="Serve music models over gRPC. An option takes precedence over its environment variable.",
        context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    )
    return click.version_option(__version__, prog_name="fantasia-server")(command)


def _option(name: str, field: FieldInfo) -> click.Option:
    flag = _flag(name)
    default = str(field.default).lower() if field.annotation is bool else str(field.default) or "empty"
    bounds = _bounds(field)
    facts = [f"default: {default}", *(["{} to {}".format(*bounds)] if bounds else []), f"env: {_variable(name)}"]
    return click.Option(
        [f"{flag}/--no-{flag.removeprefix('--')}" if field.annotation is bool else flag],
        default=None,
        metavar=None if field.annotation is bool else _metavar(field),
        help=f"{field.description}  [{'; '.join(facts)}]",
    )


def _metavar(field: FieldInfo) -> str:
    if choices := get_args(field.annotation):
        return f"[{'|'.join(choices)}]"
    metavars: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "FOLDER"}
    return metavars.get(field.annotation, "TEXT")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return _ENV_PREFIX + name.upper()


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable with our prefix that is not a setting; empty variables count as unset."""
    known = set(map(_variable, Settings.model_fields)) | CLIENT_VARIABLES
    names = (name for name, value in environment.items() if name.upper().startswith(_ENV_PREFIX) and value)
    unknown = sorted(name for name in names if name.upper() not in known and not _is_service_link(name, environment))
    return list(map(_unknown, unknown))


def _unknown(name: str) -> str:
    nearest = get_close_matches(name[len(_ENV_PREFIX) :].lower(), Settings.model_fields, n=1, cutoff=_MIN_SIMILARITY)
    hint = f"did you mean {_variable(nearest[0])}?" if nearest else f"{PROGRAM} --help lists the settings"
    return f"the variable {shortened(name)} is not a setting of this server: {hint}"


def _is_service_link(name: str, environment: Mapping[str, str]) -> bool:
    """Whether Kubernetes sets the variable for a Service whose name begins with `fantasia`.

    In every pod beside a Service called `fantasia-metrics`, unless its enableServiceLinks is false, Kubernetes sets
    FANTASIA_METRICS_SERVICE_HOST, FANTASIA_METRICS_SERVICE_PORT, FANTASIA_METRICS_SERVICE_PORT_GRPC,
    FANTASIA_METRICS_PORT=tcp://..., FANTASIA_METRICS_PORT_9464_TCP_ADDR and more
    (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
    """
    services = [host.removesuffix(_SERVICE_HOST) for host in environment if host.endswith(_SERVICE_HOST)]
    return any(
        name.startswith((f"{service}_SERVICE_", f"{service}_PORT_")) or name == f"{service}_PORT"
        for service in services
        if service.startswith(_ENV_PREFIX.rstrip("_"))
    )


def _sentence(error: Any) -> str:
    name = str(error["loc"][0])
    value = str(error["input"])
    variable = _variable(name)
    sentence = (
        f"{_flag(name)} (or {variable}) must be {_allowed(Settings.model_fields[name])}, not {shortened(value)!r}"
    )
    if value.startswith(_SERVICE_LINK):
        # Kubernetes sets FANTASIA_PORT=tcp://... in every pod beside a Service called fantasia.
        sentence += f"; {variable} seems to come from a Kubernetes service link: set enableServiceLinks: false"
    return sentence


def _allowed(field: FieldInfo) -> str:
    """The values that a field accepts, in words."""
    if field.annotation is bool:
        return "true or false"
    if choices := get_args(field.annotation):
        return f"one of {', '.join(map(str, choices))}"
    if bounds := _bounds(field):
        return f"a {'whole ' if field.annotation is int else ''}number from {bounds[0]} to {bounds[1]}"
    if field.annotation is str:
        return "names of models with a version of each, such as piano=2,folk=1"
    return "a folder that exists"


def _bounds(field: FieldInfo) -> tuple[Any, Any] | None:
    """Lowest and highest value of a number."""
    low = next((limit.ge for limit in field.metadata if isinstance(limit, Ge)), None)
    high = next((limit.le for limit in field.metadata if isinstance(limit, Le)), None)
    return None if low is None or high is None else (low, high)
