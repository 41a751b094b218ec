"""The command that evaluates a bundle."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from music.bundle import load_bundle
from tests.unit.training.evaluation.scores import evaluation
from tests.unit.training.evaluation.scores import sweep as made_up_sweep
from training.__main__ import main
from training.evaluation.page import REGION, SUMMARY
from training.evaluation.record import EvaluationRecord

GATE = ["evaluate", "{bundle}", "--corpus", "{corpus}", "--split", "test", "--gate", "--samples", "4", "--threads", "1"]


def gate(bundle: Path, corpus: Path, thresholds: Path, *more: str) -> tuple[int, str, str]:
    arguments = [part.format(bundle=bundle, corpus=corpus) for part in GATE]
    ended = CliRunner().invoke(main, [*arguments, "--thresholds", str(thresholds), *more])
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.mark.slow
def test_the_gate_passes_and_fails_with_sentences(small_bundle: Path, small_corpus: Path, tmp_path: Path) -> None:
    low = tmp_path / "low.toml"
    low.write_text(
        "max_nats_per_note_step = 9\nmax_ratio = 1e6\nmax_repetition = 1\nmax_memorisation = 1\n"
        "[max_faults]\ncrossings = 1e3\n"
    )
    record = tmp_path / "record.json"
    code, out, err = gate(small_bundle, small_corpus, low, "--record", str(record))
    assert (code, err) == (0, "gate: small passes\n")
    assert "Distance to held-out music" in out
    assert EvaluationRecord.load(record).samples == 4

    with_sweep = EvaluationRecord.load(record).model_copy(update={"sweep": made_up_sweep()})
    with_sweep.save(record)
    assert gate(small_bundle, small_corpus, low, "--record", str(record))[0] == 0
    assert EvaluationRecord.load(record).sweep == with_sweep.sweep  # a new evaluation keeps the sweep

    high = tmp_path / "high.toml"
    high.write_text("max_nats_per_note_step = 0.01\nmin_samples = 200\n")
    code, out, err = gate(small_bundle, small_corpus, high, "--json")
    assert code == 1
    failures = json.loads(out)["failures"]
    assert len(failures) == 2
    assert err.splitlines() == [f"gate: small: {failure}" for failure in failures]


def test_wrong_options_give_a_sentence(small_bundle: Path, small_corpus: Path, tmp_path: Path) -> None:
    bundle, corpus = str(small_bundle), str(small_corpus)
    bad = tmp_path / "bad.toml"
    bad.write_text("charm = 1")
    for arguments, words, code in (
        (["--midi", str(tmp_path), "--samples", "4"], "--samples needs --corpus", 2),
        (["--corpus", corpus, "--split", "train", "--gate"], "--samples needs --corpus", 2),
        (["--corpus", corpus, "--samples", "4", "--skip-recorded"], "--skip-recorded needs --record", 2),
        (["--corpus", corpus, "--gate", "--samples", "0"], "--gate needs --samples above 0", 2),
        (["--corpus", corpus, "--record", str(tmp_path / "x")], "--record needs --samples above 0", 2),
        (["--corpus", corpus, "--samples", "4", "--meter", "beats"], "--meter given", 2),
        (["--corpus", corpus, "--samples", "4", "--thresholds", str(bad)], "--thresholds needs --gate", 2),
        (["--corpus", corpus, "--gate", "--thresholds", str(bad)], "charm: unknown field", 1),
    ):
        ended = CliRunner().invoke(main, ["evaluate", bundle, *arguments])
        assert ended.exit_code == code, ended.output
        assert words in ended.output
        assert "Traceback" not in ended.output


@pytest.mark.parametrize(
    ("recorded", "options", "skipped"),
    [
        ("this bundle with a sweep", ["--sweep"], True),
        ("this bundle", [], True),
        ("this bundle", ["--sweep"], False),
        ("another bundle", [], False),
        ("nothing", [], False),
    ],
)
def test_a_recorded_bundle_is_skipped(
    small_bundle: Path,
    small_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recorded: str,
    options: list[str],
    skipped: bool,
) -> None:
    class EvaluatedError(Exception):
        pass

    def evaluate_bundle(*_: object, **__: object) -> None:
        raise EvaluatedError

    monkeypatch.setattr("training.evaluation.evaluator.evaluate_bundle", evaluate_bundle)
    record = tmp_path / "record.json"
    if recorded != "nothing":
        digest = "0" * 64 if recorded == "another bundle" else load_bundle(small_bundle).digest
        evaluation(digest=digest, sweep=made_up_sweep() if "sweep" in recorded else None).save(record)
    arguments = ["--corpus", str(small_corpus), "--split", "test", "--samples", "4", *options]
    ended = CliRunner().invoke(
        main, ["evaluate", str(small_bundle), *arguments, "--record", str(record), "--skip-recorded"]
    )
    assert isinstance(ended.exception, EvaluatedError) == (not skipped)
    assert (ended.output == f"small: already evaluated in {record}\n") == skipped


def test_the_quality_command_writes_the_shipped_evaluations_into_a_page(tmp_path: Path) -> None:
    page = tmp_path / "quality.md"
    page.write_text(f"{SUMMARY.begin}\n{SUMMARY.end}\n{REGION.begin}\n{REGION.end}\n")
    ended = CliRunner().invoke(main, ["quality", str(page)])
    assert (ended.exit_code, ended.output) == (0, f"wrote {page} and its figures\n")
    assert "### chorales" in page.read_text()
    assert (tmp_path / "images" / "quality" / "chorales-ratios.png").is_file()
    ended = CliRunner().invoke(main, ["quality", str(tmp_path / "missing.md")])
    assert ended.exit_code == 1
    assert "missing.md cannot be read" in ended.output


WITHOUT_TRAINING_PACKAGES = """
import sys
sys.modules["torch"] = sys.modules["music21"] = None
from training.__main__ import main
main()
"""


@pytest.mark.slow
def test_likelihood_and_baselines_need_neither_torch_nor_music21(small_bundle: Path, small_corpus: Path) -> None:
    arguments = ["evaluate", str(small_bundle), "--corpus", str(small_corpus), "--split", "test"]
    result = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-c", WITHOUT_TRAINING_PACKAGES, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "nats per note-step" in result.stdout
