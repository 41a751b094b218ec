"""Pieces out of a bundle, by the engine that serves it, many at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from music.bundle import Bundle
from music.score import Score
from music.tokenizers import Setting, Tokenizer
from server.engine.engine import Engine
from server.engine.onnx_runner import OnnxRunner
from server.engine.request import EngineRequest, SamplingParams
from training.judge.pieces import HeardPiece

_SLOTS: Final = 64


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a piece is asked for with: how long, in which meter, where in the bar it begins. Nothing of any music."""

    length_ticks: int
    clock_row: int
    setting: Setting


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A piece that a bundle wrote."""

    tokens: NDArray[np.int32]
    """(n,), no end token among them."""
    score: Score


def prompts_like(pieces: Sequence[HeardPiece], count: int) -> list[Prompt]:
    """`count` prompts with the lengths, meters and pickups of the pieces, over and over."""
    prompts = [Prompt(piece.score.length_ticks, piece.encoding.clock_start, piece.setting) for piece in pieces]
    return [prompts[index % len(prompts)] for index in range(count)]


class Sampler:
    """An engine of its own on a bundle; close it when done."""

    def __init__(self, bundle: Bundle, *, threads: int = 0, progress: bool = False) -> None:
        self._bundle = bundle
        self._threads = threads
        self._progress = progress

    def sample(self, prompts: Sequence[Prompt], sampling: Sequence[SamplingParams], *, seed: int) -> list[Sample]:
        """One piece for each prompt, drawn with the sampling parameters beside it.

        Piece i depends on its prompt, its parameters and `seed + i` alone. A piece may not end before its length:
        how it would end by itself is not judged here.

        Raises:
            EngineError: the model does not run.
        """
        tokenizer = self._bundle.tokenizer
        requests = [
            _request(tokenizer, prompt, parameters, seed + index)
            for index, (prompt, parameters) in enumerate(zip(prompts, sampling, strict=True))
        ]
        runner = OnnxRunner(self._bundle, slots=min(_SLOTS, len(requests)), provider="cpu", threads=self._threads)
        engine = Engine(runner, queue_limit=len(requests), name=self._bundle.name)
        try:
            engine.start()
            # The longest first: those that run together end together, and the last slots do not run alone.
            order = sorted(range(len(requests)), key=lambda index: -requests[index].max_tokens)
            tickets = {index: engine.submit(requests[index]) for index in order}
            tokens = {
                index: ticket.future.result().tokens
                for index, ticket in tqdm(
                    tickets.items(),
                    unit="piece",
                    desc="sampling",
                    disable=None if self._progress else True,
                    leave=False,
                )
            }
        finally:
            engine.stop()
        return [
            Sample(tokens[index], tokenizer.decode(tokens[index], prompt.setting).within(prompt.length_ticks))
            for index, prompt in enumerate(prompts)
        ]


def defaults_of(bundle: Bundle) -> SamplingParams:
    """How the bundle is sampled where a caller says nothing."""
    return SamplingParams(bundle.defaults.temperature, bundle.defaults.top_k, bundle.defaults.top_p)


def _request(tokenizer: Tokenizer, prompt: Prompt, sampling: SamplingParams, seed: int) -> EngineRequest:
    """What the engine is asked, as the service would ask it for a piece of this length."""
    return EngineRequest(
        seed=seed,
        max_tokens=tokenizer.token_count(prompt.length_ticks, prompt.setting),
        clock_row=prompt.clock_row,
        sampling=sampling,
        forced=tokenizer.opening(prompt.setting),
        end_token=tokenizer.end_token,
        may_end=False,
        stop_token=tokenizer.bar_token,
        stop_count=tokenizer.bar_count(prompt.length_ticks, prompt.setting),
    )
