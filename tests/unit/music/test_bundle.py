import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from music.bundle import load_bundle
from music.bundle_files import file_sha256
from music.errors import BundleError, BundleFormatError, BundleIntegrityError, BundleMismatchError
from music.manifest import MANIFEST
from tests.stores import link_into_store


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "copy"))


def edit(path: Path, change: dict[str, Any]) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    for key, value in change.items():
        *tables, last = key.split(".")
        table = manifest
        for name in tables:
            table = table[name]
        if value is ...:
            del table[last]
        else:
            table[last] = value
    (path / MANIFEST).write_text(json.dumps(manifest))


def test_a_bundle_has_the_contents_of_its_manifest(small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    assert bundle.name == "small"
    assert bundle.tokenizer.hash == bundle.manifest.tokenizer.hash
    assert bundle.chunk_sizes == (1, 4, 8, 16)
    assert len(bundle.digest) == 64
    assert all(bundle.file(name).is_file() for name in bundle.manifest.files)
    assert not [path for path in small_bundle.iterdir() if path.suffix in (".pkl", ".pt", ".pickle")]


def test_the_digest_covers_every_file(small_bundle: Path, copy: Path) -> None:
    assert load_bundle(copy).digest == load_bundle(small_bundle).digest
    edit(copy, {"description": "another"})
    assert load_bundle(copy).digest != load_bundle(small_bundle).digest


def test_a_flipped_byte_is_found(copy: Path) -> None:
    weights = bytearray((copy / "weights.bin").read_bytes())
    weights[100] ^= 1
    (copy / "weights.bin").write_bytes(weights)
    with pytest.raises(BundleIntegrityError, match=r"weights.bin has sha256"):
        load_bundle(copy)


@pytest.mark.parametrize("name", ["weights.bin", "decode_float32_1.onnx", "prefill_int8.onnx"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleIntegrityError, match=name):
        load_bundle(copy)


def test_a_missing_manifest_or_folder_is_named(copy: Path, tmp_path: Path) -> None:
    (copy / MANIFEST).unlink()
    for path in (copy, tmp_path / "nothing"):
        with pytest.raises(BundleFormatError, match=r"manifest\.json is missing or unreadable"):
            load_bundle(path)


@pytest.mark.parametrize("text", ["", "not json", "[]", "null", "{}", '{"format_version": 99}'])
def test_a_manifest_of_an_unknown_format_is_refused(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    with pytest.raises(BundleFormatError, match=r"format|JSON"):
        load_bundle(copy)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"format_version": 1}, BundleFormatError, "bundle format 1 is unknown"),
        ({"name": "No/Name"}, BundleFormatError, "name"),
        ({"network": ...}, BundleFormatError, "network"),
        ({"network.layers": 0}, BundleFormatError, "layers"),
        ({"surprise": 1}, BundleFormatError, "surprise"),
        ({"files": {"../../etc/passwd": "0" * 64}}, BundleFormatError, r"files\.\.\./\.\./etc/passwd"),
        ({"graphs.prefill": "other.onnx"}, BundleFormatError, "no sha256 for other.onnx"),
        ({"tokenizer.name": "unheard_of"}, BundleMismatchError, "unknown tokenizer 'unheard_of'"),
        ({"tokenizer.version": 7}, BundleMismatchError, "version 1 here, not 7"),
        ({"tokenizer.parameters.lowest_pitch": 10}, BundleMismatchError, "trained on other tokens"),
        ({"tokenizer.parameters.voices": "many"}, BundleError, "grid"),
        ({"tokenizer.parameters.meters": [4, 3]}, BundleMismatchError, "grid"),
        ({"tokenizer.hash": "0" * 64}, BundleMismatchError, "trained on other tokens"),
        ({"network.vocabulary": 5}, BundleMismatchError, "vocabulary"),
        ({"network.clock_rows": 5}, BundleMismatchError, "position indices"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    copy: Path, change: dict[str, Any], error: type[BundleError], words: str
) -> None:
    edit(copy, change)
    with pytest.raises(error, match=words):
        load_bundle(copy)


def sign(path: Path, name: str) -> None:
    """Write the file's present hash into the manifest."""
    edit(path, {"files": json.loads((path / MANIFEST).read_text())["files"] | {name: file_sha256(path / name)}})


@pytest.mark.parametrize("name", ["decode_float32_4.onnx", "prefill_int8.onnx", "score.onnx"])
def test_a_graph_whose_weights_are_not_covered_by_the_digest_is_refused(copy: Path, name: str) -> None:
    model = onnx.load(copy / name, load_external_data=False)
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"]
    entries[0].value = "other.bin"
    shutil.copyfile(copy / "weights.bin", copy / "other.bin")
    onnx.save(model, copy / name)
    sign(copy, name)
    with pytest.raises(BundleIntegrityError, match=f"{name} reads other.bin, which the manifest does not list"):
        load_bundle(copy)
    sign(copy, "other.bin")
    assert load_bundle(copy).read("other.bin") == (copy / "weights.bin").read_bytes()


@pytest.mark.parametrize("location", ["../weights.bin", "./weights.bin", "/etc/passwd", "", "*/_ORT_MEM_ADDR_/*"])
def test_a_graph_that_reads_beyond_its_folder_is_refused(copy: Path, location: str) -> None:
    model = onnx.load(copy / "score.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    onnx.save(model, copy / "score.onnx")
    sign(copy, "score.onnx")
    with pytest.raises(BundleIntegrityError, match="which the manifest does not list"):
        load_bundle(copy)


def test_a_read_verifies_the_file_again(copy: Path) -> None:
    bundle = load_bundle(copy)
    (copy / "weights.bin").write_bytes(bytes(len(bundle.read("weights.bin"))))
    with pytest.raises(BundleIntegrityError, match=r"weights.bin has sha256"):
        bundle.read("weights.bin")


def test_files_may_be_links_into_a_store(small_bundle: Path, copy: Path, tmp_path: Path) -> None:
    link_into_store(copy, tmp_path / "store")
    bundle = load_bundle(copy)
    assert bundle.digest == load_bundle(small_bundle).digest
    assert bundle.read("weights.bin") == (small_bundle / "weights.bin").read_bytes()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    # Its name may have a hundred bytes; so it is bound nearby and moved.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        shutil.move(f"{folder}/s", path)


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**31)  # it takes no room on the disk


@pytest.mark.parametrize("name", [MANIFEST, "weights.bin", "decode_float32_1.onnx"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, "it is a folder, not a file"),
        (make_fifo, "it is a pipe, a device or a socket, not a file"),
        (make_socket, "it is a pipe, a device or a socket, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a pipe, a device or a socket, not a file"),
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
        (make_loop, "Too many levels of symbolic links"),
        (make_large, "it is larger than [0-9,]+ bytes"),
    ],
)
def test_files_that_are_not_regular_or_too_large_are_named(
    copy: Path, name: str, make: Callable[[Path], None], words: str
) -> None:
    (copy / name).unlink()
    make(copy / name)
    with pytest.raises(BundleError, match=rf"{name} .*\({words}\)$"):
        load_bundle(copy)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"format_version": 4, "a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"format_version": 4, "a": ' + b'{"a":' * 100_000, "nested too deeply"),
        (b'{"format_version": 4, "a": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b'{"format_version": 4, "\xff": 1}', "is not JSON"),
        (b'{"format_version": "' + b"9" * 100_000 + b'"}', "is unknown"),
        (b'{"format_version": ["\\n"]}', "is unknown"),
        (b"[" * 5_000_000, "larger than 4,194,304 bytes"),
        (b'{"format_version": 4, ' + b", ".join(b'"%d": 0' % n for n in range(100_000)) + b"}", "is invalid"),
    ],
)
def test_a_malicious_manifest_is_refused_in_a_sentence(copy: Path, data: bytes, words: str) -> None:
    (copy / MANIFEST).write_bytes(data)
    with pytest.raises(BundleFormatError, match=words) as caught:
        load_bundle(copy)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_steps": 2**31}, "max_steps"),
        ({"max_steps": 65_537}, "max_steps"),
        ({"network.parameters": 2**63}, "network.parameters"),
        ({"network.hidden": 2**40}, "network.hidden"),
        ({"network.layers": 10**30}, "network.layers"),
        ({"description": "\ud800"}, "description"),
        ({"description": "two\nlines"}, "description"),
        ({"description": "x" * 1001}, "description"),
        ({"metrics": {"loss": float("1e999")}}, "metrics.loss"),
        ({"metrics": {"loss": float("nan")}}, "metrics.loss"),
        ({"metrics": {"\ud800": 1.0}}, "metrics"),
        ({"metrics": {"two words": 1.0}}, "metrics.two words"),
        ({"metrics": {f"m{n}": 1.0 for n in range(257)}}, "metrics"),
        ({"metrics": {"loss": 10**400}}, "metrics.loss"),
        ({"tokenizer.name": "\ud800"}, "tokenizer.name"),
        ({"tokenizer.version": 2**31}, "tokenizer.version"),
        ({"tokenizer.parameters.voices": 10**12}, "voices"),
        (
            {
                "tokenizer.parameters.meters": [f"{beats}/1" for beats in range(1, 65)],
                "tokenizer.parameters.steps_per_quarter": 480,
            },
            "positions in the bar, more than 65536",
        ),
        ({"tokenizer.parameters.voices": 10**12, "tokenizer.parameters.voice_order": None}, "voices"),
        ({"defaults.temperature": 1e999}, "defaults.temperature"),
        ({"defaults.tempo_bpm": float("nan")}, "defaults.tempo_bpm"),
        ({"defaults.top_k": 2**31}, "defaults.top_k"),
        ({"graphs.decode": {"1025": "decode_float32_1.onnx"}}, "graphs.decode"),
        ({"graphs.prefill": "a\0b"}, "graphs.prefill"),
        ({"files": {"a\0b": "0" * 64}}, r"files\.a\\x00b"),
        ({"files": {"..": "0" * 64}}, r"files\."),
        ({"files": {"": "0" * 64}}, "files"),
        ({"files": {"\ud800": "0" * 64}}, "files"),
        ({"files": {"manifest.json": "0" * 64}}, "files"),
        ({"name": "x" * 64}, "name"),
        ({"name": "a\n"}, "name"),
    ],
)
def test_every_value_has_bounds(copy: Path, change: dict[str, Any], field: str) -> None:
    edit(copy, change)
    with pytest.raises(BundleError, match=field) as caught:
        load_bundle(copy)
    assert str(caught.value).isprintable()
