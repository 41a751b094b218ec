"""The study that a bundle's sampling defaults come from: temperature by top-p by top-k."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Final

import numpy as np

from music.bundle import Bundle
from server.engine.request import SamplingParams
from training.corpus import Corpus, Split
from training.judge import collapse
from training.judge.judgement import Sampling, Sweep, SweepPoint
from training.judge.reference import Reference
from training.judge.sampling import Sample, Sampler, prompts_like
from training.judge.voice_leading import FAULTS

TEMPERATURES: Final = collapse.TEMPERATURES
TOP_P: Final = (0.9, 0.95, 0.98, 1.0)
TOP_K: Final = (0, 5)
TOLERATED: Final = 0.01
"""Share of the samples that may get stuck, and that may recite, at the setting that is chosen."""
_LEAST_RATE: Final = 0.05
"""Faults per 100 steps below which rates are taken for it, so that rare ones make no ratios of nothing."""


def sweep(
    bundle: Bundle,
    corpus: Corpus,
    *,
    samples: int,
    seed: int = 0,
    threads: int = 0,
    progress: bool = False,
    temperatures: tuple[float, ...] = TEMPERATURES,
    top_ps: tuple[float, ...] = TOP_P,
    top_ks: tuple[int, ...] = TOP_K,
) -> Sweep:
    """Measure `samples` pieces at every point, against the validation pieces: the test pieces choose nothing.

    Every point has the same seeds and lengths, so that points differ by their parameters and not by luck.

    Raises:
        CorpusError: the training or the validation pieces have nothing to say in the bundle's tokens.
        EngineError: the model does not run.
    """
    reference = Reference(corpus, Split.VALID, bundle.tokenizer)
    prompts = prompts_like(reference.held_out, samples)
    sampler = Sampler(bundle, threads=threads, progress=progress)
    points = []
    for temperature, top_p, top_k in product(temperatures, top_ps, top_ks):
        parameters = SamplingParams(temperature, top_k, top_p)
        written = sampler.sample(prompts, [parameters] * samples, seed=seed)
        points.append(_point(reference, parameters, written))
    return Sweep(digest=bundle.digest, samples=samples, points=tuple(points), best=best(points).sampling)


def best(points: Sequence[SweepPoint]) -> SweepPoint:
    """The point of the least excess, among those at which hardly a sample gets stuck or recites if there are any."""
    sound = [point for point in points if max(point.collapse_share, point.copying_share) <= TOLERATED]
    return min(sound or points, key=lambda point: point.excess)


def _point(reference: Reference, parameters: SamplingParams, written: list[Sample]) -> SweepPoint:
    scores = [sample.score for sample in written]
    _, comparisons = reference.compare(scores, replicates=0)
    ratios = {name: comparison.ratio.value for name, comparison in comparisons.items()}
    rates: dict[str, float] = {}
    if reference.judges_voice_leading:
        counts = reference.faults(scores)
        rates = {fault: counts.rate(fault) for fault in FAULTS}
    times = [
        *ratios.values(),
        *(max(rate, _LEAST_RATE) / max(reference.real_rate(fault), _LEAST_RATE) for fault, rate in rates.items()),
    ]
    texture = reference.matches(scores)["texture"]
    return SweepPoint(
        sampling=Sampling(temperature=parameters.temperature, top_k=parameters.top_k, top_p=parameters.top_p),
        ratios=ratios,
        collapse_share=collapse.share_past(
            (reference.run_length.longest(sample.tokens) for sample in written), reference.run_bound
        ),
        copying_share=float(np.mean([match > reference.match_bounds["texture"] for match in texture])),
        faults=rates,
        excess=float(np.mean([max(math.log(value), 0.0) for value in times])),
    )
