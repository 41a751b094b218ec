import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from music.bundle import Bundle, load_bundle
from music.midi import read_midi
from training.__main__ import main
from training.card import CARD, MARK, Prose, Sample, SampleRequest, card_files, load_prose, render_card
from training.errors import CardError
from training.judge.judgement import (
    BaselineRow,
    Collapse,
    CopyingRow,
    Judgement,
    Likelihood,
    RatioRow,
    Sampling,
)
from training.targets import check_target

SAMPLES = [
    Sample(SampleRequest(seed=seed, bars=8, meter="3/4" if seed == 2 else None), "4/4", 8.0, 40) for seed in (1, 2, 3)
]


def judgement(digest: str) -> Judgement:
    return Judgement(
        date="2026-01-01T00:00:00Z",
        model="small",
        digest=digest,
        tokenizer="grid",
        corpus="made up",
        pieces={"train": 5, "valid": 2, "test": 2},
        split="test",
        likelihood=Likelihood(
            pieces=2, steps=10, tokens=21, onsets=4, nats_per_note_step=1.0, accuracy=0.5, onset_accuracy=0.25
        ),
        baselines=(BaselineRow(name="8-gram", nats_per_note_step=0.7654, accuracy=0.8, onset_accuracy=0.3),),
        sampling=Sampling(temperature=0.9, top_k=0, top_p=0.95),
        samples=200,
        seed=0,
        matched=2,
        ratios=(
            RatioRow(feature="interval", generated=0.2, real=0.1, ratio=2.0, low=1.0, high=3.0),
            RatioRow(feature="range", generated=0.9, real=0.2, ratio=4.5, low=4.0, high=5.0),
        ),
        collapse=Collapse(
            samples=10, temperatures=(0.7,), bound=20.0, longest=25, share=0.034, share_by_temperature=(0.034,)
        ),
        copying=(
            CopyingRow(
                view="melody", bound=20.0, real_median=9, real_longest=22, median=8, longest=12, share=0.012
            ),
        ),
        faults=(),
        left_out=(),
    )  # fmt: skip


def test_a_card_says_what_the_manifest_knows(small_bundle: Path) -> None:
    bundle = load_bundle(small_bundle)
    card = render_card(bundle, load_prose("small"), SAMPLES)
    assert card.startswith(f"{MARK}\n\n# small\n")
    for section in ("The model", "Intended use", "Data", "Numbers", "Limits", "Samples"):
        assert f"\n## {section}\n" in card
    assert bundle.digest in card
    assert f"{bundle.network.parameters:,} parameters" in card
    assert "| train | 5 |" in card
    assert f"| test | {bundle.metrics['test_nats_per_note_step']:.3f} |" in card
    assert "`.venv/bin/fantasia generate --model small --bars 8 --meter 3/4 --seed 2 -o 2.mid`" in card
    assert "samples/3.png" in card
    assert "Baselines" not in card


def test_a_card_tells_what_the_judge_found(small_bundle: Path) -> None:
    card = render_card(load_bundle(small_bundle), load_prose("small"), SAMPLES, judgement("0" * 64))
    assert "| 8-gram | 0.765 | 80.0% |" in card
    assert "1.2% hold a longer match" in card.replace("\n", " ")
    assert "3.4% get stuck" in card.replace("\n", " ")
    assert card.index("(4.5)") < card.index("(2.0)"), "the worst comes first"


def test_a_bundle_without_provenance_or_numbers_has_a_card_too(bundle: Bundle) -> None:
    card = render_card(bundle, load_prose("quartet"), SAMPLES)
    assert "Nothing was measured." in card
    assert "| trained |" not in card


@pytest.mark.parametrize("name", ["chorales", "folk", "default"])
def test_the_words_for_shipped_bundles_are_whole(name: str) -> None:
    prose = load_prose(name)
    assert len(prose.samples) == 3
    assert all(text.strip() for text in (prose.licence, prose.intended_use, prose.data, *prose.limits))


def test_words_that_cannot_be_used_are_a_sentence(tmp_path: Path) -> None:
    words = tmp_path / "words.toml"
    for text, match in (("licence = 3", "licence: Input should be"), ("a =", "cannot be read"), ("b = 1", "b: Extra")):
        words.write_text(text)
        with pytest.raises(CardError, match=match):
            load_prose("x", words)
    with pytest.raises(CardError, match="cannot be read"):
        load_prose("x", tmp_path / "gone.toml")
    with pytest.raises(ValueError, match="meter"):
        SampleRequest(seed=1, bars=2, meter="waltz")


def test_the_command_writes_a_card_and_the_bundle_stays_what_it_was(small_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_bundle, tmp_path / "small"))
    words = tmp_path / "words.toml"
    prose = Prose.model_validate(
        load_prose("default").model_dump() | {"samples": [{"seed": s, "bars": 2} for s in (1, 2, 3)]}
    )
    words.write_text(
        "\n".join(f"{key} = {json.dumps(value)}" for key, value in prose.model_dump(exclude={"samples"}).items())
        + "\nsamples = ["
        + ", ".join(f"{{ seed = {request.seed}, bars = {request.bars} }}" for request in prose.samples)
        + "]\n"
    )
    record = tmp_path / "record.json"
    judgement(load_bundle(folder).digest).save(record)
    arguments = ["card", str(folder), "--words", str(words), "--judgement", str(record)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert load_bundle(folder).digest == load_bundle(small_bundle).digest
    first = (folder / CARD).read_text()
    assert "8-gram" in first
    assert len(read_midi((folder / "samples" / "1.mid").read_bytes()).notes) > 0
    assert (folder / "samples" / "3.png").read_bytes().startswith(b"\x89PNG")
    assert card_files(folder) == {CARD, "samples"}
    check_target(folder, "small")

    judgement("1" * 64).save(record)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "judges another bundle" in result.output
    assert (folder / CARD).read_text() == first

    (folder / CARD).write_text("# mine")
    result = CliRunner().invoke(main, ["card", str(folder)])
    assert result.exit_code == 1
    assert "was not written by this command" in result.output
