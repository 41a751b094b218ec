import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from music.bundle import load_bundle
from server.engine.onnx_runner import OnnxScorer
from training import export as export_module
from training.corpus import Corpus, Split
from training.errors import CheckpointError, CorpusError, ExportError
from training.model import MusicLSTM
from training.run import Run, export_run
from training.trainer import BEST, load_checkpoint


def test_the_bundle_carries_graphs_curves_provenance_and_numbers(small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    assert set(bundle.manifest.files) == {
        "weights.bin", "prefill.onnx", "decode_1.onnx", "decode_4.onnx", "decode_16.onnx", "history.csv", "curves.png",
    }  # fmt: skip
    assert bundle.metrics.keys() == {
        "valid_nats_per_note_step", "valid_accuracy", "test_nats_per_note_step", "test_accuracy",
    }  # fmt: skip
    provenance = bundle.manifest.provenance
    assert provenance["corpus"]["pieces"] == {"train": 5, "valid": 2, "test": 2}
    assert provenance["config"]["training"]["seed"] == 1
    assert {"torch", "onnx", "numpy", "python"} <= provenance["versions"].keys()
    assert (small_bundle / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_batch_of_every_graph_is_dynamic(small_bundle: Path) -> None:
    for name in ("prefill.onnx", "decode_16.onnx"):
        graph = onnx.load(small_bundle / name, load_external_data=False).graph
        dimensions = {d.dim_param for value in graph.input for d in value.type.tensor_type.shape.dim}
        assert "batch" in dimensions


def test_graph_and_pytorch_agree_over_whole_pieces_in_any_batch(small_bundle: Path, small_run: Path) -> None:
    run, bundle = Run.load(small_run), load_bundle(small_bundle)
    model = MusicLSTM.for_tokenizer(run.config.network, run.tokenizer)
    model.load_state_dict(load_checkpoint(small_run / BEST)["model"])
    model.eval()
    encodings = [run.tokenizer.encode(piece.score) for piece in Corpus.load(run.corpus_path).pieces(Split.TEST)]
    cut = encodings[0].tokens[:37]
    pieces, starts = [*(e.tokens for e in encodings), cut], [*(e.clock_start for e in encodings), 0]
    for tokens, start, ours in zip(pieces, starts, OnnxScorer(bundle).logits(pieces, starts), strict=True):
        previous = torch.tensor([run.tokenizer.start_token, *tokens[:-1].tolist()])[:, None]
        rows = torch.as_tensor(run.tokenizer.clock.rows(start, len(tokens)), dtype=torch.long)[:, None]
        with torch.inference_mode():
            theirs, _ = model(previous, rows, model.zero_state(1))
        np.testing.assert_allclose(ours, theirs[:, 0].numpy(), atol=1e-4, rtol=0)


def test_a_bundle_is_replaced_and_anything_else_is_left_alone(
    small_run: Path, small_bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    (copy / "stray").write_text("from another day")
    assert export_run(small_run, copy, name="small").digest == load_bundle(small_bundle).digest
    assert not (copy / "stray").exists()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("three years")
    with pytest.raises(ExportError, match="is no bundle"):
        export_run(small_run, tmp_path / "precious", name="small")
    assert (tmp_path / "precious" / "thesis.txt").exists()


def test_graphs_that_do_not_agree_are_not_written(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "TOLERANCE", 0.0)
    with pytest.raises(ExportError, match="differ by"):
        export_run(small_run, tmp_path / "models" / "small", name="small")
    assert list((tmp_path / "models").iterdir()) == []


def test_what_is_missing_is_named(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no run"):
        export_run(tmp_path, tmp_path / "out", name="x")
    with pytest.raises(CorpusError, match="there is no corpus"):
        export_run(small_run, tmp_path / "out", name="x", corpus_path=tmp_path / "gone.npz")
