"""What whoever starts the server decides: parsed once, frozen, handed down in parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

from annotated_types import Ge, Le
from pydantic import DirectoryPath, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from server.errors import SettingError, shortened

_ENV_PREFIX: Final = "FANTASIA_"


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
    port: int = Field(default=50051, ge=0, le=65535, description="port of the gRPC service; 0 takes a free one")
    metrics_port: int = Field(default=9464, ge=0, le=65535, description="port of the metrics; 0 takes a free one")
    models: DirectoryPath = Field(default=Path("models"), description="folder of bundles, all of which are served")
    default_model: str = Field(default="", description="model for calls that name none; empty for the first by name")
    provider: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="what runs the models: cuda fails where there is none, auto then takes the CPU"
    )
    precision: Literal["auto", "float32", "int8"] = Field(
        default="auto", description="arithmetic of the models: auto takes int8 on CPUs where it is faster"
    )
    tf32: bool = Field(default=False, description="let CUDA round factors to 10 bits of mantissa, which is faster")
    threads: int = Field(
        default=0, ge=0, le=256, description="CPU threads of each model; 0 chooses by the CPU limit and its size"
    )
    slots: int = Field(default=256, ge=1, le=4096, description="pieces that each model has in hand at once")
    width: int = Field(
        default=64, ge=1, le=4096, description="pieces that take a step together on a CPU; those in hand take turns"
    )
    queue_limit: int = Field(default=64, ge=0, le=100_000, description="calls that may wait for a slot of each model")
    max_request_bytes: int = Field(default=1 << 20, ge=1 << 10, le=1 << 28, description="longest message accepted")
    drain_seconds: float = Field(default=25.0, ge=0, le=3600, description="how long SIGTERM waits for running calls")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level to log")


def parse_settings(arguments: Sequence[str]) -> Settings:
    """The settings from the command line (without the program's name) and the environment.

    Raises:
        SettingError: a value is wrong; the message names all that are, and what would be right.
        SystemExit: the command line itself cannot be read (code 2), or it asked for help (code 0).
    """
    try:
        return CliApp.run(Settings, cli_args=list(arguments))
    except ValidationError as error:
        raise SettingError("; ".join(_sentence(details) for details in error.errors())) from error


def _sentence(error: Any) -> str:
    name = str(error["loc"][0])
    value = str(error["input"])
    flag, variable = "--" + name.replace("_", "-"), _ENV_PREFIX + name.upper()
    sentence = f"{flag} (or {variable}) must be {_allowed(Settings.model_fields[name])}, not {shortened(value)!r}"
    if value.startswith("tcp://"):
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
