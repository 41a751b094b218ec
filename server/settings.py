"""The server's settings: parsed once, frozen, handed down in parts."""

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from annotated_types import Ge, Le
from pydantic import BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from server.errors import SettingError, shortened

_ENV_PREFIX: Final = "FANTASIA_"
_CLIENT_VARIABLES: Final = frozenset({"FANTASIA_SERVER"})
"""Read by the `fantasia` command, which may run in the same environment."""
_SERVICE_HOST: Final = "_SERVICE_HOST"
_SERVICE_LINK: Final = ("tcp://", "udp://", "sctp://")
_ALIKE: Final = 0.6
"""How alike two names, without their prefix, must be for one to be offered for the other: `difflib`'s ratio, 0 to 1."""


def _folder(value: object) -> Path:
    """The folder at a path.

    Raises:
        ValueError: there is none, or it cannot be looked at.
    """
    path = Path(str(value))
    try:
        if path.is_dir():
            return path
    except OSError as error:  # a name that is too long, a folder above it that may not be entered
        raise ValueError("cannot be looked at") from error
    raise ValueError("is no folder")


class Settings(BaseSettings):
    """Serve music over gRPC. Each flag is also a variable, FANTASIA_METRICS_PORT for one; the flag wins."""

    model_config = SettingsConfigDict(
        env_prefix=_ENV_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        validate_default=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_prog_name="python -m server",
    )

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 or :: for all")
    port: int = Field(default=50051, ge=0, le=65535, description="port of the gRPC service; 0 for any free port")
    metrics_port: int = Field(default=9464, ge=0, le=65535, description="port of the metrics; 0 for any free port")
    models: Annotated[Path, BeforeValidator(_folder)] = Field(
        default=Path("models"), description="folder of model bundles; all of them are served"
    )
    default_model: str = Field(
        default="",
        description="model for calls that name none; if empty: chorales where it is loaded, else the only model",
    )
    provider: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="execution provider; auto takes CUDA where it works, else the CPU"
    )
    precision: Literal["auto", "float32", "int8"] = Field(
        default="auto", description="precision of the models; auto takes int8 on CPUs where it is faster"
    )
    tf32: bool = Field(default=False, description="TF32 matrix products on CUDA: faster, with 10 bits of mantissa")
    threads: int = Field(
        default=0, ge=0, le=256, description="CPU threads per model; 0 chooses them by CPU limit and model size"
    )
    slots: int = Field(default=256, ge=1, le=4096, description="maximum number of concurrent sequences per model")
    width: int = Field(
        default=64, ge=1, le=4096, description="maximum batch size of one run on a CPU; more sequences take turns"
    )
    queue_limit: int = Field(
        default=64, ge=0, le=100_000, description="maximum number of sequences per model that wait for a slot"
    )
    max_pieces_per_connection: int = Field(
        default=256, ge=1, le=100_000, description="pieces that one connection may have in flight"
    )
    max_tokens_per_connection: int = Field(
        default=1 << 20,
        ge=1,
        le=1 << 40,
        description="tokens that the pieces of one connection may take together, counted before they are written",
    )
    max_request_bytes: int = Field(
        default=1 << 20, ge=1 << 10, le=1 << 28, description="maximum size of a request message"
    )
    max_connections: int = Field(default=256, ge=1, le=65535, description="connections that may be open at once")
    max_streams_per_connection: int = Field(
        default=100, ge=1, le=65535, description="calls that one connection may have open at once"
    )
    startup_timeout_seconds: float = Field(
        default=300.0, ge=0.1, le=86400, description="how long the start may take before it is given up"
    )
    drain_seconds: float = Field(
        default=25.0, ge=0, le=3600, description="maximum time that running calls get after SIGTERM"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="lowest level that is logged"
    )


def parse_settings(arguments: Sequence[str]) -> Settings:
    """The settings from the command line (without the program's name) and the environment.

    Raises:
        SettingError: a value is wrong, or a variable is no setting; the message names all that are, and what would be
            right.
        SystemExit: the command line itself cannot be read (code 2), or it asked for help (code 0).
    """
    problems = _unknown_variables(os.environ)
    try:
        settings = CliApp.run(Settings, cli_args=list(arguments))
    except ValidationError as error:
        raise SettingError("; ".join([*map(_sentence, error.errors()), *problems])) from error
    if problems:
        raise SettingError("; ".join(problems))
    return settings


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that begins as our settings do and is none; empty ones count as unset."""
    known = {_ENV_PREFIX + name.upper() for name in Settings.model_fields} | _CLIENT_VARIABLES
    names = (name for name, value in environment.items() if name.upper().startswith(_ENV_PREFIX) and value)
    unknown = sorted(name for name in names if name.upper() not in known and not _is_service_link(name, environment))
    return list(map(_unknown, unknown))


def _unknown(name: str) -> str:
    nearest = get_close_matches(name[len(_ENV_PREFIX) :].lower(), Settings.model_fields, n=1, cutoff=_ALIKE)
    if nearest:
        hint = f"did you mean {_ENV_PREFIX}{nearest[0].upper()}?"
    else:
        hint = "python -m server --help lists the settings"
    return f"the variable {shortened(name)} is no setting of this server: {hint}"


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
    flag, variable = "--" + name.replace("_", "-"), _ENV_PREFIX + name.upper()
    sentence = f"{flag} (or {variable}) must be {_allowed(Settings.model_fields[name])}, not {shortened(value)!r}"
    if value.startswith(_SERVICE_LINK):
        # Kubernetes sets FANTASIA_PORT=tcp://... in every pod beside a Service called fantasia.
        sentence += f"; {variable} seems to come from a Kubernetes service link: set enableServiceLinks: false"
    return sentence


def _allowed(field: FieldInfo) -> str:
    """What a field accepts, in words."""
    if field.annotation is bool:
        return "true or false"
    choices = get_args(field.annotation)
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    low = next((limit.ge for limit in field.metadata if isinstance(limit, Ge)), None)
    high = next((limit.le for limit in field.metadata if isinstance(limit, Le)), None)
    if low is None or high is None:
        return "a folder that exists"
    return f"a {'whole ' if field.annotation is int else ''}number from {low} to {high}"
