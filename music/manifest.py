"""The manifest of a bundle. Every value has bounds, so that whatever `manifest.json` says can be served."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError, model_validator

from music.bundle_files import UnreadableFileError, read_file
from music.errors import BundleFormatError
from music.invalid import plain_text, problems

FORMAT_VERSION: Final = 3
OLDEST_VERSION: Final = 2
"""The oldest format whose network can still be exported anew; it is not served."""
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
MAX_STEPS: Final = 65_536
"""Of the longest piece that a model may be asked for."""
_MAX_PROBLEMS: Final = 5

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
MetricName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
Description = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]
"""A line of text, without control characters."""
Steps = Annotated[int, Field(ge=1, le=1024)]
"""Steps of one run of a decode graph."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenizerEntry(_Table):
    """Which tokenizer made the tokens, exactly."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,32}$")]
    version: int = Field(ge=0, le=2**31 - 1)
    parameters: dict[str, Any] = Field(max_length=64)
    """The tokenizer's own arguments; it holds them to bounds itself."""
    hash: Sha256


class Network(_Table):
    """Shape of the network, as the graphs have it."""

    kind: Literal["lstm"] = "lstm"
    layers: int = Field(ge=1, le=64)
    hidden: int = Field(ge=1, le=65_536)
    vocabulary: int = Field(ge=1, le=2**20)
    clock_rows: int = Field(ge=1, le=2**20)
    grammar_states: int = Field(ge=1, le=2**20)
    registers: int = Field(default=0, ge=0, le=65_536)
    """Registers of the voices beside the LSTM's state (`music.voicing`); 0 where there are none."""
    parameters: int = Field(ge=1, le=10**12)
    """Trained parameters."""


class Graphs(_Table):
    """File names of the ONNX graphs."""

    prefill: FileName
    """The state after a whole token sequence, read at once."""
    score: FileName
    """The logits before every token of such a sequence, too; nothing that is served needs them."""
    decode: dict[Steps, FileName] = Field(min_length=1, max_length=16)
    """Sampling inside, by the number of steps that one run takes."""
    decode_int8: dict[Steps, FileName] = Field(default={}, max_length=16)
    """The same in int8 arithmetic, for as many numbers of steps; empty if the bundle has none."""
    prefill_int8: FileName | None = None
    """`prefill` in int8 arithmetic, if the bundle has it."""

    @property
    def names(self) -> set[str]:
        """Every file that is a graph."""
        int8 = () if self.prefill_int8 is None else (self.prefill_int8, *self.decode_int8.values())
        return {self.prefill, self.score, *self.decode.values(), *int8}

    @model_validator(mode="after")
    def _int8_is_whole(self) -> "Graphs":
        if (self.prefill_int8 is None) != (not self.decode_int8):
            raise ValueError("prefill_int8 and decode_int8 come together or not at all")
        if self.decode_int8 and self.decode_int8.keys() != self.decode.keys():
            raise ValueError(
                f"decode_int8 has graphs of {sorted(self.decode_int8)} steps, decode of {sorted(self.decode)}"
            )
        return self


class Defaults(_Table):
    """What the server takes where a request leaves a field open."""

    temperature: float = Field(default=1.0, ge=0.01, le=10)
    top_k: int = Field(default=0, ge=0, le=1024)
    top_p: float = Field(default=1.0, gt=0, le=1)
    tempo_bpm: float = Field(default=100.0, ge=10, le=400)
    program: int = Field(default=0, ge=0, le=127)


class Manifest(_Table):
    """`manifest.json`, whole."""

    format_version: Literal[2, 3] = FORMAT_VERSION
    name: Name
    description: Description
    tokenizer: TokenizerEntry
    network: Network
    graphs: Graphs
    defaults: Defaults
    max_steps: int = Field(ge=1, le=MAX_STEPS)
    """Longest piece that may be asked for, in steps of the tokenizer's grid."""
    provenance: dict[str, Any]
    """Corpus, configuration, seed and versions that made it."""
    metrics: dict[MetricName, FiniteFloat] = Field(max_length=256)
    """Measurements; losses are in nats per note-step."""
    files: dict[FileName, Sha256] = Field(max_length=256)
    """sha256 of every file but this one."""

    @model_validator(mode="after")
    def _files_are_listed(self) -> "Manifest":
        if MANIFEST in self.files:
            raise ValueError(f"files: {MANIFEST} cannot hold its own sha256")
        missing = self.graphs.names - self.files.keys()
        if missing:
            raise ValueError(f"files: no sha256 for {', '.join(sorted(missing))}")
        return self


def read_manifest(path: Path) -> Manifest:
    """Read a bundle's manifest alone, of any format that can be exported anew; nothing else of it is looked at.

    Args:
        path: the bundle's directory.

    Raises:
        BundleFormatError: no manifest, not a manifest, or a format version that this code does not know.
    """
    return parse_manifest(path, manifest_bytes(path), OLDEST_VERSION)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into a bundle's directory.

    Raises:
        BundleFormatError: what would be written could not be read again, such as a metric that is NaN.
    """
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
    parse_manifest(path, text.encode(), OLDEST_VERSION)
    (path / MANIFEST).write_text(text)


def manifest_bytes(path: Path) -> bytes:
    """What is in `manifest.json` of a bundle's directory.

    Raises:
        BundleFormatError: it cannot be read, or is larger than `MAX_MANIFEST_BYTES`.
    """
    try:
        return read_file(path / MANIFEST, MAX_MANIFEST_BYTES)
    except UnreadableFileError as error:
        raise BundleFormatError(f"{path}: no readable {MANIFEST} ({error})") from error


def parse_manifest(path: Path, data: bytes, oldest_version: int) -> Manifest:
    """The manifest in these bytes.

    Args:
        path: the bundle's directory, for the sentence.
        data: content of `manifest.json`.
        oldest_version: of the format.

    Raises:
        BundleFormatError: they hold no manifest, or a format version that this code does not know.
    """
    try:
        document = json.loads(data)
    except ValueError as error:
        raise BundleFormatError(f"{path}: {MANIFEST} is not JSON: {plain_text(str(error))}") from error
    except RecursionError as error:
        raise BundleFormatError(f"{path}: {MANIFEST} is nested too deeply") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version in range(OLDEST_VERSION, oldest_version):
        raise BundleFormatError(
            f"{path}: its graphs are of bundle format {version}, and this version runs {FORMAT_VERSION}: "
            f"write them anew with `python -m training export {path} --out {path} --corpus CORPUS`"
        )
    if version not in range(OLDEST_VERSION, FORMAT_VERSION + 1):
        shown = plain_text(repr(version), 64)
        raise BundleFormatError(f"{path}: bundle format {shown} is unknown; this version reads {FORMAT_VERSION}")
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        wrong = plain_text(problems(error, "manifest", most=_MAX_PROBLEMS))
        raise BundleFormatError(f"{path}: {MANIFEST} is invalid: {wrong}") from error
