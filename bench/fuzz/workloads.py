"""What the fuzzers send: one case for each index, from the seed and from earlier answers."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Literal

from google.protobuf.message import Message

from bench.fuzz.cases import METHODS, Case
from bench.fuzz.facts import ModelFacts
from bench.fuzz.faults import break_request, disturb
from bench.fuzz.memory import Memory
from bench.fuzz.midi_files import hostile_file
from bench.fuzz.mutation import mutated
from bench.fuzz.requests import random_evaluation, random_request
from fantasia.v1 import generation_pb2 as pb

Workload = Literal["requests", "midi", "cancels"]

_DELAYS_SECONDS: Final = (0.0, 0.001, 0.005, 0.02, 0.1, 0.4)
_MANY: Final = (1, 2, 8, 16, 32, 64)
"""Candidates of requests that are cancelled."""
_LONG_STEPS: Final = 128


class CaseSource:
    """Draws the cases of a workload.

    Args:
        workload: what to draw.
        seed: of all cases.
        models: of the server.
        files: MIDI files to mutate.
    """

    def __init__(
        self, workload: Workload, seed: int, models: Sequence[ModelFacts], files: Sequence[bytes] = ()
    ) -> None:
        self.memory = Memory()
        self._draw: Callable[[random.Random], Case] = {
            "requests": self._request_case,
            "midi": self._midi_case,
            "cancels": self._cancelled_case,
        }[workload]
        self._seed = seed
        self._models = models
        self._files = files

    def case(self, index: int) -> Case:
        """The case with this index. It is always the same, unless it uses an earlier answer."""
        return self._draw(random.Random(f"{self._seed} {index}"))

    def _request_case(self, rng: random.Random) -> Case:
        choice = rng.random()
        if choice < 0.06 and (case := self.memory.resumed(rng)):
            return case
        if choice < 0.08 and (case := self.memory.repeated(rng)):
            return case
        if choice < 0.70:
            return self._generation(rng)
        if choice < 0.80:
            return self._evaluation(rng)
        if choice < 0.83:
            return self._lookup(rng)
        case = self._evaluation(rng) if rng.random() < 0.2 else self._generation(rng)
        return replace(case, payload=mutated(rng, case.payload, self._files), broken=())

    def _generation(self, rng: random.Random) -> Case:
        request = random_request(rng, self._models)
        broken: tuple[str, ...] = ()
        choice = rng.random()
        if choice < 0.35:
            broken = break_request(rng, request, self._model(request))
        elif choice < 0.5:
            for _ in range(rng.choice((1, 1, 2, 5))):
                disturb(rng, request)
        return generation_case(rng, request, broken)

    def _evaluation(self, rng: random.Random) -> Case:
        request = random_evaluation(rng, self._models)
        broken: tuple[str, ...] = ()
        choice = rng.random()
        if choice < 0.1:
            del request.pieces[:]
            broken = ("pieces",)
        elif choice < 0.2:
            request.pieces.extend([request.pieces[0]] * 100)
            broken = ("pieces",)
        elif choice < 0.3:
            request.model = rng.choice(("", "none", "\0"))
            broken = ("model",) if request.model else ()
        elif choice < 0.5:
            disturb(rng, request)
        return _case("Evaluate", request, broken)

    def _lookup(self, rng: random.Random) -> Case:
        if rng.random() < 0.3:
            return _case("ListModels", pb.ListModelsRequest())
        name = rng.choice(("", *(model.name for model in self._models), "none", "x" * 9000))
        known = not name or name in {model.name for model in self._models}
        return _case("GetModel", pb.GetModelRequest(name=name), () if known else ("name",))

    def _midi_case(self, rng: random.Random) -> Case:
        """A mutated file that is continued, rewritten or evaluated."""
        data = hostile_file(rng, self._files)
        model = rng.choice(self._models)
        if rng.random() < 0.3:
            return _case("Evaluate", pb.EvaluateRequest(model=model.name, pieces=[pb.GivenPiece(midi=data)]))
        request = pb.GenerateRequest(model=model.name, given=pb.GivenPiece(midi=data), candidates=1)
        if rng.random() < 0.5:
            request.steps = rng.randint(1, 8)
        else:
            region = request.rewrite.add()
            if rng.random() < 0.7:
                region.ticks.start, region.ticks.end = 0, 480
            if rng.random() < 0.5:
                region.voices.append(rng.randrange(model.voices))
        return generation_case(rng, request)

    def _cancelled_case(self, rng: random.Random) -> Case:
        """A valid call that its caller ends at any time, or not at all."""
        choice = rng.random()
        if choice < 0.08:
            case = self._lookup(rng)
        elif choice < 0.25:
            case = _case("Evaluate", random_evaluation(rng, self._models))
        else:
            request = random_request(rng, self._models)
            if rng.random() < 0.4:
                request.steps = rng.randint(1, _LONG_STEPS)
            if rng.random() < 0.4:
                request.candidates = rng.choice(_MANY)
                request.ClearField("pieces")
                request.ClearField("candidate")
            case = generation_case(rng, request, stream_share=0.5)
        delay = rng.choice(_DELAYS_SECONDS) * rng.random()
        if METHODS[case.method].streams and rng.random() < 0.5:
            return replace(case, cancel_messages=rng.randint(1, 4))
        if rng.random() < 0.15:
            return replace(case, deadline_seconds=delay)
        return replace(case, cancel_seconds=delay)

    def _model(self, request: pb.GenerateRequest) -> ModelFacts:
        return next(
            model for model in self._models if model.name == request.model or (not request.model and model.is_default)
        )


def generation_case(
    rng: random.Random, request: pb.GenerateRequest, broken: Sequence[str] = (), *, stream_share: float = 0.2
) -> Case:
    """A call of `Generate` or `StreamGenerate` with a request."""
    if rng.random() >= stream_share:
        return _case("Generate", request, broken)
    stream = pb.StreamGenerateRequest(request=request, resume_tokens=rng.random() < 0.3)
    return _case("StreamGenerate", stream, [f"request.{path}" for path in broken])


def _case(method: str, message: Message, broken: Sequence[str] = ()) -> Case:
    return Case(method, message.SerializeToString(), tuple(broken))
