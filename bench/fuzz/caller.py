"""Sends cases to a server and checks the answers: one client process of a fuzzer."""

import asyncio
import base64
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import grpc

from bench.fuzz.cases import METHODS, Case, generate_request
from bench.fuzz.facts import ModelFacts
from bench.fuzz.memory import same_piece
from bench.fuzz.midi_files import seeds
from bench.fuzz.oracle import answer_problems, evaluation_problems
from bench.fuzz.record import CallCount, Fault, FuzzRecord, some_of_each_kind
from bench.fuzz.statuses import DETAILS_KEY, refusal_problems
from bench.fuzz.stream_check import StreamCheck
from bench.fuzz.workloads import CaseSource, Workload
from fantasia.v1 import generation_pb2 as pb

HANG_SECONDS: Final = 180.0
"""A call without an answer after this time hangs."""
MAX_REQUEST_BYTES: Final = 1 << 20
"""The server's maximum; larger requests are refused unread."""
_CONNECTIONS: Final = 2
_MAX_PAYLOAD: Final = 64 << 10
_OPTIONS: Final = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
_HANG: Final = "HANG"
_NO_CHECK: Final = "NO_CHECK"


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a workload that one process sends at a time."""

    address: str
    workload: Workload
    seed: int
    first: int
    """Index of the first case."""
    count: int
    tasks: int
    """Calls at a time."""
    models: Path
    """Folder of the bundles, whose samples are mutated."""


@dataclass(slots=True)
class Tally:
    """What one or several slices found."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Calls by method and code."""
    checked: int = 0
    """Answers that were compared with their requests."""
    compared: int = 0
    """Answers that were compared with an equal piece."""
    ended: int = 0
    """Calls that the caller ended before their answer."""
    max_seconds: float = 0.0
    """Of a call."""
    fault_count: int = 0
    faults: list[Fault] = field(default_factory=list)
    """The first of them."""

    @classmethod
    def of(cls, record: FuzzRecord) -> Self:
        """What is counted in a record, which does not say how many calls the caller ended."""
        return cls(
            counts=Counter({(each.method, each.code): each.calls for each in record.calls}),
            checked=record.checked,
            compared=record.compared,
            max_seconds=record.max_call_seconds,
            fault_count=record.fault_count,
            faults=list(record.faults),
        )

    def add(self, other: "Tally") -> None:
        """Add what others found."""
        self.counts += other.counts
        self.checked += other.checked
        self.compared += other.compared
        self.ended += other.ended
        self.max_seconds = max(self.max_seconds, other.max_seconds)
        self.fault_count += other.fault_count
        self.faults = some_of_each_kind(self.faults + other.faults)

    @property
    def calls(self) -> int:
        """Number of calls."""
        return sum(self.counts.values())

    @property
    def call_counts(self) -> tuple[CallCount, ...]:
        """Calls by method and code."""
        return tuple(
            CallCount(method=method, code=code, calls=calls) for (method, code), calls in sorted(self.counts.items())
        )


def run_slice(part: Slice) -> Tally:
    """Send the cases of a slice over new connections."""
    return asyncio.run(_run_slice(part))


async def _run_slice(part: Slice) -> Tally:
    channels = [grpc.aio.insecure_channel(part.address, options=_OPTIONS) for _ in range(_CONNECTIONS)]
    try:
        callers = [await Caller.connect(channel) for channel in channels]
        source = CaseSource(part.workload, part.seed, callers[0].models, seeds(part.models))
        indices = iter(range(part.first, part.first + part.count))
        tally = Tally()
        async with asyncio.TaskGroup() as group:
            for number in range(part.tasks):
                group.create_task(_send(callers[number % _CONNECTIONS], source, indices, tally))
        return tally
    finally:
        for channel in channels:
            await channel.close()


async def _send(caller: "Caller", source: CaseSource, indices: Iterator[int], tally: Tally) -> None:
    for index in indices:
        case = source.case(index)
        began = time.monotonic()
        outcome = await caller.call(case)
        tally.max_seconds = max(tally.max_seconds, time.monotonic() - began)
        tally.counts[case.method, outcome.code] += 1
        tally.checked += outcome.checked
        tally.compared += outcome.compared
        tally.ended += outcome.code == grpc.StatusCode.CANCELLED.name
        if outcome.answer is not None and not case.is_cancelled:
            request = generate_request(case.method, case.message)
            assert request is not None
            source.memory.keep(request, outcome.answer, outcome.tokens, index)
        if outcome.problems:
            tally.fault_count += 1
            tally.faults = some_of_each_kind([*tally.faults, fault_of(case, index, outcome)])


@dataclass(slots=True)
class Outcome:
    """How a call ended."""

    code: str
    """Name of its status code."""
    problems: list[str] = field(default_factory=list)
    checked: bool = False
    compared: bool = False
    answer: pb.GenerateResponse | None = None
    """Of `Generate` or a stream."""
    tokens: list[bytes] = field(default_factory=list)
    """Resume tokens from the messages of a stream."""


def fault_of(case: Case, index: int, outcome: Outcome) -> Fault:
    """The record of a call with problems."""
    return Fault(
        index=index,
        method=case.method,
        code=outcome.code,
        problems=tuple(problem[:500] for problem in outcome.problems[:5]),
        payload=base64.b64encode(case.payload[:_MAX_PAYLOAD]).decode(),
        is_cancelled=case.is_cancelled,
    )


class Caller:
    """One connection.

    Args:
        channel: to the server.
        models: that it has.
    """

    def __init__(self, channel: grpc.aio.Channel, models: Sequence[ModelFacts]) -> None:
        self.models = models
        self._calls: dict[str, Any] = {
            name: (channel.unary_stream if method.streams else channel.unary_unary)(method.path)
            for name, method in METHODS.items()
        }

    @classmethod
    async def connect(cls, channel: grpc.aio.Channel) -> "Caller":
        """A caller that knows the models."""
        list_models: Any = channel.unary_unary(METHODS["ListModels"].path)
        listed = await list_models(b"", timeout=HANG_SECONDS)
        return cls(channel, ModelFacts.of_all(pb.ListModelsResponse.FromString(listed)))

    async def call(self, case: Case) -> Outcome:
        """Send a case and check what comes back. If the check itself fails, that is a problem too."""
        try:
            return await self._call(case)
        except Exception:  # the run goes on
            return Outcome(_NO_CHECK, [traceback.format_exc(limit=-2)])

    async def _call(self, case: Case) -> Outcome:
        call = self._calls[case.method](case.payload, timeout=case.deadline_seconds)
        loop = asyncio.get_running_loop()
        timer = None if case.cancel_seconds is None else loop.call_later(case.cancel_seconds, call.cancel)
        stream = StreamCheck() if METHODS[case.method].streams else None
        try:
            async with asyncio.timeout(HANG_SECONDS):
                if stream is None:
                    answer: bytes = await call
                    return self._answered(case, answer)
                await self._read(case, call, stream)
                return self._streamed(case, stream)
        except grpc.aio.AioRpcError as error:
            return self._refused(case, error)
        except TimeoutError:
            call.cancel()
            return Outcome(_HANG, [f"there is no answer after {HANG_SECONDS:.0f} s"])
        except asyncio.CancelledError:
            if not case.is_cancelled:
                raise
            return Outcome(grpc.StatusCode.CANCELLED.name, stream.problems if stream else [])
        finally:
            if timer is not None:
                timer.cancel()

    async def _read(self, case: Case, call: Any, stream: StreamCheck) -> None:
        count = 0
        async for data in call:
            stream.add(pb.StreamGenerateResponse.FromString(data))
            count += 1
            if count == case.cancel_messages:
                call.cancel()

    def _refused(self, case: Case, error: grpc.aio.AioRpcError) -> Outcome:
        code = error.code()
        message, metadata = error.details() or "", tuple(error.trailing_metadata() or ())
        outcome = Outcome(code.name)
        if code is grpc.StatusCode.CANCELLED and case.is_cancelled:
            return outcome
        has_details = any(key == DETAILS_KEY for key, _ in metadata)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and case.deadline_seconds is not None and not has_details:
            return outcome  # it has passed
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and len(case.payload) > MAX_REQUEST_BYTES:
            return outcome  # gRPC refuses it without details
        outcome.problems = refusal_problems(case, code, message, metadata)
        return outcome

    def _streamed(self, case: Case, stream: StreamCheck) -> Outcome:
        stream.finish()
        outcome = Outcome(grpc.StatusCode.OK.name, stream.problems, tokens=stream.tokens)
        if stream.response is not None:
            self._check_generation(case, stream.response, outcome)
        return outcome

    def _answered(self, case: Case, answer: bytes) -> Outcome:
        outcome = Outcome(grpc.StatusCode.OK.name)
        response: Any = METHODS[case.method].response.FromString(answer)
        message = case.message
        if message is None:
            outcome.problems.append("bytes that are no message were answered")
        elif case.method == "Generate":
            self._check_generation(case, response, outcome)
        elif case.method == "Evaluate":
            outcome.checked = True
            if case.broken:
                outcome.problems.append(f"it was answered although {case.broken} is wrong")
            else:
                outcome.problems += evaluation_problems(message, response, self._model(message.model))
        elif case.broken:
            outcome.problems.append(f"it was answered although {case.broken} is wrong")
        return outcome

    def _check_generation(self, case: Case, response: pb.GenerateResponse, outcome: Outcome) -> None:
        message = case.message
        request = None if message is None else generate_request(case.method, message)
        if request is None:
            outcome.problems.append("bytes that are no message were answered")
            return
        if case.broken:
            outcome.problems.append(f"it was answered although one of {case.broken} is wrong")
            return
        outcome.checked, outcome.answer = True, response
        outcome.problems += answer_problems(request, response, self._model(request.model))
        if case.expected is not None:
            outcome.compared = True
            if not same_piece(response, case.expected):
                outcome.problems.append("another piece than that of the equal or uninterrupted request")

    def _model(self, name: str) -> ModelFacts:
        return next(model for model in self.models if model.name == name or (not name and model.is_default))
