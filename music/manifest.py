"""The manifest of a bundle. Every value has bounds, so that any valid manifest can be served."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError, model_validator

from music.bundle_files import UnreadableFileError, read_file
from music.errors import BundleFormatError, plain_text, problems

FORMAT_VERSION: Final = 5
OLDEST_SERVED_VERSION: Final = 4
"""Oldest format whose graphs can be run: format 5 adds the remaining length as an input, which a network need not
have."""
OLDEST_VERSION: Final = 2
"""Oldest format whose network can be exported again."""
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
MAX_STEPS: Final = 65_536
"""Maximum of a bundle's `max_steps`."""
_MAX_PROBLEMS: Final = 5
# JSON keys of fields that have another name in the code.
_POSITION_COUNT: Final = "clock_rows"
_VOICE_STATE_SIZE: Final = "registers"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
MetricName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
Description = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]
"""One line of text without control characters."""
Steps = Annotated[int, Field(ge=1, le=1024)]
"""Number of steps of a decode graph."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenizerEntry(_Table):
    """The tokenizer."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,32}$")]
    version: int = Field(ge=0, le=2**31 - 1)
    parameters: dict[str, Any] = Field(max_length=64)
    """Arguments of the tokenizer's constructor, which checks them."""
    hash: Sha256


class Network(_Table):
    """The network's shape."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    kind: Literal["lstm"] = "lstm"
    layers: int = Field(ge=1, le=64)
    hidden: int = Field(ge=1, le=65_536)
    vocabulary: int = Field(ge=1, le=2**20)
    position_count: int = Field(validation_alias=_POSITION_COUNT, serialization_alias=_POSITION_COUNT, ge=1, le=2**20)
    """Number of position indices."""
    grammar_states: int = Field(ge=1, le=2**20)
    voice_state_size: int = Field(
        default=0, validation_alias=_VOICE_STATE_SIZE, serialization_alias=_VOICE_STATE_SIZE, ge=0, le=65_536
    )
    """Length of a voice state (`music.voice_tracker`); 0 if the network gets none."""
    length_input: bool = False
    """Whether the network gets the remaining length (`music.remaining_length`)."""
    note_state_size: int = Field(default=0, ge=0, le=65_536)
    """Length of the state of `music.tokenizers.note_tracker`; 0 if the network does not see it."""
    parameters: int = Field(ge=1, le=10**12)
    """Number of trained parameters."""


class Graphs(_Table):
    """File names of the ONNX graphs."""

    prefill: FileName | None = None
    """From a whole token sequence to the LSTM state after it; None if the decode graphs read given tokens."""
    score: FileName | None = None
    """From a whole token sequence to the logits before each token, for evaluation; None as for `prefill`."""
    decode: dict[Steps, FileName] = Field(min_length=1, max_length=16)
    """Graphs that sample K tokens, by K."""
    decode_int8: dict[Steps, FileName] = Field(default={}, max_length=16)
    """The same in int8, for the same numbers of steps; empty if the bundle has no int8 graphs."""
    prefill_int8: FileName | None = None
    """`prefill` in int8; None if the bundle has no int8 graphs."""

    @property
    def names(self) -> set[str]:
        """File names of all graphs."""
        whole = (self.prefill, self.score, self.prefill_int8)
        return {*self.decode.values(), *self.decode_int8.values(), *filter(None, whole)}

    @model_validator(mode="after")
    def _int8_is_whole(self) -> "Graphs":
        if (self.prefill is None) != (self.score is None):
            raise ValueError("prefill and score must both be set or both be empty")
        if self.prefill is None:
            if self.prefill_int8 is not None:
                raise ValueError("prefill_int8 needs prefill")
            if 1 not in self.decode:
                raise ValueError("without prefill, decode must have a graph of 1 step")
        elif (self.prefill_int8 is None) != (not self.decode_int8):
            raise ValueError("prefill_int8 and decode_int8 must both be set or both be empty")
        if self.decode_int8 and self.decode_int8.keys() != self.decode.keys():
            raise ValueError(
                f"decode_int8 has graphs of {sorted(self.decode_int8)} steps, decode of {sorted(self.decode)}"
            )
        return self


class Defaults(_Table):
    """Values of request fields that are not set."""

    temperature: float = Field(default=1.0, ge=0.01, le=10)
    top_k: int = Field(default=0, ge=0, le=1024)
    top_p: float = Field(default=1.0, gt=0, le=1)
    tempo_bpm: float = Field(default=100.0, ge=10, le=400)
    program: int = Field(default=0, ge=0, le=127)


class Manifest(_Table):
    """`manifest.json`."""

    format_version: Literal[2, 3, 4, 5] = FORMAT_VERSION
    name: Name
    description: Description
    tokenizer: TokenizerEntry
    network: Network
    graphs: Graphs
    defaults: Defaults
    max_steps: int = Field(ge=1, le=MAX_STEPS)
    """Maximum length of a piece, in steps of the tokenizer."""
    provenance: dict[str, Any]
    """Corpus, configuration, seed and versions of the training."""
    metrics: dict[MetricName, FiniteFloat] = Field(max_length=256)
    """Metrics of the model; losses in nats per note-step."""
    files: dict[FileName, Sha256] = Field(max_length=256)
    """sha256 of every other file of the bundle."""

    @model_validator(mode="after")
    def _files_are_listed(self) -> "Manifest":
        if MANIFEST in self.files:
            raise ValueError(f"files: {MANIFEST} cannot hold its own sha256")
        missing = self.graphs.names - self.files.keys()
        if missing:
            raise ValueError(f"files: no sha256 for {', '.join(sorted(missing))}")
        return self


def read_manifest(path: Path) -> Manifest:
    """Read a bundle's manifest, of any format that can be exported again, and no other file.

    Args:
        path: the bundle's directory.

    Raises:
        BundleFormatError: the manifest is missing or invalid, or has an unknown format version.
    """
    return parse_manifest(path, manifest_bytes(path), OLDEST_VERSION)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into a bundle's directory.

    Raises:
        BundleFormatError: the manifest would be invalid, for example because a metric is NaN.
    """
    text = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True) + "\n"
    parse_manifest(path, text.encode(), OLDEST_VERSION)
    (path / MANIFEST).write_text(text)


def manifest_bytes(path: Path) -> bytes:
    """The bytes of `manifest.json` in a bundle's directory.

    Raises:
        BundleFormatError: it cannot be read, or is larger than `MAX_MANIFEST_BYTES`.
    """
    try:
        return read_file(path / MANIFEST, MAX_MANIFEST_BYTES)
    except UnreadableFileError as error:
        raise BundleFormatError(f"{path}: {MANIFEST} is missing or unreadable ({error})") from error


def parse_manifest(path: Path, data: bytes, oldest_version: int) -> Manifest:
    """Parse a manifest.

    Args:
        path: the bundle's directory, for error messages.
        data: content of `manifest.json`.
        oldest_version: oldest format version to accept.

    Raises:
        BundleFormatError: the manifest is invalid, or has an unknown format version.
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
            f"{path}: its graphs are of bundle format {version}, and this version runs {oldest_version} to "
            f"{FORMAT_VERSION}: "
            f"export it again with `python -m training export {path} --out {path} --corpus CORPUS`"
        )
    if version not in range(OLDEST_VERSION, FORMAT_VERSION + 1):
        shown = plain_text(repr(version), 64)
        raise BundleFormatError(
            f"{path}: bundle format {shown} is unknown; this version reads {oldest_version} to {FORMAT_VERSION}"
        )
    try:
        return Manifest.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        wrong = plain_text(problems(error, "manifest", max_problems=_MAX_PROBLEMS))
        raise BundleFormatError(f"{path}: {MANIFEST} is invalid: {wrong}") from error
