"""The bundle: a directory with a manifest, ONNX graphs and the curves of the training, verified when loaded.

`manifest.json` names the format version, the tokenizer and its parameters, the shape of the network, where the
model comes from, its measurements, and the sha256 of every other file. There is no pickle anywhere.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from music.bundle_files import UnreadableFileError, file_sha256, read_file
from music.errors import BundleIntegrityError, BundleMismatchError
from music.external_data import external_files
from music.invalid import plain_text
from music.manifest import FORMAT_VERSION, Defaults, Manifest, Network, manifest_bytes, parse_manifest
from music.tokenizers import Tokenizer, tokenizer_from_parameters


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

    def read(self, name: str) -> bytes:
        """Content of one of the bundle's files, verified: what is returned is what the digest covers.

        Raises:
            BundleIntegrityError: the file is missing or unreadable, or is not what it was when the bundle was loaded.
        """
        assert name in self.manifest.files, name
        return _read(self.path, name, self.manifest.files[name])


def load_bundle(path: Path, *, oldest_version: int = FORMAT_VERSION) -> Bundle:
    """Read and verify a bundle: format, hashes, tokenizer, and that its graphs read no file that has no hash.

    Args:
        path: its directory.
        oldest_version: of the format; by default the one whose graphs can be run.

    Raises:
        BundleFormatError: no manifest, not a manifest, or a format version that this code does not know.
        BundleIntegrityError: a file is missing, its content is not what the manifest says, or a graph reads a file
            that the manifest does not list.
        BundleMismatchError: tokenizer, vocabulary and network do not belong together, or a graph is none.
    """
    data = manifest_bytes(path)
    manifest = parse_manifest(path, data, oldest_version)
    graphs = manifest.graphs.names
    for name, expected in sorted(manifest.files.items()):
        if name in graphs:
            _require_listed(path, name, _read(path, name, expected), manifest)
        else:
            _verify(path, name, expected)
    return Bundle(path, manifest, hashlib.sha256(data).hexdigest(), _tokenizer(path, manifest))


def _verify(path: Path, name: str, expected: str) -> None:
    try:
        actual = file_sha256(path / name)
    except UnreadableFileError as error:
        raise BundleIntegrityError(f"{path}: {name} is missing or unreadable ({error})") from error
    _compare(path, name, expected, actual)


def _read(path: Path, name: str, expected: str) -> bytes:
    try:
        data = read_file(path / name)
    except UnreadableFileError as error:
        raise BundleIntegrityError(f"{path}: {name} is missing or unreadable ({error})") from error
    _compare(path, name, expected, hashlib.sha256(data).hexdigest())
    return data


def _compare(path: Path, name: str, expected: str, actual: str) -> None:
    if actual != expected:
        raise BundleIntegrityError(f"{path}: {name} has sha256 {actual}, the manifest says {expected}")


def _require_listed(path: Path, name: str, graph: bytes, manifest: Manifest) -> None:
    """See that a graph reads no file beside those whose hashes the manifest has."""
    try:
        unlisted = external_files(graph) - manifest.files.keys()
    except ValueError as error:
        raise BundleMismatchError(f"{path}: {name} is no ONNX graph: {error}") from error
    if unlisted:
        shown = plain_text(", ".join(sorted(unlisted)))
        raise BundleIntegrityError(f"{path}: {name} reads {shown}, which the manifest does not list")


def _tokenizer(path: Path, manifest: Manifest) -> Tokenizer:
    entry, network = manifest.tokenizer, manifest.network
    try:
        tokenizer = tokenizer_from_parameters(entry.name, entry.version, entry.parameters)
    except ValueError as error:
        raise BundleMismatchError(f"{path}: {plain_text(str(error))}") from error
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
