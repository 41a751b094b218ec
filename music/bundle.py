"""The bundle: a directory with a manifest, ONNX graphs and the curves of the training, verified when loaded.

`manifest.json` names the format version, the tokenizer and its parameters, the shape of the network, where the
model comes from, its measurements, and the sha256 of every other file. There is no pickle anywhere.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from music.errors import BundleFormatError, BundleIntegrityError, BundleMismatchError
from music.invalid import problems
from music.tokenizers import Tokenizer, tokenizer_from_parameters

FORMAT_VERSION: Final = 3
OLDEST_VERSION: Final = 2
"""The oldest format whose network can still be exported anew; it is not served."""
MANIFEST: Final = "manifest.json"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenizerEntry(_Table):
    """Which tokenizer made the tokens, exactly."""

    name: str
    version: int
    parameters: dict[str, Any]
    hash: Sha256


class Network(_Table):
    """Shape of the network, as the graphs have it."""

    kind: Literal["lstm"] = "lstm"
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    clock_rows: int = Field(ge=1)
    grammar_states: int = Field(ge=1)
    registers: int = Field(default=0, ge=0)
    """Registers of the voices beside the LSTM's state (`music.voicing`); 0 where there are none."""
    parameters: int = Field(ge=1)
    """Trained parameters."""


class Graphs(_Table):
    """File names of the ONNX graphs."""

    prefill: str
    """The state after a whole token sequence, read at once."""
    score: str
    """The logits before every token of such a sequence, too; nothing that is served needs them."""
    decode: dict[int, str] = Field(min_length=1)
    """Sampling inside, by the number of steps that one run takes."""
    decode_int8: dict[int, str] = {}
    """The same in int8 arithmetic, for as many numbers of steps; empty if the bundle has none."""
    prefill_int8: str | None = None
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
    description: str
    tokenizer: TokenizerEntry
    network: Network
    graphs: Graphs
    defaults: Defaults
    max_steps: int = Field(ge=1)
    """Longest piece that may be asked for, in steps of the tokenizer's grid."""
    provenance: dict[str, Any]
    """Corpus, configuration, seed and versions that made it."""
    metrics: dict[str, float]
    """Measurements; losses are in nats per note-step."""
    files: dict[str, Sha256]
    """sha256 of every file but this one."""

    @model_validator(mode="after")
    def _files_are_listed(self) -> "Manifest":
        for name in self.files:
            if PurePath(name).name != name or name == MANIFEST:
                raise ValueError(f"files: {name!r} is no plain file name")
        missing = self.graphs.names - self.files.keys()
        if missing:
            raise ValueError(f"files: no sha256 for {', '.join(sorted(missing))}")
        return self


class Bundle:
    """A verified bundle on disk. Make one with `load_bundle`."""

    def __init__(self, path: Path, manifest: Manifest, digest: str, tokenizer: Tokenizer) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = digest
        """sha256 of the manifest's bytes, in hex: it covers every file through their hashes."""
        self.tokenizer = tokenizer

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    @property
    def description(self) -> str:
        """One sentence on what it writes."""
        return self.manifest.description

    @property
    def network(self) -> Network:
        """Shape of the network."""
        return self.manifest.network

    @property
    def defaults(self) -> Defaults:
        """What the server takes where a request leaves a field open."""
        return self.manifest.defaults

    @property
    def max_steps(self) -> int:
        """Longest piece that may be asked for, in steps."""
        return self.manifest.max_steps

    @property
    def metrics(self) -> Mapping[str, float]:
        """Measurements from the manifest."""
        return self.manifest.metrics

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """Numbers of steps that a decode graph exists for, ascending."""
        return tuple(sorted(self.manifest.graphs.decode))

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files."""
        assert name in self.manifest.files, name
        return self.path / name


def load_bundle(path: Path, *, oldest_version: int = FORMAT_VERSION) -> Bundle:
    """Read and verify a bundle: format, hashes, tokenizer.

    Args:
        path: its directory.
        oldest_version: of the format; by default the one whose graphs can be run.

    Raises:
        BundleFormatError: no manifest, not a manifest, or a format version that this code does not know.
        BundleIntegrityError: a file is missing or its content is not what the manifest says.
        BundleMismatchError: tokenizer, vocabulary and network do not belong together.
    """
    data = _manifest_bytes(path)
    manifest = _parse(path, data, oldest_version)
    for name, expected in sorted(manifest.files.items()):
        try:
            actual = file_sha256(path / name)
        except OSError as error:
            raise BundleIntegrityError(f"{path}: {name} is missing or unreadable ({error.strerror})") from error
        if actual != expected:
            raise BundleIntegrityError(f"{path}: {name} has sha256 {actual}, the manifest says {expected}")
    return Bundle(path, manifest, hashlib.sha256(data).hexdigest(), _tokenizer(path, manifest))


def read_manifest(path: Path) -> Manifest:
    """Read a bundle's manifest alone, of any format that can be exported anew; nothing else of it is looked at.

    Raises:
        BundleFormatError: no manifest, not a manifest, or a format version that this code does not know.
    """
    return _parse(path, _manifest_bytes(path), OLDEST_VERSION)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into a bundle's directory."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True)
    (path / MANIFEST).write_text(text + "\n")


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest_bytes(path: Path) -> bytes:
    try:
        return (path / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleFormatError(f"{path}: no readable {MANIFEST} ({error.strerror})") from error


def _parse(path: Path, data: bytes, oldest_version: int) -> Manifest:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise BundleFormatError(f"{path}: {MANIFEST} is not JSON: {error}") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version in range(OLDEST_VERSION, oldest_version):
        raise BundleFormatError(
            f"{path}: its graphs are of bundle format {version}, and this version runs {FORMAT_VERSION}: "
            f"write them anew with `python -m training export {path} --out {path} --corpus CORPUS`"
        )
    if version not in range(OLDEST_VERSION, FORMAT_VERSION + 1):
        raise BundleFormatError(f"{path}: bundle format {version!r} is unknown; this version reads {FORMAT_VERSION}")
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise BundleFormatError(f"{path}: {MANIFEST} is invalid: {problems(error, 'manifest')}") from error


def _tokenizer(path: Path, manifest: Manifest) -> Tokenizer:
    entry, network = manifest.tokenizer, manifest.network
    try:
        tokenizer = tokenizer_from_parameters(entry.name, entry.version, entry.parameters)
    except ValueError as error:
        raise BundleMismatchError(f"{path}: {error}") from error
    if tokenizer.hash != entry.hash:
        raise BundleMismatchError(
            f"{path}: tokenizer {entry.name!r} hashes to {tokenizer.hash}, the manifest says {entry.hash}: "
            "the weights were trained on other tokens"
        )
    shape = (network.vocabulary, network.clock_rows, network.grammar_states)
    own = (tokenizer.vocabulary_size, len(tokenizer.clock.successor), len(tokenizer.grammar.allowed))
    if shape != own:
        raise BundleMismatchError(
            f"{path}: the network has (vocabulary, clock rows, grammar states) {shape}, its tokenizer {own}"
        )
    registers = tokenizer.voicing.size if tokenizer.voicing else 0
    if network.registers not in (0, registers):
        raise BundleMismatchError(f"{path}: the network has {network.registers} registers, its tokenizer {registers}")
    return tokenizer
