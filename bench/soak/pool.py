"""A pool of mixed requests, each with the answer that it gets alone."""

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.options import Provider, WantedPrecision
from bench.soak.answers import Answer
from bench.soak.requests import (
    PieceRequest,
    ResumedRequest,
    SoakRequest,
    TokenRequest,
    draw_piece,
    draw_tokens,
    kinds_of,
)
from bench.systems import make_runner
from music.bundle import Bundle
from runtime.runner import Runner
from server.engine.completion import Completion
from server.engine.engine import Engine
from server.engine.listener import SequenceListener
from server.engine.request import MAX_CANDIDATES, EngineRequest
from server.engine.snapshot import Snapshot

_PIECE_SHARE: Final = 0.5
_RESUMED_SHARE: Final = 0.15


class TokenListener(SequenceListener):
    """Keeps the tokens that a request tells while it runs, and its snapshots."""

    def __init__(self) -> None:
        self.parts: list[NDArray[np.int32]] = []
        self.snapshots: list[Snapshot] = []

    def tokens(self, tokens: NDArray[np.int32], snapshot: Snapshot | None) -> None:
        """See `SequenceListener.tokens`."""
        self.parts.append(tokens)
        if snapshot is not None:
            self.snapshots.append(snapshot)

    @property
    def all_tokens(self) -> NDArray[np.int32]:
        """All tokens so far."""
        return np.concatenate(self.parts) if self.parts else np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class RequestPool:
    """Different requests, and the answer that each gets alone."""

    requests: tuple[SoakRequest, ...]
    answers: tuple[Answer, ...]
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    """Where each `ResumedRequest` begins, by its index."""

    @property
    def sha256(self) -> str:
        """Of the tokens of all answers, in hex: equal on two machines that give the same answers."""
        digest = hashlib.sha256()
        for answer in self.answers:
            digest.update(f"{answer.text}\n".encode())
        return digest.hexdigest()

    @property
    def kinds(self) -> dict[str, int]:
        """Number of requests of each kind. A request may be of several kinds."""
        return dict(sorted(Counter(kind for request in self.requests for kind in kinds_of(request)).items()))

    def engine_requests(self, bundle: Bundle) -> list[EngineRequest]:
        """All requests as the engine takes them."""
        found: list[EngineRequest] = []
        for index, request in enumerate(self.requests):
            found.append(_engine_request(request, bundle, found, self.snapshots.get(index)))
        return found

    def differences(self, answers: Sequence[Answer]) -> list[int]:
        """First token that differs, for each of these answers to the same requests that differs."""
        places = (ours.first_difference(theirs) for ours, theirs in zip(self.answers, answers, strict=True))
        return [place for place in places if place is not None]


def reference_runner(bundle: Bundle, provider: Provider, precision: WantedPrecision) -> Runner:
    """A runner for one request at a time, with a slot for each of its candidates.

    Raises:
        FantasiaError: the provider or the precision does not run here.
    """
    return make_runner(bundle, slots=MAX_CANDIDATES, provider=provider, threads=1, precision=precision)


def make_pool(bundle: Bundle, runner: Runner, *, count: int, seed: int) -> RequestPool:
    """Draw different requests, and write each of them alone, one after the other.

    Most are short. Half are pieces as calls ask for them; the others are in tokens, or continue an earlier request from
    half way, which must give the earlier answer.

    Args:
        bundle: whose requests they are.
        runner: see `reference_runner`; closed at the end.
        count: number of requests.
        seed: of the drawing.
    """
    generator = random.Random(seed)  # noqa: S311 - no secret
    requests: list[SoakRequest] = []
    engine_requests: list[EngineRequest] = []
    answers: list[Answer] = []
    snapshots: dict[int, Snapshot] = {}
    with _Alone(bundle, runner) as alone:
        for number in range(count):
            request = _draw(bundle, generator, number, requests, answers)
            snapshot = None
            if isinstance(request, ResumedRequest):
                snapshot = alone.snapshot(engine_requests[request.source], request.tokens)
                if snapshot is None:  # it ends too soon
                    request = draw_piece(bundle, generator)
                else:
                    snapshots[number] = snapshot
            requests.append(request)
            engine_requests.append(_engine_request(request, bundle, engine_requests, snapshot))
            # A continued request must give the answer of its source, so that is what it is compared with.
            if isinstance(request, ResumedRequest):
                answers.append(answers[request.source])
            else:
                answers.append(alone.answer(engine_requests[-1]))
    return RequestPool(tuple(requests), tuple(answers), snapshots)


def answer_alone(bundle: Bundle, runner: Runner, requests: Sequence[SoakRequest]) -> list[Answer]:
    """Answers to the same requests with another runner, one after the other; the runner is closed at the end."""
    engine_requests: list[EngineRequest] = []
    answers: list[Answer] = []
    with _Alone(bundle, runner) as alone:
        for request in requests:
            if isinstance(request, ResumedRequest):
                source = engine_requests[request.source]
                snapshot = alone.snapshot(source, request.tokens)
                # Without a snapshot, the answer on this machine is another one, which ends before the point.
                engine_requests.append(source if snapshot is None else request.engine_request(source, snapshot))
            else:
                engine_requests.append(_engine_request(request, bundle, engine_requests, None))
            answers.append(alone.answer(engine_requests[-1]))
    return answers


class _Alone:
    """An engine that runs one request at a time, while the context is open."""

    def __init__(self, bundle: Bundle, runner: Runner) -> None:
        self._engine = Engine(runner, queue_limit=0, name=bundle.name)

    def __enter__(self) -> "_Alone":
        self._engine.warm_up()
        self._engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.stop()

    def answer(self, request: EngineRequest) -> Answer:
        """The answer to a request."""
        return Answer.of(self._wait(request, None))

    def snapshot(self, request: EngineRequest, tokens: int) -> Snapshot | None:
        """The first snapshot with so many tokens at least, from which the request can be continued; None for none."""
        listener = TokenListener()
        self._wait(replace(request, snapshots=True), listener)
        for snapshot in listener.snapshots:
            if len(snapshot.tokens) >= tokens:
                try:
                    replace(request, resume=snapshot)
                except ValueError:  # it is complete
                    return None
                return snapshot
        return None

    def _wait(self, request: EngineRequest, listener: SequenceListener | None) -> "Future[Completion]":
        future = self._engine.submit(request, listener).future
        wait([future])
        return future


def _engine_request(
    request: SoakRequest, bundle: Bundle, earlier: Sequence[EngineRequest], snapshot: Snapshot | None
) -> EngineRequest:
    match request:
        case TokenRequest():
            return request.engine_request()
        case PieceRequest():
            return request.engine_request(bundle)
        case ResumedRequest():
            assert snapshot is not None
            return request.engine_request(earlier[request.source], snapshot)


def _draw(
    bundle: Bundle,
    generator: random.Random,
    number: int,
    requests: Sequence[SoakRequest],
    answers: Sequence[Answer],
) -> SoakRequest:
    choice = generator.random()
    if number and choice < _PIECE_SHARE:
        return draw_piece(bundle, generator)
    if choice > 1 - _RESUMED_SHARE:
        sources = [
            index
            for index, request in enumerate(requests)
            if not isinstance(request, ResumedRequest) and _is_single(request) and len(_tokens(answers[index])) > 1
        ]
        if sources:
            source = generator.choice(sources)
            return ResumedRequest(source=source, tokens=generator.randrange(1, len(_tokens(answers[source]))))
    earlier = [
        (request, _tokens(answer))
        for request, answer in zip(requests, answers, strict=True)
        if isinstance(request, TokenRequest)
    ]
    return draw_tokens(bundle, generator, number, earlier)


def _is_single(request: SoakRequest) -> bool:
    """Whether it has one candidate, which snapshots need."""
    return isinstance(request, TokenRequest) or not kinds_of(request) & {"candidates", "particles"}


def _tokens(answer: Answer) -> list[int]:
    """Tokens of the first candidate."""
    tokens: list[int] = answer.candidates[0].tokens.tolist() if answer.candidates else []
    return tokens
