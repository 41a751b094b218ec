"""The sweep from which a bundle's sampling defaults are chosen: temperature x top-p x top-k."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Final

import numpy as np

from music.bundle import Bundle
from training.corpus.store import Corpus, Split
from training.evaluation import repetition
from training.evaluation.record import Sampling, Sweep, SweepPoint
from training.evaluation.reference import Reference
from training.evaluation.sampling import Sample, prompts_like, sample_pieces
from training.evaluation.voice_leading import FAULTS

TEMPERATURES: Final = repetition.TEMPERATURES
TOP_P: Final = (0.9, 0.95, 0.98, 1.0)
TOP_K: Final = (0, 5)
MAX_SHARE: Final = 0.01
"""Share of the samples that may exceed the bound of repetition, and of memorisation, at the chosen point."""
_MIN_RATE: Final = 0.05
"""Lower rates of faults per 100 steps are rounded up to it, so that ratios of rare faults stay meaningful."""


def run_sweep(
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
    """Generate `samples` pieces at every point and compare them with the validation pieces.

    The test pieces have no influence. All points use the same seeds and lengths, so that only the parameters differ.

    Raises:
        CorpusError: the tokenizer has no token for any training or any validation piece.
        EngineError: the model does not run.
    """
    reference = Reference(corpus, Split.VALID, bundle.tokenizer)
    prompts = prompts_like(reference.held_out, samples)
    points = []
    for temperature, top_p, top_k in product(temperatures, top_ps, top_ks):
        parameters = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
        generated = sample_pieces(
            bundle, prompts, [parameters] * samples, seed=seed, threads=threads, progress=progress
        )
        points.append(_point(reference, parameters, generated))
    return Sweep(digest=bundle.digest, samples=samples, points=tuple(points), best=best_point(points).sampling)


def best_point(points: Sequence[SweepPoint]) -> SweepPoint:
    """The point of the lowest excess among those with at most `MAX_SHARE` repetition and memorisation.

    If there is no such point, the point of the lowest excess.
    """
    sound = [point for point in points if max(point.repetition_share, point.memorisation_share) <= MAX_SHARE]
    return min(sound or points, key=lambda point: point.excess)


def _point(reference: Reference, parameters: Sampling, generated: list[Sample]) -> SweepPoint:
    scores = [sample.score for sample in generated]
    _, comparisons = reference.compare(scores, replicates=0)
    ratios = {name: comparison.ratio.value for name, comparison in comparisons.items()}
    rates: dict[str, float] = {}
    if reference.has_voice_leading:
        counts = reference.faults(scores)
        rates = {fault: counts.rate(fault) for fault in FAULTS}
    factors = [
        *ratios.values(),
        *(max(rate, _MIN_RATE) / max(reference.real_rate(fault), _MIN_RATE) for fault, rate in rates.items()),
    ]
    texture = reference.matches(scores)["texture"]
    return SweepPoint(
        sampling=parameters,
        ratios=ratios,
        repetition_share=repetition.share_above(
            (reference.run_length.longest(sample.tokens) for sample in generated), reference.run_bound
        ),
        memorisation_share=float(np.mean([match > reference.match_bounds["texture"] for match in texture])),
        faults=rates,
        excess=float(np.mean([max(math.log(value), 0.0) for value in factors])),
    )
