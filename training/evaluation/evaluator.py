"""Evaluates one bundle: likelihood, baselines, and generated music compared with real music."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from music.bundle import Bundle
from training.corpus.store import Corpus, Split
from training.evaluation import endings, repetition
from training.evaluation.baselines import evaluate_baselines, ngram_sample
from training.evaluation.bootstrap import REPLICATES, rate_per_100, ratio_of_sums
from training.evaluation.likelihood import MeterMode, evaluate_split
from training.evaluation.record import (
    EvaluationRecord,
    FaultRate,
    FeatureRatio,
    FormShare,
    Memorisation,
    Repetition,
)
from training.evaluation.reference import Reference, form_of
from training.evaluation.sampling import Sample, defaults_of, prompts_like, sample_pieces
from training.evaluation.voice_leading import FAULTS
from training.loop.hardware import usable_threads

_NOTHING = 1e-9
"""In place of 0 notes or bars: a share of nothing is 0."""


def evaluate_bundle(
    bundle: Bundle,
    corpus: Corpus,
    split: Split,
    *,
    samples: int,
    seed: int = 0,
    threads: int = 0,
    progress: bool = False,
) -> EvaluationRecord:
    """Evaluate a bundle on one held-out split of a corpus.

    `samples` pieces are generated with the bundle's default sampling parameters, and as many again spread over the
    temperatures at which repetition is measured; both have the lengths, meters and pickups of the held-out pieces.
    The same arguments give the same record except for its date, on machines with the same instruction set.

    Raises:
        CorpusError: the bundle's tokenizer has no token for any piece of a split.
        EngineError: the model does not run.
    """
    reference = Reference(corpus, split, bundle.tokenizer)
    counted = ngram_sample([piece.encoding for piece in reference.training])
    likelihood = evaluate_split(bundle, corpus, split, MeterMode.GIVEN, threads=threads)
    defaults = defaults_of(bundle)
    generated = sample_pieces(
        bundle,
        prompts_like(reference.held_out, samples),
        [defaults] * samples,
        seed=seed,
        threads=threads,
        progress=progress,
    )
    # Each prompt is used with every temperature, so that all temperatures have the same lengths.
    count = len(repetition.TEMPERATURES)
    temperatures = [repetition.TEMPERATURES[index % count] for index in range(samples)]
    prompts = prompts_like(reference.held_out, -(-samples // count))
    by_temperature = sample_pieces(
        bundle,
        [prompts[index // count] for index in range(samples)],
        [defaults.model_copy(update={"temperature": temperature}) for temperature in temperatures],
        seed=seed + samples,
        threads=threads,
        progress=progress,
    )
    pieces_per_set, ratios = _ratios(reference, generated)
    return EvaluationRecord(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        model=bundle.name,
        digest=bundle.digest,
        tokenizer=bundle.tokenizer.name,
        corpus=corpus.source,
        pieces={side.name.lower(): corpus.count(side) for side in Split},
        split=split.name.lower(),
        likelihood=likelihood.as_record(),
        baselines=tuple(
            evaluate_baselines(
                bundle.tokenizer,
                counted,
                [piece.encoding for piece in reference.held_out],
                likelihood,
            )
        ),
        sampling=defaults,
        samples=samples,
        seed=seed,
        pieces_per_set=pieces_per_set,
        ratios=ratios,
        repetition=_repetition(reference, by_temperature, temperatures),
        memorisation=_memorisation(reference, generated),
        faults=_faults(reference, generated),
        form=_form(reference, generated),
        two_sample=reference.two_sample_test(
            [sample.score for sample in generated], threads=threads or usable_threads()
        ),
        endings=endings.measure_endings(
            bundle,
            [piece.score for piece in reference.held_out],
            pieces=min(endings.PIECES, samples),
            seed=seed + 2 * samples,
            threads=threads,
            progress=progress,
        ),
        remarks=(
            *_corpus_remarks(bundle, corpus),
            *reference.remarks,
            *_ngram_remarks(len(counted), len(reference.training)),
        ),
    )


def _ngram_remarks(counted: int, training: int) -> list[str]:
    if counted == training:
        return []
    return [f"The n-gram has counted {counted} of the {training} training pieces, evenly chosen."]


def _ratios(reference: Reference, generated: Sequence[Sample]) -> tuple[int, tuple[FeatureRatio, ...]]:
    pieces_per_set, comparisons = reference.compare([sample.score for sample in generated], replicates=REPLICATES)
    rows = tuple(
        FeatureRatio(
            feature=name,
            generated=comparison.generated,
            training=comparison.training,
            ratio=comparison.ratio.value,
            low=comparison.ratio.low,
            high=comparison.ratio.high,
        )
        for name, comparison in comparisons.items()
    )
    return pieces_per_set, rows


def _repetition(reference: Reference, generated: Sequence[Sample], temperatures: Sequence[float]) -> Repetition:
    runs = np.array([reference.run_length.longest(sample.tokens) for sample in generated])
    by_piece = np.array(temperatures)
    present = sorted(set(temperatures))
    return Repetition(
        samples=len(runs),
        temperatures=tuple(present),
        bound=reference.run_bound,
        longest=int(runs.max()),
        share_above=repetition.share_above(runs, reference.run_bound),
        share_above_by_temperature=tuple(
            repetition.share_above(runs[by_piece == value], reference.run_bound) for value in present
        ),
    )


def _memorisation(reference: Reference, generated: Sequence[Sample]) -> tuple[Memorisation, ...]:
    rows = []
    for view, matches in reference.matches([sample.score for sample in generated]).items():
        held_out, bound = reference.held_out_matches[view], reference.match_bounds[view]
        rows.append(
            Memorisation(
                view=view,
                bound=bound,
                held_out_median=float(np.median(held_out)),
                held_out_longest=max(held_out),
                median=float(np.median(matches)),
                longest=max(matches),
                share_above=float(np.mean([match > bound for match in matches])),
            )
        )
    return tuple(rows)


def _faults(reference: Reference, generated: Sequence[Sample]) -> tuple[FaultRate, ...]:
    if not reference.has_voice_leading:
        return ()
    counts = reference.faults([sample.score for sample in generated])
    rows = []
    for fault in FAULTS:
        rate = rate_per_100(counts.by_fault[fault], counts.steps)
        rows.append(
            FaultRate(
                fault=fault,
                generated=rate.value,
                low=rate.low,
                high=rate.high,
                training=reference.training_faults.rate(fault),
                held_out=reference.held_out_faults.rate(fault),
                real=reference.real_rate(fault),
            )
        )
    return tuple(rows)


def _form(reference: Reference, generated: Sequence[Sample]) -> tuple[FormShare, ...]:
    rows = []
    for measure, counts in form_of([sample.score for sample in generated]).items():
        share = ratio_of_sums(counts.found, np.maximum(counts.total, _NOTHING))
        rows.append(
            FormShare(
                measure=measure,
                generated=share.value,
                low=share.low,
                high=share.high,
                training=reference.training_form[measure].share,
                held_out=reference.held_out_form[measure].share,
            )
        )
    return tuple(rows)


def _corpus_remarks(bundle: Bundle, corpus: Corpus) -> list[str]:
    trained_on = bundle.manifest.provenance.get("corpus", {})
    pieces = {side.name.lower(): corpus.count(side) for side in Split}
    if isinstance(trained_on, dict) and trained_on.get("pieces", pieces) == pieces:
        return []
    return ["The corpus has a different number of pieces than the one that the bundle was trained on. Is it the same?"]
