"""Evaluation in random batches gives the log-probabilities that each piece gets alone."""

import random
from typing import Final

import numpy as np

from bench.soak.pool import RequestPool
from music.bundle import Bundle
from runtime.scorer import Scorer

_PIECES: Final = 64
"""Pieces of the pool that are evaluated."""
_BATCHES: Final = 16
_MAX_BATCH: Final = 24


def evaluation_mismatches(
    bundle: Bundle, pool: RequestPool, seed: int, threads: int
) -> tuple[int, list[tuple[str, int]]]:
    """Evaluate pieces of the pool alone, and again in random batches.

    Args:
        bundle: whose pieces they are.
        pool: requests with their answers.
        seed: of the choice of pieces and batches.
        threads: of the scorer.

    Returns:
        The number of evaluations that were compared; request and first token of each that differs.
    """
    generator = random.Random(seed)  # noqa: S311 - no secret
    engine_requests = pool.engine_requests(bundle)
    written = [index for index, answer in enumerate(pool.answers) if answer.candidates]
    chosen = generator.sample(written, min(_PIECES, len(written)))
    pieces = {index: pool.answers[index].candidates[0].tokens for index in chosen}
    starts = {index: engine_requests[index].position_index for index in chosen}
    scorer = Scorer(bundle, threads=threads)
    alone = {index: scorer.log_probabilities([pieces[index]], [starts[index]])[0] for index in chosen}
    compared, wrong = 0, []
    for _ in range(_BATCHES):
        batch = generator.choices(chosen, k=generator.randint(1, _MAX_BATCH))
        found = scorer.log_probabilities([pieces[index] for index in batch], [starts[index] for index in batch])
        for index, log_probabilities in zip(batch, found, strict=True):
            compared += 1
            places = np.flatnonzero(log_probabilities != alone[index])
            if len(places):
                wrong.append((f"evaluation of {pool.requests[index]}", int(places[0])))
    return compared, wrong
