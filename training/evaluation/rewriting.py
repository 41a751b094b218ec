"""Evaluates how a bundle writes partly given pieces: harmonising and infilling, with particles."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from music.bundle import Bundle
from runtime.precision import choose_precision
from runtime.scorer import open_scorer
from training.corpus.store import Corpus, Split
from training.evaluation import voice_leading
from training.evaluation.bootstrap import Interval, rate_per_100, ratio_of_sums
from training.evaluation.pieces import tokenize_split
from training.evaluation.record import Ranking, Sampling
from training.evaluation.rewriting_record import Estimate, Figures, PartResults, RewritingRecord, RewrittenPieces
from training.evaluation.rewriting_tasks import Part, RewritingTask, rewriting_tasks
from training.evaluation.sampling import write_plans
from training.evaluation.voice_leading import SILENT, VoiceRange
from training.loop.hardware import usable_threads

Tokens = NDArray[np.int32]


def evaluate_rewriting(
    bundle: Bundle,
    corpus: Corpus,
    split: Split,
    *,
    particles: Mapping[Part, Sequence[int]],
    sampling: Sampling,
    rankings: Sequence[Ranking] = (Ranking.GIVEN,),
    no_parallels: bool = False,
    seed: int = 0,
    threads: int = 0,
    progress: bool = False,
    on_result: Callable[[RewritingRecord], None] | None = None,
) -> RewritingRecord:
    """Give parts of the pieces of a split to the model, and measure the finished pieces.

    The best candidate of each piece counts. The same arguments give the same record except for its
    date, on machines with the same instruction set.

    Args:
        bundle: the model.
        corpus: of the pieces.
        split: of the pieces.
        particles: numbers of particles, 1 to 64 each, for each given part.
        sampling: how tokens are sampled.
        rankings: which candidate is the best one; a row for each.
        no_parallels: whether parallel fifths and octaves are forbidden.
        seed: of the first piece.
        threads: CPU threads; 0 for the number of usable cores.
        progress: show a bar.
        on_result: is told of the record so far, each time that it has a new row.

    Raises:
        CorpusError: the tokenizer does not keep voices apart, or no piece can be used.
        EngineError: the model does not run.
    """
    threads = threads or usable_threads()
    pieces = tokenize_split(corpus, split, bundle.tokenizer)
    tasks_by_part = {
        part: rewriting_tasks(bundle.tokenizer, pieces, part, no_parallels=no_parallels) for part in particles
    }
    measure = _Measure(bundle, corpus, threads=threads)
    results: list[PartResults] = []

    def record() -> RewritingRecord:
        return RewritingRecord(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            model=bundle.name,
            digest=bundle.digest,
            corpus=corpus.source,
            split=split.name.lower(),
            seed=seed,
            precision=choose_precision(bundle, "auto", cpu=True),
            parts=tuple(results),
        )

    for part, tasks in tasks_by_part.items():
        real = measure.pieces(tasks, [task.tokens for task in tasks])
        results.append(_part_results(part, tasks, real))
        plans = [task.plan for task in tasks]
        for count in particles[part]:
            written = write_plans(
                bundle,
                plans,
                sampling,
                candidates=count,
                rankings=rankings,
                seed=seed,
                threads=threads,
                progress=progress,
            )
            rows = [
                RewrittenPieces(
                    sampling=sampling,
                    particles=count,
                    ranking=ranking,
                    no_parallels=no_parallels,
                    **_compare(measure.pieces(tasks, tokens), real),
                )
                for ranking, tokens in written.items()
            ]
            results[-1] = results[-1].model_copy(update={"rewritten": (*results[-1].rewritten, *rows)})
            if on_result is not None:
                on_result(record())
    return record()


class _Pieces:
    """Sums of finished pieces, (pieces,) each."""

    def __init__(
        self,
        tasks: Sequence[RewritingTask],
        log_probabilities: Sequence[NDArray[np.float32]],
        faults: dict[str, NDArray[np.float64]],
        steps: NDArray[np.float64],
        unchanged: int,
    ) -> None:
        self.given, self.given_count = _sums(log_probabilities, [task.given for task in tasks])
        self.written, self.written_count = _sums(log_probabilities, [~task.given for task in tasks])
        self.after, self.after_count = _sums(log_probabilities, [task.after for task in tasks])
        self._faults = faults
        self._steps = steps
        self._unchanged_share = unchanged / sum(len(task.plan.kept) for task in tasks)

    def figures(self) -> Figures:
        """The figures of all pieces together."""
        return Figures(
            given_nats=_estimate(ratio_of_sums(self.given, self.given_count)),
            written_nats=_estimate(ratio_of_sums(self.written, self.written_count)),
            after_nats=_estimate(ratio_of_sums(self.after, self.after_count)) if self.after_count.any() else None,
            faults={name: _estimate(rate_per_100(counts, self._steps)) for name, counts in self._faults.items()},
            unchanged_share=self._unchanged_share,
        )


class _Measure:
    """Measures finished pieces with the scoring graph."""

    def __init__(self, bundle: Bundle, corpus: Corpus, *, threads: int) -> None:
        self._tokenizer = bundle.tokenizer
        self._voices = len(bundle.tokenizer.ranges)
        self._scorer = open_scorer(bundle, threads=threads)
        training = tokenize_split(corpus, Split.TRAIN, bundle.tokenizer)
        self._ranges = voice_leading.ranges([piece.score for piece in training], self._voices)

    def pieces(self, tasks: Sequence[RewritingTask], tokens: Sequence[Tokens]) -> _Pieces:
        """Measure the pieces that the tokens of each task make."""
        starts = [task.plan.position_index for task in tasks]
        log_probabilities = self._scorer.log_probabilities(tokens, starts)
        scores = [task.plan.score(ids) for task, ids in zip(tasks, tokens, strict=True)]
        unchanged = sum(len(set(task.plan.kept) & set(score.notes)) for task, score in zip(tasks, scores, strict=True))
        counts, steps = [], []
        for task, score in zip(tasks, scores, strict=True):
            grid = voice_leading.sonorities(score, self._voices, self._tokenizer.step_ticks)
            grid, written = _written_span(grid, task.written_cells)
            counts.append(_faults(grid, written, self._ranges) if self._voices > 1 else {})
            steps.append(len(grid))
        by_fault = {name: np.array([count[name] for count in counts], np.float64) for name in counts[0]}
        return _Pieces(tasks, log_probabilities, by_fault, np.array(steps, np.float64), unchanged)


def _written_span(grid: NDArray[np.int64], written: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Cut sonorities and written cells, (steps, voices) both, to the written steps with one more on each side."""
    steps = np.flatnonzero(written.any(axis=1))
    span = slice(max(int(steps[0]) - 1, 0), int(steps[-1]) + 2)
    return grid[span], written[span]


def _faults(grid: NDArray[np.int64], written: NDArray[np.bool_], ranges: Sequence[VoiceRange]) -> dict[str, int]:
    """The faults of sonorities (steps, voices); notes out of range count where they are written."""
    outside = voice_leading.faults(np.where(written, grid, SILENT), ranges)["out_of_range"]
    return voice_leading.faults(grid, ranges) | {"out_of_range": outside}


def _part_results(part: Part, tasks: Sequence[RewritingTask], real: _Pieces) -> PartResults:
    given = sum(int(task.given.sum()) for task in tasks)
    return PartResults(
        part=part,
        pieces=len(tasks),
        given_tokens=given,
        written_tokens=sum(len(task.given) for task in tasks) - given,
        real=real.figures(),
        rewritten=(),
    )


class _Compared(TypedDict):
    figures: Figures
    given_excess: Estimate
    after_excess: Estimate | None


def _compare(written: _Pieces, real: _Pieces) -> _Compared:
    """The figures of finished pieces, and how far they are above those of the real ones."""
    after = None
    if real.after_count.any():
        after = _estimate(ratio_of_sums(written.after - real.after, real.after_count))
    given = _estimate(ratio_of_sums(written.given - real.given, real.given_count))
    return _Compared(figures=written.figures(), given_excess=given, after_excess=after)


def _sums(
    log_probabilities: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nats of the tokens in each piece's mask, and their number, (pieces,) each."""
    pairs = zip(log_probabilities, masks, strict=True)
    nats = [-float(values[mask].sum(dtype=np.float64)) for values, mask in pairs]
    return np.array(nats), np.array([int(mask.sum()) for mask in masks], np.float64)


def _estimate(interval: Interval) -> Estimate:
    return Estimate(value=interval.value, low=interval.low, high=interval.high)
