"""The results of evaluating partly given pieces, as a JSON file."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from report import Record
from training.evaluation.record import RESULTS, Ranking, Sampling
from training.evaluation.rewriting_tasks import Part

REWRITING_RESULTS: Final = RESULTS / "rewriting"
"""Folder of the shipped bundles' records: NAME.json."""


class Estimate(Record):
    """A figure over all pieces."""

    value: float
    low: float
    """Lower end of its 95 % bootstrap interval over pieces."""
    high: float


class Figures(Record):
    """Figures of finished pieces."""

    given_nats: Estimate
    """Nats a given token."""
    written_nats: Estimate
    """Nats a written token."""
    after_nats: Estimate | None
    """Nats a given token of the bar after the infilled ones; None if no bars are infilled."""
    faults: dict[str, Estimate]
    """Voice-leading faults per 100 steps. Notes out of range count only where they are written. Empty for one voice."""
    unchanged_share: float
    """Share of the given notes that the finished pieces contain."""


class RewrittenPieces(Record):
    """What the model wrote with one sampling, number of particles and ranking."""

    sampling: Sampling
    particles: int
    ranking: Ranking
    """Which particle counts."""
    no_parallels: bool = False
    """Whether parallel fifths and octaves were forbidden."""
    figures: Figures
    given_excess: Estimate
    """Nats a given token above those of the real pieces, compared piece by piece."""
    after_excess: Estimate | None
    """The same for the bar after the infilled ones."""


class PartResults(Record):
    """All results for one given part."""

    part: Part
    pieces: int
    given_tokens: int
    written_tokens: int
    real: Figures
    """The real pieces themselves."""
    rewritten: tuple[RewrittenPieces, ...]


class RewritingRecord(Record):
    """One bundle evaluated on partly given pieces of one corpus."""

    format_version: Literal[1] = 1
    date: str
    """UTC, ISO 8601."""
    model: str
    digest: str
    """sha256 of the bundle's manifest, in hex."""
    corpus: str
    split: str
    seed: int
    """Of the first piece; each further piece has the next one."""
    precision: str
    """Arithmetic with which the pieces were written. All nats are computed in float32."""
    parts: tuple[PartResults, ...]

    def has_rows(
        self, part: Part, sampling: Sampling, particles: int, rankings: Iterable[Ranking], *, no_parallels: bool = False
    ) -> bool:
        """Whether there are results of a part for these settings by each ranking."""
        found = {
            row.ranking
            for results in self.parts
            if results.part is part
            for row in results.rewritten
            if (row.sampling, row.particles, row.no_parallels) == (sampling, particles, no_parallels)
        }
        return found.issuperset(rankings)

    def merged_with(self, earlier: "RewritingRecord") -> "RewritingRecord":
        """This record with the rows of an earlier one that it lacks; itself if the two do not belong together."""
        same = ("model", "digest", "corpus", "split", "seed", "precision")
        if any(getattr(self, name) != getattr(earlier, name) for name in same):
            return self
        parts = {results.part: results for results in earlier.parts}
        for results in self.parts:
            if results.part in parts:
                rows = _merge_rows(results.rewritten, parts[results.part].rewritten)
                results = results.model_copy(update={"rewritten": rows})
            parts[results.part] = results
        return self.model_copy(update={"parts": tuple(parts[part] for part in Part if part in parts)})


def _merge_rows(rows: Sequence[RewrittenPieces], earlier: Sequence[RewrittenPieces]) -> tuple[RewrittenPieces, ...]:
    by_setting = {_setting(row): row for row in (*earlier, *rows)}
    return tuple(by_setting[setting] for setting in sorted(by_setting))


def _setting(row: RewrittenPieces) -> tuple[int | float, ...]:
    """What a row was written with; rows are in this order."""
    sampling, ranking = row.sampling, list(Ranking).index(row.ranking)
    return -sampling.temperature, sampling.top_k, -sampling.top_p, row.no_parallels, ranking, row.particles
