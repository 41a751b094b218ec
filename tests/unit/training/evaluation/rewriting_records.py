"""Made-up results of partly given pieces that the tests share."""

from collections.abc import Mapping, Sequence

from training.evaluation.record import Ranking, Sampling
from training.evaluation.rewriting_record import Estimate, Figures, PartResults, RewritingRecord, RewrittenPieces
from training.evaluation.rewriting_tasks import Part

SERVED = Sampling(temperature=0.8, top_k=5, top_p=1.0)
Setting = tuple[Sampling, int] | tuple[Sampling, int, Ranking]
Settings = Mapping[Part, Sequence[Setting]]


def rewriting(settings: Settings | None = None, *, given: float = 0.5) -> RewritingRecord:
    """A record with a row for each setting."""
    return RewritingRecord(
        date="2026-01-01T00:00:00+00:00",
        model="small",
        digest="d" * 64,
        corpus="made up",
        split="test",
        seed=0,
        precision="int8",
        parts=tuple(
            PartResults(
                part=part,
                pieces=2,
                given_tokens=10,
                written_tokens=30,
                real=_figures(part, 0.375),
                rewritten=tuple(
                    RewrittenPieces(
                        sampling=sampling,
                        particles=particles,
                        ranking=ranking,
                        figures=_figures(part, given),
                        given_excess=_estimate(given - 0.375),
                        after_excess=_estimate(0.02) if part is Part.INFILL else None,
                    )
                    for sampling, particles, ranking in ((*row, Ranking.LIKELIHOOD)[:3] for row in rows)
                ),
            )
            for part, rows in (settings or {Part.SOPRANO: [(SERVED, 4)]}).items()
        ),
    )


def _figures(part: Part, given: float) -> Figures:
    faults = {"parallel_fifths": 1.0, "parallel_octaves": 0.5, "crossings": 2.0, "out_of_range": 0.0}
    return Figures(
        given_nats=_estimate(given),
        written_nats=_estimate(0.36),
        after_nats=_estimate(0.4) if part is Part.INFILL else None,
        faults={name: _estimate(value) for name, value in faults.items()},
        unchanged_share=1.0,
    )


def _estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.01, high=value + 0.01)
