"""The bundle: a directory with a manifest, ONNX graphs, weights and training curves, verified when it is loaded.

`manifest.json` contains the format version, the tokenizer with its parameters, the network's shape, provenance,
metrics, and the sha256 of every other file. A bundle has no pickle files.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from music.bundle_files import UnreadableFileError, file_sha256, read_file
from music.errors import BundleIntegrityError, BundleMismatchError, plain_text
from music.external_data import external_files
from music.manifest import OLDEST_SERVED_VERSION, Defaults, Manifest, Network, manifest_bytes, parse_manifest
from music.tokenizers import Tokenizer, tokenizer_from_parameters


class Bundle:
    """A verified bundle on disk. `load_bundle` makes one."""

    def __init__(self, path: Path, manifest: Manifest, digest: str, tokenizer: Tokenizer) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = digest
        """sha256 of the manifest's bytes, in hex. It covers every file through the file's sha256."""
        self.tokenizer = tokenizer

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    @property
    def description(self) -> str:
        """A sentence about the model."""
        return self.manifest.description

    @property
    def network(self) -> Network:
        """The network's shape."""
        return self.manifest.network

    @property
    def defaults(self) -> Defaults:
        """Values of request fields that are not set."""
        return self.manifest.defaults

    @property
    def max_steps(self) -> int:
        """Maximum length of a piece, in steps."""
        return self.manifest.max_steps

    @property
    def metrics(self) -> Mapping[str, float]:
        """Measurements from the manifest."""
        return self.manifest.metrics

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """Numbers of steps of the decode graphs, ascending."""
        return tuple(sorted(self.manifest.graphs.decode))

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files."""
        assert name in self.manifest.files, name
        return self.path / name

    def read(self, name: str) -> bytes:
        """Verified content of one of the bundle's files: the bytes that the digest covers.

        Raises:
            BundleIntegrityError: the file is missing or unreadable, or has changed since the bundle was loaded.
        """
        assert name in self.manifest.files, name
        return _read(self.path, name, self.manifest.files[name])


def load_bundle(path: Path, *, oldest_version: int = OLDEST_SERVED_VERSION) -> Bundle:
    """Read and verify a bundle: format, hashes, tokenizer, and that its graphs read only files with a sha256.

    Args:
        path: its directory.
        oldest_version: oldest format version to accept; by default the oldest whose graphs can be run.

    Raises:
        BundleFormatError: the manifest is missing or invalid, or has an unknown format version.
        BundleIntegrityError: a file is missing, its sha256 differs from the manifest, or a graph reads a file that the
            manifest does not list.
        BundleMismatchError: tokenizer and network do not fit together, or a graph is no ONNX model.
    """
    data = manifest_bytes(path)
    manifest = parse_manifest(path, data, oldest_version)
    graphs = manifest.graphs.names
    for name, expected in sorted(manifest.files.items()):
        if name in graphs:
            _check_external_files(path, name, _read(path, name, expected), manifest)
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


def _check_external_files(path: Path, name: str, graph: bytes, manifest: Manifest) -> None:
    """Check that a graph reads only files that the manifest lists."""
    try:
        unlisted = external_files(graph) - manifest.files.keys()
    except ValueError as error:
        raise BundleMismatchError(f"{path}: {name} is not an ONNX graph: {error}") from error
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
    shape = (network.vocabulary, network.position_count, network.grammar_states)
    expected = (tokenizer.vocabulary_size, len(tokenizer.positions), len(tokenizer.grammar.allowed))
    if shape != expected:
        raise BundleMismatchError(
            f"{path}: the network has (vocabulary, position indices, grammar states) {shape}, its tokenizer {expected}"
        )
    size = tokenizer.voice_tracker.size if tokenizer.voice_tracker else 0
    if network.voice_state_size not in (0, size):
        raise BundleMismatchError(
            f"{path}: the network has voice states of size {network.voice_state_size}, its tokenizer of size {size}"
        )
    size = tokenizer.note_tracker.size if tokenizer.note_tracker else 0
    if network.note_state_size not in (0, size):
        raise BundleMismatchError(
            f"{path}: the network has note states of size {network.note_state_size}, its tokenizer of size {size}"
        )
    return tokenizer
