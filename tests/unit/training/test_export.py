import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from music.bundle import Bundle, load_bundle
from music.bundle_files import file_sha256
from music.errors import BundleFormatError
from music.midi import write_midi
from music.remaining_length import UNKNOWN
from music.score import Meter, Note, Score
from runtime.host_runner import HostRunner
from runtime.runner import Chunk
from runtime.scorer import Scorer
from training import bundle_writer as writer_module
from training.__main__ import main
from training.bundle_targets import check_target
from training.bundle_writer import CHUNK_SIZES
from training.config import load_config
from training.corpus.store import Corpus, Split
from training.errors import CheckpointError, ConfigurationError, CorpusError, ExportError, StoppedError
from training.evaluation.decode_scoring import DecodeScorer
from training.evaluation.likelihood import MeterMode, evaluate_folder
from training.export import export_bundle, export_run
from training.graphs import ARITHMETIC
from training.graphs.from_bundle import network_from_bundle
from training.loop.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from training.model_card import MARK
from training.network.inputs import model_inputs
from training.network.model import MusicLSTM
from training.run import Run, train


def test_the_bundle_has_graphs_curves_provenance_and_metrics(small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    graphs = {"score.onnx"}
    for precision in ("float32", "int8"):
        graphs |= {f"prefill_{precision}.onnx", *(f"decode_{precision}_{steps}.onnx" for steps in CHUNK_SIZES)}
    assert set(bundle.manifest.files) == {"weights.bin", "history.csv", "curves.png"} | graphs
    assert bundle.metrics.keys() == {
        "valid_nats_per_note_step", "valid_accuracy", "test_nats_per_note_step", "test_accuracy",
        "valid_nats_per_note_step_int8", "valid_nats_per_note_step_length_known",
        "test_nats_per_note_step_length_known",
    }  # fmt: skip
    provenance = bundle.manifest.provenance
    assert provenance["corpus"]["pieces"] == {"train": 5, "valid": 2, "test": 2}
    assert provenance["config"]["training"]["seed"] == 1
    assert {"torch", "onnx", "numpy", "python"} <= provenance["versions"].keys()
    assert (small_bundle / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_batch_of_every_graph_is_dynamic(small_bundle: Path) -> None:
    for name in ("prefill_float32.onnx", "decode_float32_16.onnx", "decode_int8_16.onnx"):
        graph = onnx.load(small_bundle / name, load_external_data=False).graph
        dimensions = {d.dim_param for value in graph.input for d in value.type.tensor_type.shape.dim}
        assert "batch" in dimensions


def test_graph_and_pytorch_agree_over_whole_pieces_in_any_batch(small_bundle: Path, small_run: Path) -> None:
    run, bundle = Run.load(small_run), load_bundle(small_bundle)
    model = MusicLSTM(run.config.network, run.tokenizer)
    model.load_state_dict(load_checkpoint(small_run / BEST)["model"])
    model.eval()
    encodings = [run.tokenizer.encode(piece.score) for piece in Corpus.load(run.corpus_path).pieces(Split.TEST)]
    cut = encodings[0].tokens[:37]
    pieces, starts = [*(e.tokens for e in encodings), cut], [*(e.first_position for e in encodings), 0]
    lengths = [UNKNOWN, *(len(e.tokens) - 1 for e in encodings[1:]), 36]
    scorers = Scorer(bundle), DecodeScorer(bundle, "float32")
    read, written = (scorer.logits(pieces, starts, lengths) for scorer in scorers)
    for tokens, start, length, *ours in zip(pieces, starts, lengths, read, written, strict=True):
        inputs = model_inputs(tokens, start, run.tokenizer, remaining=length)
        with torch.inference_mode():
            theirs, _ = model(inputs.map(lambda array: torch.from_numpy(array)[:, None]), model.zero_state(1))
        for logits in ours:
            np.testing.assert_allclose(logits, theirs[:, 0].numpy(), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_int8_logits_are_close_to_float32(small_bundle: Path, small_run: Path) -> None:
    run, bundle = Run.load(small_run), load_bundle(small_bundle)
    encodings = [run.tokenizer.encode(piece.score) for piece in Corpus.load(run.corpus_path).pieces(Split.TEST)]
    pieces, starts = [e.tokens for e in encodings], [e.first_position for e in encodings]
    exact, rough = (DecodeScorer(bundle, precision).logits(pieces, starts) for precision in ARITHMETIC)
    for ours, theirs in zip(exact, rough, strict=True):
        assert 0 < np.square(ours - theirs).mean() < 0.001 * np.square(ours).mean()


@pytest.mark.slow
def test_a_bundle_is_replaced_and_any_other_folder_is_refused(
    small_run: Path, small_bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    (copy / "weights.bin").write_bytes(b"damaged")
    assert export_run(small_run, copy, name="small").digest == load_bundle(small_bundle).digest
    assert [path.name for path in tmp_path.iterdir()] == ["small"]

    app = tmp_path / "web-app"  # they have a manifest.json too
    (app / "src").mkdir(parents=True)
    (app / "manifest.json").write_text('{"name": "my app"}')
    (app / "src" / "app.js").write_text("precious")
    (copy / "thesis.txt").write_text("three years")
    (tmp_path / "file").write_text("no folder")
    for target in (app, copy, tmp_path / "file"):
        with pytest.raises(ExportError, match=r"choose another --out"):
            export_run(small_run, target, name="small")
    assert (app / "src" / "app.js").exists()
    assert (copy / "thesis.txt").exists()


def test_a_card_is_removed_with_its_bundle_and_other_pages_are_not(small_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    (copy / "samples").mkdir()
    (copy / "samples" / "1.mid").write_bytes(b"MThd")
    (copy / "README.md").write_text(f"{MARK}\n\n# small\n")
    assert load_bundle(copy).digest == load_bundle(small_bundle).digest
    check_target(copy, "small")
    (copy / "samples" / "take.wav").write_bytes(b"recorded by hand")
    with pytest.raises(ExportError, match=r"choose another --out"):
        check_target(copy, "small")
    (copy / "samples" / "take.wav").unlink()
    (copy / "README.md").write_text("# My notes\n")
    with pytest.raises(ExportError, match=r"choose another --out"):
        check_target(copy, "small")


def test_versions_of_a_model_have_one_name_and_other_bundles_beside_each_other_do_not(
    small_bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_bundle, tmp_path / "small" / "1")
    check_target(tmp_path / "small" / "2", "small")
    with pytest.raises(ExportError, match="1 already holds a model called 'small'"):
        check_target(tmp_path / "small" / "next", "small")


@pytest.mark.parametrize("name", ["MyModel", "my model", "", "-x", "a" * 64, "../up"])
def test_an_invalid_name_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="is not a valid model name"):
        export_run(tmp_path / "there is no run here", tmp_path / "out", name=name)


@pytest.mark.slow
def test_notes_and_chords_can_be_exported_and_sampled(small_corpus: Path, tmp_path: Path) -> None:
    """It has a single position index, which ONNX Runtime's shape inference looks into."""
    changes = {"network.layers": "1", "network.hidden": "16", "network.embedding": "8", "training.epochs": "1"}
    train(load_config("origin", changes), small_corpus, tmp_path / "run", device="cpu", progress=False)
    bundle = export_run(tmp_path / "run", tmp_path / "origin", name="origin")
    runner = HostRunner(bundle, slots=2, provider="cpu")
    runner.reset(1, bundle.tokenizer.positions.start(Meter(4, 4)))
    ones = np.ones(1, np.float32)
    decoded = runner.decode(
        Chunk(
            rows=np.array([1]),
            uniforms=np.linspace(0, 0.99, 16, dtype=np.float32)[None, :],
            forced=np.full((1, 16), -1, np.int64),
            temperature=ones,
            top_k=np.zeros(1, np.int64),
            top_p=ones,
            bias=np.zeros((1, runner.vocabulary), np.float32),
            bias_index=np.zeros((1, 16), np.int64),
        )
    )
    (tokens,) = decoded.tokens
    assert bundle.tokenizer.grammar.accepts(tokens)
    assert bundle.tokenizer.decode(tokens).notes
    (tmp_path / "midi").mkdir()
    unknown = Score((Note(0, 240, 20), Note(0, 240, 21), Note(0, 240, 22)), 240)
    (tmp_path / "midi" / "unknown.mid").write_bytes(write_midi(unknown))
    with pytest.raises(CorpusError, match="nothing to evaluate"):
        evaluate_folder(bundle, tmp_path / "midi", MeterMode.GIVEN)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {
            "network.voice_features": '["sounding", "elapsed", "intervals"]',
            "network.interval_output": "false",
            "network.layers": "1",
        },
        {"tokenizer.parameters.voices": "1"},
    ],
)
def test_graphs_agree_whatever_features_the_network_sees(
    small_corpus: Path, tmp_path: Path, changes: dict[str, str]
) -> None:
    """`export` refuses graphs that differ from PyTorch, or that draw what the grammar forbids."""
    settings = load_config("smoke", {"network.hidden": "8", "training.epochs": "1"} | changes)
    train(settings, small_corpus, tmp_path / "run", device="cpu", progress=False)
    bundle = export_run(tmp_path / "run", tmp_path / "features", name="features")
    tracker = bundle.tokenizer.voice_tracker
    assert tracker is not None
    assert bundle.network.voice_state_size == (tracker.size if settings.network.voice_features else 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("smoke", {"tokenizer.parameters.voices": "2"}),
        (
            "smoke",
            {"tokenizer.parameters.voices": "2", "network.voice_features": "[]", "network.interval_output": "false"},
        ),
        (
            "smoke",
            {
                "tokenizer.parameters.voices": "2",
                "network.voice_features": '["sounding", "before"]',
                "network.skip": "false",
            },
        ),
        ("origin", {"network.layers": "1", "network.hidden": "16", "network.embedding": "8"}),
        ("piano", {"network.layers": "1", "network.hidden": "16", "network.embedding": "8"}),
    ],
)
def test_a_network_can_be_loaded_from_its_bundle(
    small_corpus: Path, tmp_path: Path, name: str, changes: dict[str, str]
) -> None:
    settings = load_config(name, {"training.epochs": "1"} | changes)
    train(settings, small_corpus, tmp_path / "run", device="cpu", progress=False)
    first = export_run(tmp_path / "run", tmp_path / "first", name="first")
    again = export_bundle(first.path, tmp_path / "again", name="again", corpus_path=small_corpus)
    model = MusicLSTM(settings.network, first.tokenizer)
    model.load_state_dict(load_checkpoint(tmp_path / "run" / BEST)["model"])
    piece = next(iter(Corpus.load(small_corpus).pieces(Split.TEST))).score
    encoding = first.tokenizer.encode(piece)
    length = first.tokenizer.remaining_length.of_piece(encoding.tokens)
    inputs = model_inputs(encoding.tokens, encoding.first_position, first.tokenizer, remaining=length).map(
        lambda array: torch.from_numpy(array)[:, None]
    )
    with torch.inference_mode():
        expected, _ = model.eval()(inputs, model.zero_state(1))
        found, _ = network_from_bundle(again)(inputs, model.zero_state(1))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5, rtol=0)
    tracker = first.tokenizer.voice_tracker
    size = tracker.size if tracker is not None and settings.network.voice_features else 0
    assert first.network.voice_state_size == size
    assert again.manifest.provenance["exported_from"] == first.digest
    assert again.manifest.provenance["epoch"] == first.manifest.provenance["epoch"]
    assert again.metrics == first.metrics
    assert (again.path / "weights.bin").read_bytes() == (first.path / "weights.bin").read_bytes()
    assert (again.path / "history.csv").read_bytes() == (first.path / "history.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 3])
def test_a_bundle_of_an_older_format_is_refused_and_can_be_exported_again(
    small_bundle: Path, small_corpus: Path, tmp_path: Path, version: int
) -> None:
    """Without its decode graphs, whose inputs were others. Its arrays are taken over bit by bit."""
    old = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["format_version"] = version
    for name in manifest["graphs"]["decode"].values():
        graph = onnx.load(old / name, load_external_data=False)
        for node in graph.graph.node:
            node.input[:] = ["allowed" if value == "bias" else value for value in node.input]
        next(value for value in graph.graph.input if value.name == "bias").name = "allowed"
        (old / name).write_bytes(graph.SerializeToString())
        manifest["files"][name] = file_sha256(old / name)
    (old / "manifest.json").write_text(json.dumps(manifest))
    refused = rf"of bundle format {version}, and this version runs 4 to 5: export it again with"
    with pytest.raises(BundleFormatError, match=refused):
        load_bundle(old)
    assert export_bundle(old, old, name="small", corpus_path=small_corpus).manifest.format_version == 5
    for name in ("weights.bin", *manifest["graphs"]["decode"].values(), *manifest["graphs"]["decode_int8"].values()):
        assert (old / name).read_bytes() == (small_bundle / name).read_bytes(), name


@pytest.mark.slow
def test_the_command_takes_a_bundle_in_place_of_a_run(small_bundle: Path, small_corpus: Path, tmp_path: Path) -> None:
    arguments = ["export", str(small_bundle), "--out", str(tmp_path / "again")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "a bundle does not contain its corpus: add --corpus" in result.output
    result = CliRunner().invoke(main, [*arguments, "--corpus", str(small_corpus)])
    assert result.exit_code == 0, result.output
    assert load_bundle(tmp_path / "again").name == "again"


def test_a_bundle_without_its_configuration_gives_no_network(small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    manifest = bundle.manifest.model_copy(update={"provenance": {}})
    with pytest.raises(ExportError, match="holds no configuration of its network"):
        network_from_bundle(Bundle(bundle.path, manifest, bundle.digest, bundle.tokenizer))
    manifest = bundle.manifest.model_copy(update={"provenance": {"config": {"network": {"layers": 0}}}})
    with pytest.raises(ConfigurationError, match=r"manifest\.json: provenance\.config: .*network\.layers"):
        network_from_bundle(Bundle(bundle.path, manifest, bundle.digest, bundle.tokenizer))


def test_a_network_that_differs_from_the_bundle_is_not_exported(
    small_bundle: Path, small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(bundle: Bundle) -> MusicLSTM:
        network = network_from_bundle(bundle)
        with torch.no_grad():
            network.output.bias.add_(1e-3)
        return network

    monkeypatch.setattr("training.export.network_from_bundle", wrong)
    with pytest.raises(ExportError, match="differ by"):
        export_bundle(small_bundle, tmp_path / "again", name="again", corpus_path=small_corpus)
    assert not (tmp_path / "again").exists()


@pytest.mark.slow
def test_graphs_that_do_not_agree_are_not_written(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "TOLERANCE", 0.0)
    with pytest.raises(ExportError, match="differ by"):
        export_run(small_run, tmp_path / "models" / "small", name="small")
    assert list((tmp_path / "models").iterdir()) == []


def test_the_message_names_what_is_missing(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a run"):
        export_run(tmp_path, tmp_path / "out", name="x")
    with pytest.raises(CorpusError, match="there is no corpus"):
        export_run(small_run, tmp_path / "out", name="x", corpus_path=tmp_path / "gone.npz")


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"training.ema_decay": "0.9", "training.calibrate": "true"}])
def test_a_run_that_was_stopped_in_its_first_epoch_can_be_exported(
    changes: dict[str, str], small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config("smoke", {"tokenizer.parameters.voices": "2", **changes})
    forward, count = MusicLSTM.forward, 0

    def signalling(self: MusicLSTM, *inputs: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            signal.raise_signal(signal.SIGINT)
        return forward(self, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr(MusicLSTM, "forward", signalling)
        with pytest.raises(StoppedError):
            train(config, small_corpus, tmp_path / "run", device="cpu", progress=False)
    assert not (tmp_path / "run" / BEST).exists()
    bundle = export_run(tmp_path / "run", tmp_path / "early", name="early")
    last = load_checkpoint(tmp_path / "run" / LAST)
    assert last["partial"]["windows"] == 2
    assert bundle.manifest.provenance["epoch"] == round(2 / last["partial"]["of"], 3)
    averaged = last["average"]
    weights = network_from_bundle(bundle).state_dict()["lstm.0.weight_hh_l0"]
    assert torch.equal(
        weights, last["model"]["lstm.0.weight_hh_l0"] if averaged is None else averaged["module.lstm.0.weight_hh_l0"]
    )

    done = train(config, small_corpus, tmp_path / "run", device="cpu", progress=False)
    assert (
        export_run(tmp_path / "run", tmp_path / "early", name="early").manifest.provenance["epoch"] == done.best.epoch
    )


@pytest.mark.slow
def test_an_unfinished_run_is_calibrated_when_it_is_exported(small_corpus: Path, tmp_path: Path) -> None:
    config = load_config("smoke", {"tokenizer.parameters.voices": "2", "training.calibrate": "true"})
    train(config, small_corpus, tmp_path / "run", device="cpu", progress=False)
    finished = export_run(tmp_path / "run", tmp_path / "a" / "same", name="same")
    checkpoint = load_checkpoint(tmp_path / "run" / BEST)
    factor = checkpoint.pop("sharpness")
    assert factor != 1.0
    for name in ("output.weight", "output.bias", "voices.output.weight", "voices.output.bias"):
        checkpoint["model"][name] = checkpoint["model"][name] / factor
    save_checkpoint(tmp_path / "run" / BEST, checkpoint)
    unfinished = export_run(tmp_path / "run", tmp_path / "b" / "same", name="same")
    for name, value in finished.metrics.items():
        assert unfinished.metrics[name] == pytest.approx(value, abs=1e-4)
