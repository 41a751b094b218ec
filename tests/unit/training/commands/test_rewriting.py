"""The options of `evaluate` for partly given pieces."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from training.__main__ import main
from training.evaluation.rewriting_record import RewritingRecord
from training.evaluation.rewriting_tables import REGION
from training.evaluation.rewriting_tasks import Part


def evaluate(bundle: Path, corpus: Path, *more: str) -> tuple[int, str]:
    arguments = ["evaluate", str(bundle), "--corpus", str(corpus), "--split", "test", "--threads", "1", *more]
    ended = CliRunner().invoke(main, arguments)
    assert "Traceback" not in ended.output
    return ended.exit_code, ended.output


@pytest.mark.slow
def test_rows_are_recorded_once(small_bundle: Path, small_corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    options = ("--record", str(path), "--skip-recorded")
    code, out = evaluate(small_bundle, small_corpus, "--rewrite", "infill", "--particles", "2", *options)
    assert code == 0
    assert "Two bars of all voices written" in out
    code, out = evaluate(small_bundle, small_corpus, "--rewrite", "all", "--particles", "2,1", *options)
    assert code == 0
    parts = RewritingRecord.load(path).parts
    assert [results.part for results in parts] == [Part.SOPRANO, Part.BASS, Part.INFILL]  # of two voices
    assert [row.particles for results in parts for row in results.rewritten] == [1, 2] * 3
    code, out = evaluate(small_bundle, small_corpus, "--rewrite", "all", "--particles", "1,2", *options)
    assert (code, out) == (0, f"small: already evaluated in {path}\n")
    colder = ("--temperature", "0.5", "--top-k", "3")
    code, out = evaluate(
        small_bundle, small_corpus, "--rewrite", "bass", "--particles", "1", *colder, "--json", *options
    )
    assert code == 0
    (row,) = json.loads(out)["parts"][0]["rewritten"]
    assert row["sampling"] == {"temperature": 0.5, "top_k": 3, "top_p": 1.0}
    assert len(RewritingRecord.load(path).parts[1].rewritten) == 3


def test_wrong_options_give_a_sentence(small_bundle: Path, small_corpus: Path) -> None:
    for options, words in (
        (["--particles", "4"], "--particles needs --rewrite"),
        (["--rank-by", "given"], "--rank-by needs --rewrite"),
        (["--top-k", "4"], "--top-k needs --rewrite"),
        (["--rewrite", "bass", "--samples", "4"], "--samples cannot be used with --rewrite"),
        (["--rewrite", "bass", "--gate"], "--gate cannot be used with --rewrite"),
        (["--rewrite", "bass", "--split", "train"], "--rewrite needs --corpus"),
        (["--rewrite", "bass", "--particles", "65"], "'65' are not numbers from 1 to 64"),
        (["--rewrite", "bass", "--particles", "1,x"], "'1,x' are not numbers from 1 to 64"),
        (["--rewrite", "bass", "--skip-recorded"], "--skip-recorded needs --record"),
        (["--rewrite", "tenor"], "'tenor' is not one of"),
    ):
        code, out = evaluate(small_bundle, small_corpus, *options)
        assert code == 2, out
        assert words in out


def test_the_page_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{REGION.begin}\n{REGION.end}\n")
    ended = CliRunner().invoke(main, ["harmonising", str(page)])
    assert ended.output == f"wrote {page}\n"
    assert "### chorales" in page.read_text()
