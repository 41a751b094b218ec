import json
import shutil
from pathlib import Path

import pytest

from music.bundle import load_bundle
from music.bundle_files import file_sha256
from music.errors import BundleMismatchError
from music.manifest import MANIFEST
from runtime.host_runner import HostRunner


def test_graphs_that_differ_from_the_manifest_are_refused(small_bundle: Path, tmp_path: Path) -> None:
    swapped = Path(shutil.copytree(small_bundle, tmp_path / "swapped"))
    shutil.copyfile(swapped / "decode_float32_4.onnx", swapped / "decode_float32_1.onnx")
    manifest = json.loads((swapped / MANIFEST).read_text())
    manifest["files"]["decode_float32_1.onnx"] = file_sha256(swapped / "decode_float32_1.onnx")
    (swapped / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleMismatchError, match=r"decode_float32_1.onnx: uniforms has shape"):
        HostRunner(load_bundle(swapped), slots=1, precision="float32")
    (swapped / "decode_float32_1.onnx").write_bytes(b"no graph")
    manifest["files"]["decode_float32_1.onnx"] = file_sha256(swapped / "decode_float32_1.onnx")
    (swapped / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleMismatchError, match=r"decode_float32_1.onnx is not an ONNX graph"):
        load_bundle(swapped)
    (swapped / "decode_float32_1.onnx").write_bytes(b"\x08\x09")  # a model without a graph
    manifest["files"]["decode_float32_1.onnx"] = file_sha256(swapped / "decode_float32_1.onnx")
    (swapped / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleMismatchError, match=r"decode_float32_1.onnx does not load"):
        HostRunner(load_bundle(swapped), slots=1, precision="float32")
