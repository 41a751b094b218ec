"""`python -m server` with a real network in ONNX Runtime."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import onnxruntime
import pytest

from fantasia.v1 import generation_pb2 as pb
from fantasia.v1 import generation_pb2_grpc as pb_grpc
from music.manifest import MANIFEST
from music.midi import read_midi
from tests.integration.serving import COMMAND, ENVIRONMENT, serving
from tests.stores import link_into_store


@pytest.fixture(scope="module")
def stub(small_bundle: Path) -> Iterator[pb_grpc.GenerationServiceStub]:
    arguments = ("--models", str(small_bundle), "--provider", "cpu", "--slots", "16")
    with serving(*arguments) as (address, _), grpc.insecure_channel(address) as channel:
        yield pb_grpc.GenerationServiceStub(channel)


def refusal(*arguments: str) -> str:
    """The error message of a server that must not start."""
    ended = subprocess.run(  # noqa: S603
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, env=ENVIRONMENT
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("python -m server: error: ")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def test_the_model_is_the_bundle(stub: pb_grpc.GenerationServiceStub) -> None:
    model = stub.GetModel(pb.GetModelRequest()).model

    assert (model.name, model.voices, model.provider) == ("small", 2, "CPUExecutionProvider")
    assert len(model.digest) == 64


def test_a_piece_has_the_requested_length(stub: pb_grpc.GenerationServiceStub) -> None:
    response = stub.Generate(pb.GenerateRequest(bars=4, seed=1))
    (piece,) = response.pieces

    assert piece.length_ticks == 4 * 4 * 480 == read_midi(piece.midi).length_ticks
    assert len(piece.notes) == len(read_midi(piece.midi).notes) > 0
    assert response.model_digest == stub.GetModel(pb.GetModelRequest()).model.digest


def test_a_seed_gives_the_same_bytes_alone_and_with_32_others(stub: pb_grpc.GenerationServiceStub) -> None:
    request = pb.GenerateRequest(bars=8, seed=7)
    alone = stub.Generate(request)
    with ThreadPoolExecutor(33) as pool:
        others = [pool.submit(stub.Generate, pb.GenerateRequest(bars=1 + n % 9, seed=n)) for n in range(100, 132)]
        together = pool.submit(stub.Generate, request).result()
        pieces = {other.result().pieces[0].midi for other in others}

    assert together.pieces == alone.pieces
    assert len(pieces) == 32


def test_a_bundle_with_a_wrong_hash_is_refused_by_name(small_bundle: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(small_bundle, tmp_path / "damaged")
    graph = damaged / "decode_float32_1.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")

    assert f"{damaged}: decode_float32_1.onnx has sha256" in refusal("--models", str(tmp_path))


def test_a_bundle_of_symbolic_links_gives_the_same_piece(
    stub: pb_grpc.GenerationServiceStub, small_bundle: Path, tmp_path: Path
) -> None:
    linked = Path(shutil.copytree(small_bundle, tmp_path / "models" / "small"))
    link_into_store(linked, tmp_path / "store")
    request = pb.GenerateRequest(bars=4, seed=1)
    arguments = ("--models", str(linked.parent), "--provider", "cpu")
    with serving(*arguments) as (address, _), grpc.insecure_channel(address) as channel:
        there = pb_grpc.GenerationServiceStub(channel).Generate(request)

    here = stub.Generate(request)
    assert (there.pieces, there.model_digest) == (here.pieces, here.model_digest)


def test_weights_that_the_manifest_does_not_list_are_refused(small_bundle: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["files"]["weights.bin"]
    (path / MANIFEST).write_text(json.dumps(manifest))

    sentence = refusal("--models", str(tmp_path))
    assert "decode_float32_1.onnx reads weights.bin, which the manifest does not list" in sentence


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b"[" * 100_000), "manifest.json is nested too deeply"),
        (lambda path: path.write_bytes(b" " * 200_000_000), "larger than 4,194,304 bytes"),
        (os.mkfifo, "it is a pipe, a device or a socket, not a file"),
        (Path.mkdir, "it is a folder, not a file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_an_invalid_manifest_is_refused_with_one_sentence(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    (tmp_path / "models" / "small").mkdir(parents=True)
    make(tmp_path / "models" / "small" / MANIFEST)

    sentence = refusal("--models", str(tmp_path / "models"))
    assert words in sentence
    assert str(tmp_path / "models" / "small") in sentence


def test_a_broken_link_is_refused_by_name(small_bundle: Path, tmp_path: Path) -> None:
    for name, target, problem in (
        ("lost", "nowhere", "it is a broken symbolic link"),
        ("loop", "loop", "it cannot be read: Too many levels of symbolic links"),
    ):
        models = tmp_path / name
        models.mkdir()
        (models / "small").symlink_to(small_bundle)
        (models / name).symlink_to(models / target)
        assert f"{models / name}: {problem}" in refusal("--models", str(models))


def test_several_models_without_a_default_are_refused(small_bundle: Path, tmp_path: Path) -> None:
    for name in ("aria", "ballad"):
        path = Path(shutil.copytree(small_bundle, tmp_path / name))
        manifest = json.loads((path / MANIFEST).read_text())
        (path / MANIFEST).write_text(json.dumps({**manifest, "name": name}))

    assert "(aria, ballad): name one with --default-model" in refusal("--models", str(tmp_path))


def test_an_unknown_default_model_is_refused(small_bundle: Path) -> None:
    assert "'nemo' is not loaded; loaded models: small" in refusal(
        "--models", str(small_bundle), "--default-model", "nemo"
    )


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA may really be here")
def test_cuda_is_refused_if_it_does_not_work(small_bundle: Path) -> None:
    assert "CUDA" in refusal("--models", str(small_bundle), "--provider", "cuda")
