"""What a request gives with the fake runner, written down as plainly as possible: one row, one step at a time."""

import math
from dataclasses import dataclass, field

import numpy as np

from music.composition.guide import SAMPLED, Cursor
from music.errors import NoTokenLeftError
from runtime.philox import resampling_uniform, uniforms
from runtime.runner import Chunk
from server.engine.completion import Completion, FinishReason
from server.engine.guided_rows import without_token
from server.engine.prefill_queue import prefill_tokens
from server.engine.request import EngineRequest
from tests.unit.server.engine.fake_runner import initial_state, log_probability_of, step_of

Written = tuple[int, int, list[int], list[float], list[bool], FinishReason]
"""Index, seed, tokens, log-probabilities (0 for NaN), forced flags, finish reason."""


@dataclass
class Row:
    index: int
    state: int
    cursor: Cursor | None
    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    weight: float = 0.0
    reason: FinishReason | None = None
    is_stuck: bool = False
    has_arrived: bool = False


def written(completion: Completion) -> list[Written]:
    """The same values of the engine's answer."""
    return [
        (
            each.index,
            each.seed,
            each.tokens.tolist(),
            np.nan_to_num(each.log_probabilities).tolist(),
            each.forced.tolist(),
            each.finish_reason,
        )
        for each in completion.candidates
    ]


def expected(request: EngineRequest, vocabulary: int) -> list[Written]:
    """What the engine must answer to a request without a snapshot; nothing if every row runs out of tokens."""
    rows = [
        Row(
            index,
            initial_state(request.position_index, request.remaining),
            request.guide.cursor() if request.guide else None,
        )
        for index in range(request.candidates)
    ]
    resamplings = 0
    while any(_can_run(row) for row in rows):
        for row in rows:
            while _can_run(row):
                _step(request, row, vocabulary)
        unfinished = [row for row in rows if row.reason is None]
        if not any(row.has_arrived for row in unfinished):
            break
        weights = _normalised([-math.inf if row.is_stuck else row.weight for row in unfinished])
        if 1 / sum(weight * weight for weight in weights) < len(weights) / 2:
            _resample(unfinished, weights, resampling_uniform(request.seed, resamplings))
            resamplings += 1
        for row in unfinished:
            row.has_arrived = False
    return [
        (
            row.index,
            request.random_stream(row.index)[0],
            row.tokens,
            row.log_probabilities,
            row.forced,
            row.reason,
        )
        for row in rows
        if row.reason is not None
    ]


def _can_run(row: Row) -> bool:
    return row.reason is None and not row.is_stuck and not row.has_arrived


def _step(request: EngineRequest, row: Row, vocabulary: int) -> None:
    step = len(row.tokens)
    forced, bias, resample = SAMPLED, request.bias(vocabulary), False
    if row.cursor is not None:
        assert request.guide is not None
        try:
            instructions = row.cursor.instructions(1)
        except NoTokenLeftError:
            row.is_stuck = True
            return
        forced, resample = int(instructions.forced[0]), instructions.resample
        biases = [*request.guide.biases, *instructions.extra]
        bias = without_token(biases[int(instructions.bias[0])], request.banned_token)
    elif step < len(request.forced):
        forced = request.forced[step]
    seed, stream = request.random_stream(row.index)
    streams = np.array([stream], np.uint32)
    chunk = Chunk(
        rows=np.array([0]),
        uniforms=uniforms(np.array([seed], np.uint64), np.array([step]), 1, streams),
        forced=np.array([[forced]]),
        temperature=np.array([request.sampling.temperature], np.float32),
        top_k=np.array([request.sampling.top_k]),
        top_p=np.array([request.sampling.top_p], np.float32),
        bias=bias[None],
        bias_index=np.array([[0]]),
    )
    token, row.state = step_of(chunk, 0, 0, row.state)
    log_probability = 0.0 if step < len(prefill_tokens(request)) else log_probability_of(row.state)
    row.tokens.append(token)
    row.log_probabilities.append(log_probability)
    row.forced.append(forced != SAMPLED)
    row.weight += log_probability * (forced != SAMPLED)
    if row.cursor is not None:
        row.cursor.advance(np.array([token]))
    row.reason = _reason(request, row)
    if row.reason is None and resample and request.has_particles:
        try:
            assert row.cursor is not None
            row.cursor.instructions(1)
            row.has_arrived = True
        except NoTokenLeftError:
            row.is_stuck = True


def _reason(request: EngineRequest, row: Row) -> FinishReason | None:
    stopped = request.stop_token is not None and row.tokens.count(request.stop_token) >= request.stop_count
    if row.tokens[-1] == request.end_token:
        return FinishReason.END
    if stopped or len(row.tokens) == request.max_tokens or (row.cursor is not None and row.cursor.complete):
        return FinishReason.LENGTH
    return None


def _normalised(log_weights: list[float]) -> list[float]:
    highest = max(log_weights)
    weights = [math.exp(weight - highest) for weight in log_weights]
    return [weight / sum(weights) for weight in weights]


def _resample(rows: list[Row], weights: list[float], uniform: float) -> None:
    counts = [0] * len(rows)
    place, cumulative = 0, weights[0]
    last = max(index for index, weight in enumerate(weights) if weight)
    for number in range(len(rows)):
        while place < last and cumulative <= (number + uniform) / len(rows):
            place += 1
            cumulative += weights[place]
        counts[place] += 1
    sources = [row for row, count in zip(rows, counts, strict=True) for _ in range(count - 1)]
    targets = [row for row, count in zip(rows, counts, strict=True) if not count]
    for source, target in zip(sources, targets, strict=True):
        assert source.cursor is not None
        target.state, target.cursor = source.state, source.cursor.copy()
        target.tokens, target.forced = list(source.tokens), list(source.forced)
        target.log_probabilities = list(source.log_probabilities)
        target.is_stuck = False
    for row in rows:
        row.weight = 0.0
