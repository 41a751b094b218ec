"""One bundle before the judge: likelihood, baselines, and what it writes beside what people wrote."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from music.bundle import Bundle
from music.tokenizers import Encoding, GridTokenizer, Tokenizer
from server.engine.request import SamplingParams
from training.corpus import Corpus, Split
from training.evaluation import ClockMode, Evaluation, evaluate_split
from training.judge import baselines, collapse
from training.judge.bootstrap import REPLICATES, rate
from training.judge.judgement import (
    BaselineRow,
    Collapse,
    CopyingRow,
    FaultRow,
    Judgement,
    Likelihood,
    RatioRow,
    Sampling,
)
from training.judge.reference import Reference
from training.judge.sampling import Sample, Sampler, defaults_of, prompts_like
from training.judge.voice_leading import FAULTS


def judge(
    bundle: Bundle,
    corpus: Corpus,
    split: Split,
    *,
    samples: int,
    seed: int = 0,
    threads: int = 0,
    progress: bool = False,
) -> Judgement:
    """Judge a bundle against one held-out side of a corpus.

    `samples` pieces are drawn at the bundle's own defaults, and as many again spread over the temperatures at which
    collapse is looked for. Their lengths, meters and pickups are those of the held-out pieces. The same arguments
    give the same judgement but for its date, on machines with the same instruction set.

    Raises:
        CorpusError: a side of the split has nothing to say in the bundle's tokens.
        EngineError: the model does not run.
    """
    reference = Reference(corpus, split, bundle.tokenizer)
    evaluation = evaluate_split(bundle, corpus, split, ClockMode.STATED, threads=threads)
    sampler = Sampler(bundle, threads=threads, progress=progress)
    prompts = prompts_like(reference.held_out, samples)
    defaults = defaults_of(bundle)
    written = sampler.sample(prompts, [defaults] * samples, seed=seed)
    temperatures = [collapse.TEMPERATURES[index % len(collapse.TEMPERATURES)] for index in range(samples)]
    heated = [SamplingParams(temperature, defaults.top_k, defaults.top_p) for temperature in temperatures]
    # Prompts in blocks, so that every temperature meets every length.
    blocks = prompts_like(reference.held_out, -(-samples // len(collapse.TEMPERATURES)))
    tried = sampler.sample(
        [blocks[index // len(collapse.TEMPERATURES)] for index in range(samples)], heated, seed=seed + samples
    )
    matched, ratios = _ratios(reference, written)
    return Judgement(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        model=bundle.name,
        digest=bundle.digest,
        tokenizer=bundle.tokenizer.name,
        corpus=corpus.source,
        pieces={side.name.lower(): corpus.count(side) for side in Split},
        split=split.name.lower(),
        likelihood=likelihood_of(evaluation),
        baselines=tuple(
            baseline_rows(
                bundle.tokenizer,
                [piece.encoding for piece in reference.training],
                [piece.encoding for piece in reference.held_out],
                evaluation,
            )
        ),
        sampling=Sampling(temperature=defaults.temperature, top_k=defaults.top_k, top_p=defaults.top_p),
        samples=samples,
        seed=seed,
        matched=matched,
        ratios=ratios,
        collapse=_collapse(reference, tried, temperatures),
        copying=_copying(reference, written),
        faults=_faults(reference, written),
        left_out=(*_remarks(bundle, corpus), *reference.left_out),
    )


def baseline_rows(
    tokenizer: Tokenizer, training: Sequence[Encoding], held_out: Sequence[Encoding], evaluation: Evaluation
) -> list[BaselineRow]:
    """What copying and n-grams make of the same held-out pieces."""
    tokens, note_steps = evaluation.tokens, evaluation.steps * evaluation.tokens_per_step

    def row(name: str, prediction: baselines.Prediction) -> BaselineRow:
        return BaselineRow(
            name=name,
            nats_per_note_step=None if prediction.nats is None else prediction.nats / note_steps,
            accuracy=prediction.correct / tokens,
            onset_accuracy=prediction.onsets_correct / evaluation.onsets if evaluation.onsets else None,
        )

    rows = []
    if isinstance(tokenizer, GridTokenizer):
        rows.append(row("copy the step before", baselines.copy_previous_step(tokenizer, held_out)))
        sounding = baselines.sounding_copy_accuracy(tokenizer, held_out)
        rows.append(
            BaselineRow(
                name="the same, struck again or held alike",
                nats_per_note_step=None,
                accuracy=sounding,
                onset_accuracy=None,
            )
        )
    rows.append(row(f"{baselines.ORDER}-gram, Witten-Bell", baselines.witten_bell(tokenizer, training, held_out)))
    return rows


def likelihood_of(evaluation: Evaluation) -> Likelihood:
    """An evaluation as a judgement records it."""
    return Likelihood(
        pieces=evaluation.pieces,
        steps=evaluation.steps,
        tokens=evaluation.tokens,
        onsets=evaluation.onsets,
        nats_per_note_step=evaluation.nats_per_note_step,
        accuracy=evaluation.accuracy,
        onset_accuracy=evaluation.onset_accuracy,
    )


def _ratios(reference: Reference, written: Sequence[Sample]) -> tuple[int, tuple[RatioRow, ...]]:
    matched, comparisons = reference.compare([sample.score for sample in written], replicates=REPLICATES)
    rows = tuple(
        RatioRow(
            feature=name,
            generated=comparison.generated,
            real=comparison.real,
            ratio=comparison.ratio.value,
            low=comparison.ratio.low,
            high=comparison.ratio.high,
        )
        for name, comparison in comparisons.items()
    )
    return matched, rows


def _collapse(reference: Reference, tried: Sequence[Sample], temperatures: Sequence[float]) -> Collapse:
    runs = np.array([reference.run_length.longest(sample.tokens) for sample in tried])
    heat = np.array(temperatures)
    present = sorted(set(temperatures))
    return Collapse(
        samples=len(runs),
        temperatures=tuple(present),
        bound=reference.run_bound,
        longest=int(runs.max()),
        share=collapse.share_past(runs, reference.run_bound),
        share_by_temperature=tuple(collapse.share_past(runs[heat == value], reference.run_bound) for value in present),
    )


def _copying(reference: Reference, written: Sequence[Sample]) -> tuple[CopyingRow, ...]:
    rows = []
    for view, matches in reference.matches([sample.score for sample in written]).items():
        real, limit = reference.real_matches[view], reference.match_bounds[view]
        rows.append(
            CopyingRow(
                view=view,
                bound=limit,
                real_median=float(np.median(real)),
                real_longest=max(real),
                median=float(np.median(matches)),
                longest=max(matches),
                share=float(np.mean([match > limit for match in matches])),
            )
        )
    return tuple(rows)


def _faults(reference: Reference, written: Sequence[Sample]) -> tuple[FaultRow, ...]:
    if not reference.judges_voice_leading:
        return ()
    counts = reference.faults([sample.score for sample in written])
    rows = []
    for fault in FAULTS:
        generated = rate(counts.by_fault[fault], counts.steps)
        rows.append(
            FaultRow(
                fault=fault,
                generated=generated.value,
                low=generated.low,
                high=generated.high,
                training=reference.training_faults.rate(fault),
                held_out=reference.held_out_faults.rate(fault),
                real=reference.real_rate(fault),
            )
        )
    return tuple(rows)


def _remarks(bundle: Bundle, corpus: Corpus) -> list[str]:
    made_from = bundle.manifest.provenance.get("corpus", {})
    pieces = {side.name.lower(): corpus.count(side) for side in Split}
    if isinstance(made_from, dict) and made_from.get("pieces", pieces) == pieces:
        return []
    return ["The corpus has not as many pieces as the one that the bundle was trained on: is it the same?"]
