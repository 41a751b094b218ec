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
from music.errors import BundleFormatError
from music.midi import write_midi
from music.score import Meter, Note, Score
from server.engine.onnx_runner import OnnxRunner, OnnxScorer
from server.engine.runner import Chunk
from training import export as export_module
from training.__main__ import main
from training.batches import model_inputs
from training.card import MARK
from training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from training.config import load_config
from training.corpus import Corpus, Split
from training.decoded import DecodeScorer
from training.errors import CheckpointError, ConfigurationError, CorpusError, ExportError, StoppedError
from training.evaluation import ClockMode, evaluate_folder
from training.export import CHUNK_SIZES
from training.graphs import ARITHMETIC
from training.model import MusicLSTM
from training.restored import restored
from training.run import Run, export_bundle, export_run, train
from training.targets import check_target


def test_the_bundle_carries_graphs_curves_provenance_and_numbers(small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    graphs = {"score.onnx"}
    for precision in ("float32", "int8"):
        graphs |= {f"prefill_{precision}.onnx", *(f"decode_{precision}_{steps}.onnx" for steps in CHUNK_SIZES)}
    assert set(bundle.manifest.files) == {"weights.bin", "history.csv", "curves.png"} | graphs
    assert bundle.metrics.keys() == {
        "valid_nats_per_note_step", "valid_accuracy", "test_nats_per_note_step", "test_accuracy",
        "valid_nats_per_note_step_int8",
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
    pieces, starts = [*(e.tokens for e in encodings), cut], [*(e.clock_start for e in encodings), 0]
    read, written = (scorer.logits(pieces, starts) for scorer in (OnnxScorer(bundle), DecodeScorer(bundle, "float32")))
    for tokens, start, *ours in zip(pieces, starts, read, written, strict=True):
        inputs = (torch.from_numpy(array)[:, None] for array in model_inputs(tokens, start, run.tokenizer))
        with torch.inference_mode():
            theirs, _ = model(*inputs, model.zero_state(1))
        for logits in ours:
            np.testing.assert_allclose(logits, theirs[:, 0].numpy(), atol=1e-4, rtol=0)


def test_int8_says_nearly_what_float32_says(small_bundle: Path, small_run: Path) -> None:
    run, bundle = Run.load(small_run), load_bundle(small_bundle)
    encodings = [run.tokenizer.encode(piece.score) for piece in Corpus.load(run.corpus_path).pieces(Split.TEST)]
    pieces, starts = [e.tokens for e in encodings], [e.clock_start for e in encodings]
    exact, rough = (DecodeScorer(bundle, precision).logits(pieces, starts) for precision in ARITHMETIC)
    for ours, theirs in zip(exact, rough, strict=True):
        assert 0 < np.square(ours - theirs).mean() < 0.001 * np.square(ours).mean()


def test_a_bundle_is_replaced_and_anything_else_is_left_alone(
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


def test_a_card_goes_with_the_bundle_that_it_describes_and_other_pages_stay(small_bundle: Path, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("name", ["MyModel", "my model", "", "-x", "a" * 64, "../up"])
def test_a_name_that_no_model_can_have_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="a model cannot be called"):
        export_run(tmp_path / "there is no run here", tmp_path / "out", name=name)


def test_notes_and_chords_can_be_exported_and_sampled(small_corpus: Path, tmp_path: Path) -> None:
    """Its clock has a single row, which ONNX Runtime's shape inference looks into."""
    changes = {"network.layers": "1", "network.hidden": "16", "network.embedding": "8", "training.epochs": "1"}
    train(load_config("origin", changes), small_corpus, tmp_path / "run", device="cpu", progress=False)
    bundle = export_run(tmp_path / "run", tmp_path / "origin", name="origin")
    runner = OnnxRunner(bundle, slots=2, provider="cpu")
    runner.reset(1, bundle.tokenizer.clock.start(Meter(4, 4)))
    ones = np.ones(1, np.float32)
    tokens = runner.decode(
        Chunk(
            rows=np.array([1]),
            uniforms=np.linspace(0, 0.99, 16, dtype=np.float32)[None, :],
            forced=np.full((1, 16), -1, np.int64),
            temperature=ones,
            top_k=np.zeros(1, np.int64),
            top_p=ones,
            allowed=np.ones((1, runner.vocabulary), np.bool_),
        )
    )
    assert bundle.tokenizer.grammar.accepts(tokens[0])
    assert bundle.tokenizer.decode(tokens[0]).notes
    (tmp_path / "midi").mkdir()
    unknown = Score((Note(0, 240, 20), Note(0, 240, 21), Note(0, 240, 22)), 240)
    (tmp_path / "midi" / "unknown.mid").write_bytes(write_midi(unknown))
    with pytest.raises(CorpusError, match="nothing to charge"):
        evaluate_folder(bundle, tmp_path / "midi", ClockMode.STATED)


@pytest.mark.parametrize(
    "changes",
    [
        {"network.told": "[]", "network.relative": "false"},
        {"network.told": '["sounding", "before"]', "network.skip": "false"},
        {"network.told": '["sounding", "elapsed", "intervals"]', "network.relative": "false", "network.layers": "1"},
        {"tokenizer.parameters.voices": "1"},
    ],
)
def test_whatever_a_network_is_told_its_graphs_agree(
    small_corpus: Path, tmp_path: Path, changes: dict[str, str]
) -> None:
    """`export` refuses graphs that differ from PyTorch, or that draw what the grammar forbids."""
    settings = load_config("smoke", {"network.hidden": "8", "training.epochs": "1"} | changes)
    train(settings, small_corpus, tmp_path / "run", device="cpu", progress=False)
    bundle = export_run(tmp_path / "run", tmp_path / "told", name="told")
    voicing = bundle.tokenizer.voicing
    assert voicing is not None
    assert bundle.network.registers == (voicing.size if settings.network.told else 0)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("smoke", {"tokenizer.parameters.voices": "2"}),
        ("smoke", {"tokenizer.parameters.voices": "2", "network.told": "[]", "network.relative": "false"}),
        ("smoke", {"tokenizer.parameters.voices": "2", "network.told": '["sounding"]', "network.skip": "false"}),
        ("origin", {"network.layers": "1", "network.hidden": "16", "network.embedding": "8"}),
        ("piano", {"network.layers": "1", "network.hidden": "16", "network.embedding": "8"}),
    ],
)
def test_a_bundle_gives_its_network_back(
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
    inputs = [
        torch.from_numpy(array)[:, None]
        for array in model_inputs(encoding.tokens, encoding.clock_start, first.tokenizer)
    ]
    with torch.inference_mode():
        expected, _ = model.eval()(*inputs, model.zero_state(1))
        found, _ = restored(again)(*inputs, model.zero_state(1))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5, rtol=0)
    assert again.manifest.provenance["exported_from"] == first.digest
    assert again.manifest.provenance["epoch"] == first.manifest.provenance["epoch"]
    assert again.metrics == pytest.approx(first.metrics, abs=2e-5)
    assert (again.path / "history.csv").read_bytes() == (first.path / "history.csv").read_bytes()


def test_a_bundle_of_the_format_before_is_not_run_and_can_be_exported_anew(
    small_bundle: Path, small_corpus: Path, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    manifest = (old / "manifest.json").read_text()
    (old / "manifest.json").write_text(manifest.replace('"format_version": 3', '"format_version": 2'))
    with pytest.raises(BundleFormatError, match=r"of bundle format 2, and this version runs 3: write them anew with"):
        load_bundle(old)
    assert export_bundle(old, old, name="small", corpus_path=small_corpus).manifest.format_version == 3


def test_the_command_takes_a_bundle_in_the_runs_place(small_bundle: Path, small_corpus: Path, tmp_path: Path) -> None:
    arguments = ["export", str(small_bundle), "--out", str(tmp_path / "again")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "a bundle does not hold its corpus: give --corpus" in result.output
    result = CliRunner().invoke(main, [*arguments, "--corpus", str(small_corpus)])
    assert result.exit_code == 0, result.output
    assert load_bundle(tmp_path / "again").name == "again"


def test_a_bundle_that_does_not_say_how_it_was_made_gives_no_network(small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    manifest = bundle.manifest.model_copy(update={"provenance": {}})
    with pytest.raises(ExportError, match="does not say what its network was made from"):
        restored(Bundle(bundle.path, manifest, bundle.digest, bundle.tokenizer))
    manifest = bundle.manifest.model_copy(update={"provenance": {"config": {"network": {"layers": 0}}}})
    with pytest.raises(ConfigurationError, match=r"manifest\.json: provenance\.config: .*network\.layers"):
        restored(Bundle(bundle.path, manifest, bundle.digest, bundle.tokenizer))


def test_a_network_that_is_not_the_bundles_is_not_exported_for_it(
    small_bundle: Path, small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(bundle: Bundle) -> MusicLSTM:
        network = restored(bundle)
        with torch.no_grad():
            network.output.bias.add_(1e-3)
        return network

    monkeypatch.setattr("training.run.restored", wrong)
    with pytest.raises(ExportError, match="differ by"):
        export_bundle(small_bundle, tmp_path / "again", name="again", corpus_path=small_corpus)
    assert not (tmp_path / "again").exists()


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


@pytest.mark.parametrize("changes", [{}, {"training.average": "0.9", "training.calibrate": "true"}])
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
    weights = restored(bundle).state_dict()["lstm.0.weight_hh_l0"]
    assert torch.equal(
        weights, last["model"]["lstm.0.weight_hh_l0"] if averaged is None else averaged["module.lstm.0.weight_hh_l0"]
    )

    done = train(config, small_corpus, tmp_path / "run", device="cpu", progress=False)
    assert (
        export_run(tmp_path / "run", tmp_path / "early", name="early").manifest.provenance["epoch"] == done.best.epoch
    )


def test_a_run_between_its_epochs_is_exported_as_sharp_as_it_will_be(small_corpus: Path, tmp_path: Path) -> None:
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
