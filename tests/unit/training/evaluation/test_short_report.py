from dataclasses import replace
from pathlib import Path

import pytest

from music.bundle import load_bundle
from training.corpus.store import Corpus, Split
from training.evaluation import short_report as short_report_module
from training.evaluation.sampling import Sample
from training.evaluation.short_report import ShortReport, short_report


def test_the_report_counts_copies_and_endings() -> None:
    report = ShortReport(16, (4, 9, 8, 12), (3, 8), 1.0, (True, False, True, True), (True, False))
    assert report.copying == 2
    header, copying, endings = report.lines("grid")
    assert header == "4 generated pieces of 16 bars, beside 2 held-out pieces:"
    assert "2 of 4 share a longer passage with a training piece than any held-out piece does" in copying
    assert copying.endswith("the longest has 12 onsets, of held-out pieces 8")
    assert endings.strip() == "endings: 3 of 4 close; of held-out pieces 1 of 2"


def test_the_report_says_what_is_not_measured() -> None:
    *_, copying, endings = ShortReport(16, (4,), (3,), 0.25, None, ()).lines("events")
    assert copying.endswith("(searched: 25% of the training notes)")
    assert "endings: not measured: it is not defined how a piece of events tokens closes" in endings


def test_a_copy_is_found(small_bundle: Path, small_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, corpus = load_bundle(small_bundle), Corpus.load(small_corpus)
    honest = short_report(bundle, corpus, Split.TEST, pieces=3)
    assert (len(honest.copied), len(honest.held_out_copied), honest.bars, honest.searched) == (3, 2, 16, 1)

    # The training pieces themselves, in place of what the model generates.
    pieces = [piece.score for piece in corpus.pieces(Split.TRAIN)]
    tokenizer = bundle.tokenizer
    copies = [tokenizer.decode(tokenizer.encode(score).tokens) for score in pieces[:3]]
    samples = [Sample(tokenizer.encode(score).tokens, score) for score in copies]
    monkeypatch.setattr(short_report_module, "sample_pieces", lambda *_, **__: samples)
    copied = short_report(bundle, corpus, Split.TEST, pieces=3)
    onsets = [len({note.onset for note in score.notes}) for score in copies]
    assert list(copied.copied) == onsets
    assert copied.held_out_copied == honest.held_out_copied

    # A piece whose end cuts a note does not close.
    monkeypatch.setattr(short_report_module, "ending_check", lambda _: lambda _: True)
    assert short_report(bundle, corpus, Split.TEST, pieces=3).closed == (True,) * 3
    cut = [replace(sample, cut_notes=1) for sample in samples]
    monkeypatch.setattr(short_report_module, "sample_pieces", lambda *_, **__: cut)
    assert short_report(bundle, corpus, Split.TEST, pieces=3).closed == (False,) * 3

    # Of a large corpus some pieces are searched.
    monkeypatch.setattr(short_report_module, "_MAX_TRAINING_NOTES", corpus.notes(Split.TRAIN) // 2)
    assert 0.2 < short_report(bundle, corpus, Split.TEST, pieces=3).searched <= 0.6
