"""Samples pieces from a bundle with the serving engine, many at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from music.bundle import Bundle
from music.composition.plan import WritingPlan
from music.remaining_length import UNKNOWN
from music.score import Meter, Score, ScoreAttributes
from music.tokenizers import Tokenizer
from runtime.host_runner import HostRunner
from runtime.sampling import SamplingParams
from server.engine.completion import Candidate, Completion
from server.engine.engine import Engine
from server.engine.request import EngineRequest
from training.evaluation.pieces import TokenizedPiece
from training.evaluation.record import Ranking, Sampling

_SLOTS: Final = 64
_KEYS: Final[dict[Ranking, Callable[[Candidate], tuple[float, int]]]] = {
    Ranking.LIKELIHOOD: lambda candidate: (candidate.nats, candidate.index),
    Ranking.GIVEN: lambda candidate: (candidate.given_nats, candidate.index),
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """Length, meter and start in the bar of a piece to be generated. It holds no notes."""

    length_ticks: int
    """The length, or its maximum if `is_open`."""
    position_index: int
    attributes: ScoreAttributes
    is_open: bool = False
    """Whether the model chooses the length."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A generated piece."""

    tokens: NDArray[np.int32]
    """(n,), without the end token."""
    score: Score
    cut_notes: int = 0
    """Notes that would sound beyond the length of the prompt."""


def new_piece(bundle: Bundle, meter: Meter, length_ticks: int | None) -> Prompt:
    """What the service makes of a request for a new piece that names only its meter and length.

    Args:
        bundle: gives tempo, program and dynamics.
        meter: one of the tokenizer's.
        length_ticks: the length; None if the model chooses it, at most the bundle's maximum.
    """
    tokenizer, defaults = bundle.tokenizer, bundle.defaults
    attributes = ScoreAttributes(
        meter=meter,
        tempo_bpm=defaults.tempo_bpm,
        program=defaults.program,
        has_dynamics=tokenizer.has_dynamics(None),
    )
    length = bundle.max_steps * tokenizer.step_ticks if length_ticks is None else length_ticks
    return Prompt(length, tokenizer.positions.start(meter), attributes, is_open=length_ticks is None)


def prompts_like(pieces: Sequence[TokenizedPiece], count: int) -> list[Prompt]:
    """`count` prompts with the lengths, meters and pickups of the pieces, which are used in turn."""
    prompts = [Prompt(piece.score.length_ticks, piece.encoding.first_position, piece.attributes) for piece in pieces]
    return [prompts[index % len(prompts)] for index in range(count)]


def sample_pieces(
    bundle: Bundle,
    prompts: Sequence[Prompt],
    sampling: Sequence[Sampling],
    *,
    seed: int,
    threads: int = 0,
    progress: bool = False,
) -> list[Sample]:
    """Generate one piece for each prompt, with the sampling parameters at the same index.

    Piece i depends only on its prompt, its parameters and `seed + i`.

    Raises:
        EngineError: the model does not run.
    """
    tokenizer = bundle.tokenizer
    requests = [
        _request(tokenizer, prompt, parameters, seed + index)
        for index, (prompt, parameters) in enumerate(zip(prompts, sampling, strict=True))
    ]
    completions = _complete(bundle, requests, threads=threads, progress=progress)
    return [decode_sample(tokenizer, done.tokens, prompt) for done, prompt in zip(completions, prompts, strict=True)]


def write_plans(
    bundle: Bundle,
    plans: Sequence[WritingPlan],
    sampling: Sampling,
    *,
    candidates: int,
    rankings: Sequence[Ranking] = (Ranking.LIKELIHOOD,),
    seed: int,
    threads: int = 0,
    progress: bool = False,
) -> dict[Ranking, list[NDArray[np.int32]]]:
    """Write each plan as the service does, and return the tokens (n,) of its best candidate by each ranking.

    The candidates are particles where given tokens follow written ones. Piece i depends only on its plan, the sampling,
    the number of candidates and `seed + i`.

    Raises:
        EngineError: the model does not run.
    """
    requests = [
        _plan_request(bundle.tokenizer, plan, sampling, candidates, seed + index) for index, plan in enumerate(plans)
    ]
    completions = _complete(bundle, requests, threads=threads, progress=progress)
    return {
        ranking: [min(completion.candidates, key=_KEYS[ranking]).tokens for completion in completions]
        for ranking in rankings
    }


def defaults_of(bundle: Bundle) -> Sampling:
    """The bundle's default sampling parameters."""
    defaults = bundle.defaults
    return Sampling(temperature=defaults.temperature, top_k=defaults.top_k, top_p=defaults.top_p)


def _complete(bundle: Bundle, requests: Sequence[EngineRequest], *, threads: int, progress: bool) -> list[Completion]:
    """Run all requests, many at once."""
    rows = sum(request.candidates for request in requests)
    runner = HostRunner(bundle, slots=min(_SLOTS, rows), provider="cpu", threads=threads)
    engine = Engine(runner, queue_limit=rows, name=bundle.name)
    try:
        engine.start()
        # The longest first: pieces that run together then end together, and the last slots do not run alone.
        order = sorted(range(len(requests)), key=lambda index: -requests[index].max_tokens)
        handles = {index: engine.submit(requests[index]) for index in order}
        bar = tqdm(handles.items(), unit="piece", desc="sampling", disable=None if progress else True, leave=False)
        completions = {index: handle.future.result() for index, handle in bar}
    finally:
        engine.stop()
    return [completions[index] for index in range(len(requests))]


def decode_sample(tokenizer: Tokenizer, tokens: NDArray[np.int32], prompt: Prompt) -> Sample:
    """The sample with these tokens (n,), without the end token."""
    whole = tokenizer.decode(tokens, prompt.attributes)
    cut_notes = sum(note.end > prompt.length_ticks for note in whole.notes)
    return Sample(tokens, whole.truncated(prompt.length_ticks), cut_notes)


def _request(tokenizer: Tokenizer, prompt: Prompt, sampling: Sampling, seed: int) -> EngineRequest:
    """The request that the service would make for a piece of this length."""
    max_tokens = tokenizer.token_count(prompt.length_ticks, prompt.attributes)
    bars = tokenizer.bar_count(prompt.length_ticks, prompt.attributes)
    return EngineRequest(
        seed=seed,
        max_tokens=max_tokens,
        position_index=prompt.position_index,
        remaining=UNKNOWN if prompt.is_open else bars or max_tokens,
        sampling=SamplingParams(sampling.temperature, sampling.top_k, sampling.top_p),
        forced=tokenizer.header_tokens(prompt.attributes),
        end_token=tokenizer.end_token,
        may_end=prompt.is_open,
        stop_token=tokenizer.bar_token,
        stop_count=bars,
    )


def _plan_request(
    tokenizer: Tokenizer, plan: WritingPlan, sampling: Sampling, candidates: int, seed: int
) -> EngineRequest:
    """The request that the service would make for a plan."""
    return EngineRequest(
        seed=seed,
        max_tokens=plan.max_tokens,
        position_index=plan.position_index,
        remaining=plan.remaining,
        sampling=SamplingParams(sampling.temperature, sampling.top_k, sampling.top_p),
        forced=plan.primer,
        end_token=tokenizer.end_token,
        may_end=plan.may_end,
        stop_token=plan.stop_token,
        stop_count=plan.stop_count,
        guide=plan.guide,
        candidates=candidates,
        particles=plan.is_observed and candidates > 1,
    )
