"""The judge on the little real bundle, through the engine that serves it."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from music.bundle import Bundle, load_bundle
from music.score import Score
from music.tokenizers import EventsTokenizer, GridTokenizer, NoteChordTokenizer
from server.engine.request import SamplingParams
from tests.unit.training.judge.scores import sweep as made_up_sweep
from training.__main__ import main
from training.corpus import CompactScore, Corpus, Split
from training.errors import CorpusError
from training.evaluation import ClockMode, evaluate_split
from training.judge.judge import judge
from training.judge.judgement import Judgement, load_judgement
from training.judge.onsets import onset_tokens
from training.judge.pieces import hear
from training.judge.reference import Reference
from training.judge.sampling import Sample, Sampler, defaults_of, prompts_like
from training.judge.sweep import best, sweep

SAMPLES = 6


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return load_bundle(small_bundle)


@pytest.fixture(scope="module")
def corpus(small_corpus: Path) -> Corpus:
    return Corpus.load(small_corpus)


@pytest.fixture(scope="module")
def judged(small: Bundle, corpus: Corpus) -> Judgement:
    return judge(small, corpus, Split.TEST, samples=SAMPLES, threads=1)


def test_samples_have_the_lengths_and_meters_of_the_held_out_pieces(small: Bundle, corpus: Corpus) -> None:
    held_out = hear(corpus, Split.TEST, small.tokenizer)
    prompts = prompts_like(held_out, 5)
    samples = Sampler(small, threads=1).sample(prompts, [defaults_of(small)] * 5, seed=1)
    for index, sample in enumerate(samples):
        like = held_out[index % len(held_out)]
        assert len(sample.tokens) == len(like.encoding.tokens) - 1
        assert small.tokenizer.end_token not in sample.tokens
        assert small.tokenizer.grammar.accepts(sample.tokens)
        assert (sample.score.meter, sample.score.pickup_ticks) == (like.score.meter, like.score.pickup_ticks)
        assert sample.score.length_ticks == like.score.length_ticks


def test_a_sample_depends_on_its_own_seed_and_parameters_alone(small: Bundle, corpus: Corpus) -> None:
    prompts = prompts_like(hear(corpus, Split.TEST, small.tokenizer), 4)
    cold, hot = SamplingParams(temperature=0.7), SamplingParams(temperature=1.2)
    together = Sampler(small, threads=1).sample(prompts, [cold, hot, cold, hot], seed=10)
    (alone,) = Sampler(small, threads=1).sample(prompts[2:3], [cold], seed=12)
    np.testing.assert_array_equal(together[2].tokens, alone.tokens)
    assert any((a.tokens != b.tokens).any() for a, b in zip(together[:1], together[2:3], strict=True))


def test_the_judgement_is_whole_and_comes_again(judged: Judgement, small: Bundle, corpus: Corpus) -> None:
    plain = evaluate_split(small, corpus, Split.TEST, ClockMode.STATED)
    assert judged.likelihood.nats_per_note_step == pytest.approx(plain.nats_per_note_step)
    assert judged.likelihood.onset_accuracy == plain.onset_accuracy
    assert [row.name for row in judged.baselines][-1] == "8-gram, Witten-Bell"
    assert len(judged.ratios) == 11
    assert all(row.low <= row.ratio <= row.high for row in judged.ratios)
    assert [row.view for row in judged.copying] == ["texture", "melody"]
    assert [row.fault for row in judged.faults] == ["parallel_fifths", "parallel_octaves", "crossings", "out_of_range"]
    assert judged.collapse.temperatures == (0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
    assert judged.matched == 2
    assert judged.left_out == ()
    again = judge(small, corpus, Split.TEST, samples=SAMPLES, threads=1)
    assert again.model_copy(update={"date": judged.date}) == judged


def judged_with(
    monkeypatch: pytest.MonkeyPatch, small: Bundle, corpus: Corpus, tokens: np.ndarray | None, score: Score
) -> Judgement:
    """The judgement of a bundle that always writes the same piece."""

    def sample(self: Sampler, prompts: list[object], sampling: object, *, seed: int) -> list[Sample]:
        return [Sample(small.tokenizer.encode(score).tokens[:-1] if tokens is None else tokens, score)] * len(prompts)

    monkeypatch.setattr(Sampler, "sample", sample)
    return judge(small, corpus, Split.TEST, samples=SAMPLES, threads=1)


def test_a_bundle_that_copies_is_caught(monkeypatch: pytest.MonkeyPatch, small: Bundle, corpus: Corpus) -> None:
    training = hear(corpus, Split.TRAIN, small.tokenizer)[0].score
    judgement = judged_with(monkeypatch, small, corpus, None, training)
    texture = judgement.copying[0]
    assert texture.longest == len({note.onset for note in training.notes})
    assert texture.bound < texture.longest
    assert texture.share == 1.0
    assert judgement.collapse.share == 0.0


def test_a_bundle_that_collapses_is_caught(
    monkeypatch: pytest.MonkeyPatch, small: Bundle, corpus: Corpus, judged: Judgement
) -> None:
    pitch, hold = 30, 3
    tokens = np.full(2 * 60, hold, np.int32)
    tokens[:2] = pitch
    judgement = judged_with(monkeypatch, small, corpus, tokens, small.tokenizer.decode(tokens))
    assert judgement.collapse.share == 1.0
    assert judgement.collapse.longest == 59
    by_name = {row.feature: row for row in judgement.ratios}
    assert by_name["note_length"].ratio > 3.0
    assert by_name["note_length"].ratio > {row.feature: row for row in judged.ratios}["note_length"].ratio
    assert by_name["range"].ratio > 3.0


def test_music_of_the_training_set_itself_is_no_farther_than_it_is(small: Bundle, corpus: Corpus) -> None:
    reference = Reference(corpus, Split.TEST, small.tokenizer)
    _, comparisons = reference.compare([piece.score for piece in reference.training], replicates=0)
    for name, comparison in comparisons.items():
        assert comparison.ratio.value == pytest.approx(1.0, abs=0.1), name


def test_one_voice_has_no_voice_leading(small_corpus: Path, tmp_path: Path) -> None:
    tokenizer = GridTokenizer(voices=1, lowest_pitch=36, highest_pitch=84)
    reference = Reference(Corpus.load(small_corpus), Split.TEST, tokenizer)
    assert not reference.judges_voice_leading
    assert list(reference.match_bounds) == ["texture"]
    assert [sentence.split()[0] for sentence in reference.left_out] == ["Copying", "Voice"]


def test_any_tokens_can_be_judged(corpus: Corpus) -> None:
    """Neither steps nor voices are taken for granted; what tokens say of the setting is told, not guessed."""
    scores = [piece.score for piece in corpus.pieces()]
    for cls, names in ((EventsTokenizer, ["texture", "melody"]), (NoteChordTokenizer, ["texture", "melody"])):
        tokenizer = cls.fit({}, scores)
        reference = Reference(corpus, Split.TEST, tokenizer)
        assert list(reference.match_bounds) == names
        assert not reference.judges_voice_leading
        assert reference.run_bound >= 1
        _, comparisons = reference.compare([piece.score for piece in reference.held_out], replicates=0)
        assert comparisons["interval"].generated == pytest.approx(0.0, abs=0.006)
        (prompt,) = prompts_like(reference.held_out, 1)
        like = reference.held_out[0]
        opening = tokenizer.opening(prompt.setting)
        np.testing.assert_array_equal(like.encoding.tokens[: len(opening)], opening)
        assert prompt.length_ticks == like.score.length_ticks
        assert tokenizer.token_count(prompt.length_ticks, prompt.setting) >= len(like.encoding.tokens) - 1
        assert like.score.meter is not None
        lead = like.score.meter.bar_ticks - like.score.pickup_ticks if like.score.pickup_ticks else 0
        bars = -(-(like.score.length_ticks + lead) // like.score.meter.bar_ticks)
        counted = tokenizer.bar_count(prompt.length_ticks, prompt.setting)
        assert counted == (bars if cls is EventsTokenizer else 0)
        notes = sum(len(piece.score.notes) for piece in reference.held_out)
        onsets = sum(int(onset_tokens(tokenizer)[piece.encoding.tokens].sum()) for piece in reference.held_out)
        assert onsets == (
            notes if cls is EventsTokenizer else sum(len(p.encoding.tokens) - 1 for p in reference.held_out)
        )


def test_a_sweep_chooses_on_validation_and_names_the_least_excess(small: Bundle, corpus: Corpus) -> None:
    study = sweep(small, corpus, samples=2, threads=1, temperatures=(0.7, 1.2), top_ps=(0.9, 1.0), top_ks=(0,))
    assert len(study.points) == 4
    assert len({point.sampling for point in study.points}) == 4
    assert study.best == best(study.points).sampling
    assert all(point.excess >= 0.0 for point in study.points)
    assert len({point.excess for point in study.points}) > 1


@pytest.mark.parametrize("fault", ["collapse_share", "copying_share"])
def test_what_gets_stuck_or_recites_is_not_chosen(fault: str) -> None:
    sound, least = made_up_sweep().points
    assert best([sound, least]) == least
    faulty = [point.model_copy(update={fault: 0.02}) for point in (sound, least)]
    assert best([sound, faulty[1]]) == sound
    assert best(faulty) == faulty[1], "where all are, the least excess counts"


GATE = ["evaluate", "{bundle}", "--corpus", "{corpus}", "--split", "test", "--gate", "--samples", "4", "--threads", "1"]


def gate(bundle: Path, corpus: Path, thresholds: Path, *more: str) -> tuple[int, str, str]:
    arguments = [part.format(bundle=bundle, corpus=corpus) for part in GATE]
    ended = CliRunner().invoke(main, [*arguments, "--thresholds", str(thresholds), *more])
    return ended.exit_code, ended.stdout, ended.stderr


def test_the_gate_passes_and_fails_with_sentences(small_bundle: Path, small_corpus: Path, tmp_path: Path) -> None:
    low = tmp_path / "low.toml"
    low.write_text("nats_per_note_step = 9\nratio = 1e6\ncollapse = 1\ncopying = 1\n[faults]\ncrossings = 1e3\n")
    record = tmp_path / "record.json"
    code, out, err = gate(small_bundle, small_corpus, low, "--record", str(record))
    assert (code, err) == (0, "gate: small passes\n")
    assert "Distance to held-out music" in out
    assert load_judgement(record).samples == 4

    studied = load_judgement(record).model_copy(update={"sweep": made_up_sweep()})
    studied.save(record)
    assert gate(small_bundle, small_corpus, low, "--record", str(record))[0] == 0
    assert load_judgement(record).sweep == studied.sweep  # a new judgement leaves the study where it is

    high = tmp_path / "high.toml"
    high.write_text("nats_per_note_step = 0.01\nleast_samples = 200\n")
    code, out, err = gate(small_bundle, small_corpus, high, "--json")
    assert code == 1
    failures = json.loads(out)["failures"]
    assert len(failures) == 2
    assert err.splitlines() == [f"gate: small: {failure}" for failure in failures]


def test_wrong_use_is_a_sentence(small_bundle: Path, small_corpus: Path, tmp_path: Path) -> None:
    bundle, corpus = str(small_bundle), str(small_corpus)
    bad = tmp_path / "bad.toml"
    bad.write_text("charm = 1")
    for arguments, words, code in (
        (["--midi", str(tmp_path), "--samples", "4"], "--samples needs --corpus", 2),
        (["--corpus", corpus, "--split", "train", "--gate"], "--samples needs --corpus", 2),
        (["--corpus", corpus, "--gate", "--samples", "0"], "--gate needs --samples above 0", 2),
        (["--corpus", corpus, "--record", str(tmp_path / "x")], "--record needs --samples above 0", 2),
        (["--corpus", corpus, "--samples", "4", "--clock", "hidden"], "--clock stated", 2),
        (["--corpus", corpus, "--samples", "4", "--thresholds", str(bad)], "--thresholds is for --gate", 2),
        (["--corpus", corpus, "--gate", "--thresholds", str(bad)], "charm: Extra inputs", 1),
    ):
        ended = CliRunner().invoke(main, ["evaluate", bundle, *arguments])
        assert ended.exit_code == code, ended.output
        assert words in ended.output
        assert "Traceback" not in ended.output


def test_a_corpus_without_a_held_out_side_is_a_sentence(small: Bundle) -> None:
    notes = CompactScore.of(Score((), 480))
    with pytest.raises(CorpusError, match="no train piece"):
        Reference(Corpus(["a"], np.array([2], np.uint8), [notes], "made up"), Split.TEST, small.tokenizer)
