"""The requests that a crowd is drawn from, and what each of them writes when it is alone."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.options import Provider, WantedPrecision
from bench.runners import make_runner
from music.bundle import Bundle
from server.engine.completion import Completion
from server.engine.engine import Engine
from server.engine.request import EngineRequest, SamplingParams
from server.engine.runner import Runner

_SHORT: Final = (16, 64)
"""Tokens of most."""
_LONG: Final = (128, 512)
"""Tokens of some."""
_LONG_SHARE: Final = 0.02
_FORCED_SHARE: Final = 0.3
_PRIMED_SHARE: Final = 0.1
"""Of those with forced tokens, those with many."""
_STOPPED_SHARE: Final = 0.1
_ENDLESS_SHARE: Final = 0.1
_CUT_SHARE: Final = 0.1
"""Of those for which some other token is the end."""
_TEMPERATURES: Final = (0.5, 0.8, 0.9, 1.0, 1.3)
_TOP_KS: Final = (0, 0, 1, 3, 12)
_TOP_PS: Final = (1.0, 0.98, 0.92, 0.6)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a request wrote."""

    tokens: NDArray[np.int32]
    reason: str

    @classmethod
    def of(cls, completion: Completion) -> "Answer":
        """The part of a completion that must not depend on who else was there."""
        return cls(completion.tokens, completion.finish_reason.value)

    def same(self, other: "Answer") -> bool:
        """Whether the other is this, token for token."""
        return self.reason == other.reason and np.array_equal(self.tokens, other.tokens)


@dataclass(frozen=True, slots=True)
class Pool:
    """Distinct requests and what each writes alone."""

    requests: tuple[EngineRequest, ...]
    answers: tuple[Answer, ...]

    @property
    def sha256(self) -> str:
        """Of all answers, in hex: two machines that write the same have the same."""
        digest = hashlib.sha256()
        for answer in self.answers:
            digest.update(f"{answer.reason} {' '.join(map(str, answer.tokens.tolist()))}\n".encode())
        return digest.hexdigest()


def lone_runner(bundle: Bundle, provider: Provider, precision: WantedPrecision) -> Runner:
    """A runner for those who write alone, of one slot.

    Raises:
        FantasiaError: the provider or the precision does not run here.
    """
    return make_runner(bundle, slots=1, provider=provider, threads=1, precision=precision)


def make_pool(bundle: Bundle, runner: Runner, *, count: int, seed: int) -> Pool:
    """Plan distinct requests and have each of them written alone, one after the other, by an engine of one slot.

    Most are short. Lengths, seeds, clock rows, temperature, top-k, top-p, whether they may end, stop tokens and what
    is forced are mixed; forced tokens are the beginning of what an earlier request wrote from the same clock row.

    Args:
        bundle: whose requests they are.
        runner: of one slot; closed afterwards.
        count: how many.
        seed: of the plan.
    """
    dice = random.Random(seed)  # noqa: S311 -- a plan, no secret
    requests: list[EngineRequest] = []
    answers: list[Answer] = []
    engine = Engine(runner, queue_limit=0, name=bundle.name)
    try:
        engine.warm_up()
        engine.start()
        for number in range(count):
            request = _plan(bundle, dice, number, requests, answers)
            requests.append(request)
            answers.append(Answer.of(engine.submit(request).future.result()))
    finally:
        engine.stop()
    return Pool(tuple(requests), tuple(answers))


def answers_alone(bundle: Bundle, runner: Runner, requests: Sequence[EngineRequest]) -> list[Answer]:
    """What the same requests write alone with another runner, which is closed afterwards."""
    engine = Engine(runner, queue_limit=0, name=bundle.name)
    try:
        engine.start()
        return [Answer.of(engine.submit(request).future.result()) for request in requests]
    finally:
        engine.stop()


def _plan(
    bundle: Bundle, dice: random.Random, number: int, requests: Sequence[EngineRequest], answers: Sequence[Answer]
) -> EngineRequest:
    tokenizer = bundle.tokenizer
    length = dice.randint(*_LONG) if dice.random() < _LONG_SHARE or number == 0 else dice.randint(*_SHORT)
    clock_row = dice.choice(tokenizer.clock.beat_starts)
    forced: tuple[int, ...] = ()
    if requests and dice.random() < _FORCED_SHARE:
        clock_row, forced = _beginning(tokenizer.end_token, dice, requests, answers)
    stops = dice.random() < _STOPPED_SHARE
    # Any token but the end can be one to stop at; counted so that some stop and some do not.
    stop_token = dice.choice([token for token in range(tokenizer.vocabulary_size) if token != tokenizer.end_token])
    end_token, may_end = None if dice.random() < _ENDLESS_SHARE else tokenizer.end_token, dice.random() < 0.5
    if dice.random() < _CUT_SHARE and stop_token not in forced:
        end_token, may_end = stop_token, True  # few pieces end so soon by themselves
    return EngineRequest(
        seed=dice.getrandbits(64),
        max_tokens=max(length, len(forced) + dice.randint(1, _SHORT[0])),
        clock_row=clock_row,
        sampling=SamplingParams(dice.choice(_TEMPERATURES), dice.choice(_TOP_KS), dice.choice(_TOP_PS)),
        forced=forced,
        end_token=end_token,
        may_end=may_end,
        stop_token=stop_token if stops else None,
        stop_count=dice.randint(1, 4) if stops else 0,
    )


def _beginning(
    end_token: int, dice: random.Random, requests: Sequence[EngineRequest], answers: Sequence[Answer]
) -> tuple[int, tuple[int, ...]]:
    """Where an earlier request began, and how: a few tokens, or all of one that is long enough to be read at once."""
    primed = dice.random() < _PRIMED_SHARE
    sources = [index for index, answer in enumerate(answers) if not primed or len(answer.tokens) >= _LONG[0]]
    source = dice.choice(sources or range(len(requests)))
    told = [token for token in answers[source].tokens.tolist() if token != end_token]
    return requests[source].clock_row, tuple(told if primed else told[: dice.randint(0, _SHORT[1])])
