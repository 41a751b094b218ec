import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from music.bundle import MANIFEST, load_bundle
from music.errors import BundleError, BundleFormatError, BundleIntegrityError, BundleMismatchError


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


def test_a_bundle_says_what_it_is(small_bundle: Path) -> None:
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


def test_no_manifest_and_no_folder_are_named(copy: Path, tmp_path: Path) -> None:
    (copy / MANIFEST).unlink()
    for path in (copy, tmp_path / "nothing"):
        with pytest.raises(BundleFormatError, match="no readable manifest"):
            load_bundle(path)


@pytest.mark.parametrize("text", ["", "not json", "[]", "null", "{}", '{"format_version": 99}'])
def test_a_manifest_of_no_known_format_is_refused(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    with pytest.raises(BundleFormatError, match=r"format|JSON"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"format_version": 1}, BundleFormatError, "bundle format 1 is unknown"),
        ({"name": "No/Name"}, BundleFormatError, "name"),
        ({"network": ...}, BundleFormatError, "network"),
        ({"network.layers": 0}, BundleFormatError, "layers"),
        ({"surprise": 1}, BundleFormatError, "surprise"),
        ({"files": {"../../etc/passwd": "0" * 64}}, BundleFormatError, "plain file name"),
        ({"graphs.prefill": "other.onnx"}, BundleFormatError, "no sha256 for other.onnx"),
        ({"tokenizer.name": "unheard_of"}, BundleMismatchError, "unknown tokenizer 'unheard_of'"),
        ({"tokenizer.version": 7}, BundleMismatchError, "version 1 here, not 7"),
        ({"tokenizer.parameters.lowest_pitch": 10}, BundleMismatchError, "trained on other tokens"),
        ({"tokenizer.parameters.voices": "many"}, BundleError, "grid"),
        ({"tokenizer.parameters.meters": [4, 3]}, BundleMismatchError, "grid"),
        ({"tokenizer.hash": "0" * 64}, BundleMismatchError, "trained on other tokens"),
        ({"network.vocabulary": 5}, BundleMismatchError, "vocabulary"),
        ({"network.clock_rows": 5}, BundleMismatchError, "clock rows"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    copy: Path, change: dict[str, Any], error: type[BundleError], words: str
) -> None:
    edit(copy, change)
    with pytest.raises(error, match=words):
        load_bundle(copy)
