import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from music.bundle import Bundle, load_bundle
from music.midi import read_midi
from training.__main__ import main
from training.bundle_targets import check_target
from training.errors import CardError
from training.evaluation.record import (
    Baseline,
    Endings,
    EvaluationRecord,
    FeatureRatio,
    FormShare,
    Likelihood,
    Memorisation,
    Repetition,
    Sampling,
    TwoSampleTest,
)
from training.model_card import CARD, MARK, CardSample, CardText, SampleRequest, card_files, load_card_text, render_card

SAMPLES = [
    CardSample(SampleRequest(seed=seed, bars=8, meter="3/4" if seed == 2 else None), "4/4", 8.0, 40)
    for seed in (1, 2, 3)
]


def evaluation(digest: str) -> EvaluationRecord:
    return EvaluationRecord(
        date="2026-01-01T00:00:00Z",
        model="small",
        digest=digest,
        tokenizer="grid",
        corpus="made up",
        pieces={"train": 5, "valid": 2, "test": 2},
        split="test",
        likelihood=Likelihood(
            pieces=2,
            steps=10,
            tokens=21,
            onsets=4,
            nats_per_note_step=1.0,
            accuracy=0.5,
            onset_accuracy=0.25,
            pitch_accuracy=0.5,
            nats_per_note=5.25,
            bits_per_second=7.5,
            bits_per_second_by_piece=(7.0, 8.0),
        ),
        baselines=(Baseline(name="8-gram", nats_per_note_step=0.7654, accuracy=0.8, onset_accuracy=0.3),),
        sampling=Sampling(temperature=0.9, top_k=0, top_p=0.95),
        samples=200,
        seed=0,
        pieces_per_set=2,
        ratios=(
            FeatureRatio(feature="interval", generated=0.2, training=0.1, ratio=2.0, low=1.0, high=3.0),
            FeatureRatio(feature="range", generated=0.9, training=0.2, ratio=4.5, low=4.0, high=5.0),
        ),
        repetition=Repetition(
            samples=10,
            temperatures=(0.7,),
            bound=20.0,
            longest=25,
            share_above=0.034,
            share_above_by_temperature=(0.034,),
        ),
        memorisation=(
            Memorisation(
                view="melody",
                bound=20.0,
                held_out_median=9,
                held_out_longest=22,
                median=8,
                longest=12,
                share_above=0.012,
            ),
        ),
        faults=(),
        form=(FormShare(measure="in_scale", generated=0.912, low=0.9, high=0.92, training=0.94, held_out=0.956),),
        two_sample=TwoSampleTest(pieces=20, training=(0.5, 0.52, 0.54), generated=(0.7, 0.72, 0.74)),
        endings=Endings(
            pieces=9, meters=("3/4",), by_bars={4: 0.81, 8: 0.93}, open_length=0.75, held_out=0.5, shorter=0.0
        ),
        remarks=(),
    )


def test_a_card_shows_the_manifest(small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    card = render_card(bundle, load_card_text("small"), SAMPLES)
    assert card.startswith(f"{MARK}\n\n# small\n")
    for section in ("The model", "Intended use", "Data", "Metrics", "Limits", "Samples"):
        assert f"\n## {section}\n" in card
    assert bundle.digest in card
    assert f"{bundle.network.parameters:,} parameters" in card
    assert re.search(r"\| train +\| +5 \|", card)
    assert re.search(rf"\| test +\| +{bundle.metrics['test_nats_per_note_step']:.3f} \|", card)
    assert "`.venv/bin/fantasia generate --model small --bars 8 --meter 3/4 --seed 2 -o 2.mid`" in card
    assert "samples/3.png" in card
    assert "Baselines" not in card


def test_a_card_shows_the_recorded_evaluation(small_bundle: Path) -> None:
    card = render_card(load_bundle(small_bundle), load_card_text("small"), SAMPLES, evaluation("0" * 64))
    assert re.search(r"\| 8-gram +\| +0.765 \| +80.0% \|", card)
    assert "1.2% have a longer match" in card.replace("\n", " ")
    assert "3.4% repeat one token for longer" in card.replace("\n", " ")
    assert "accuracy of 72.0%, and from real training pieces with 52.0%" in card
    assert "best major scale of their 8 bars: 91.2% (real pieces 95.6%)" in card
    assert "81% at 4 bars, 93% at 8 bars; of the model's own length 75%; real pieces 50%" in card
    assert "5.25 nats per note, and 7.5 bits per second" in card
    assert card.index("(4.5)") < card.index("(2.0)"), "the worst comes first"


def test_a_bundle_without_provenance_or_metrics_has_a_card(bundle: Bundle) -> None:
    card = render_card(bundle, load_card_text("quartet"), SAMPLES)
    assert "There are no metrics." in card
    assert "| training " not in card


@pytest.mark.parametrize(("name", "samples"), [("chorales", 3), ("folk", 3), ("piano", 12), ("default", 3)])
def test_the_text_for_shipped_bundles_is_complete(name: str, samples: int) -> None:
    text = load_card_text(name)
    assert len(text.samples) == samples
    assert all((text.licence, text.intended_use, text.data, *text.limits))


def test_the_command_of_a_sample_has_all_its_options() -> None:
    assert SampleRequest(seed=3, bars=8, meter="3/8", tempo_bpm=132).command("piano", "3.mid") == (
        ".venv/bin/fantasia generate --model piano --bars 8 --meter 3/8 --tempo 132 --seed 3 -o 3.mid"
    )


def test_text_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.toml"
    for text, match in (
        ("licence = 3", "licence: Input should be"),
        ("a =", "cannot be read"),
        ("b = 1", "b: unknown field"),
    ):
        path.write_text(text)
        with pytest.raises(CardError, match=match):
            load_card_text("x", path)
    with pytest.raises(CardError, match="cannot be read"):
        load_card_text("x", tmp_path / "gone.toml")
    with pytest.raises(ValueError, match="meter"):
        SampleRequest(seed=1, bars=2, meter="waltz")


@pytest.mark.slow
def test_the_command_writes_a_card_and_leaves_the_bundle_unchanged(small_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    path = tmp_path / "text.toml"
    text = CardText.model_validate(
        load_card_text("default").model_dump() | {"samples": [{"seed": s, "bars": 2} for s in (1, 2, 3)], "sound": True}
    )
    path.write_text(
        "\n".join(f"{key} = {json.dumps(value)}" for key, value in text.model_dump(exclude={"samples"}).items())
        + "\nsamples = ["
        + ", ".join(f"{{ seed = {request.seed}, bars = {request.bars} }}" for request in text.samples)
        + "]\n"
    )
    record = tmp_path / "record.json"
    evaluation(load_bundle(folder).digest).save(record)
    arguments = ["card", str(folder), "--text", str(path), "--evaluation", str(record)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert load_bundle(folder).digest == load_bundle(small_bundle).digest
    first = (folder / CARD).read_text()
    assert "8-gram" in first
    assert len(read_midi((folder / "samples" / "1.mid").read_bytes()).notes) > 0
    assert (folder / "samples" / "3.png").read_bytes().startswith(b"\x89PNG")
    assert "[sound](samples/2.ogg)" in first
    assert (folder / "samples" / "2.ogg").read_bytes().startswith(b"OggS")
    assert card_files(folder) == {CARD, "samples"}
    check_target(folder, "small")

    evaluation("1" * 64).save(record)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "is the evaluation of another bundle" in result.output
    assert (folder / CARD).read_text() == first

    (folder / CARD).write_text("# mine")
    result = CliRunner().invoke(main, ["card", str(folder)])
    assert result.exit_code == 1
    assert "was not written by this command" in result.output
