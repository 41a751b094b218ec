"""Earlier answers, from which a fuzzer makes further cases: repeated requests and resumed pieces."""

import random
from dataclasses import dataclass
from typing import Final, TypeVar

from bench.fuzz.cases import Case
from bench.fuzz.mutation import mutated
from fantasia.v1 import generation_pb2 as pb

_CAPACITY: Final = 64

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Resumable:
    request: pb.GenerateRequest
    token: bytes
    response: pb.GenerateResponse


class Memory:
    """Keeps some answers of a few seconds ago."""

    def __init__(self) -> None:
        self._answered: list[tuple[pb.GenerateRequest, pb.GenerateResponse]] = []
        self._resumable: list[_Resumable] = []

    def keep(self, request: pb.GenerateRequest, response: pb.GenerateResponse, tokens: list[bytes], place: int) -> None:
        """Keep an answer, in the place of an older one.

        Args:
            request: that was answered, by `Generate` or a stream.
            response: the answer.
            tokens: resume tokens of this piece, from the messages of the stream.
            place: any number; it decides which older answer is replaced.
        """
        if request.resume_token:
            return
        if request.HasField("seed") or response.candidates == 1:
            fixed = pb.GenerateRequest()
            fixed.CopyFrom(request)
            fixed.seed = request.seed if request.HasField("seed") else response.pieces[0].seed
            _put(self._answered, (fixed, response), place)
        if response.candidates == 1:
            for token in [*tokens, response.pieces[0].resume_token][-3:]:
                if token:
                    _put(self._resumable, _Resumable(request, token, response), place)

    def repeated(self, rng: random.Random) -> Case | None:
        """An answered request again, as a stream or not; None if nothing is kept."""
        if not self._answered:
            return None
        request, response = rng.choice(self._answered)
        return _case(rng, request, expected=response)

    def resumed(self, rng: random.Random) -> Case | None:
        """A piece that is continued, rightly or not; None if nothing is kept."""
        if not self._resumable:
            return None
        kept = rng.choice(self._resumable)
        request = pb.GenerateRequest()
        request.CopyFrom(kept.request)
        request.resume_token = kept.token
        request.ClearField("pieces")
        if request.candidates > 1:
            request.candidates = 1
        if rng.random() < 0.3:
            request.ClearField("seed")
        choice = rng.random()
        if choice < 0.5:
            return _case(rng, request, expected=kept.response)
        if choice < 0.65 and request.WhichOneof("length") == "steps":
            request.steps += rng.randint(1, 16)
            return _case(rng, request)
        if choice < 0.85:
            request.resume_token = mutated(rng, kept.token, [other.token for other in self._resumable])
            changed = request.resume_token != kept.token and request.resume_token
            return _case(rng, request, broken=("resume_token",) if changed else ())
        request.sampling.temperature = 0.77
        request.program = 99
        return _case(rng, request, broken=("resume_token",))


def same_piece(one: pb.GenerateResponse, other: pb.GenerateResponse) -> bool:
    """Whether two answers have the same pieces, byte for byte. Tokens, nats and times may differ."""

    def bytes_of(response: pb.GenerateResponse) -> list[bytes]:
        return [
            pb.Piece(
                midi=piece.midi,
                notes=piece.notes,
                length_ticks=piece.length_ticks,
                finish_reason=piece.finish_reason,
                seed=piece.seed,
            ).SerializeToString(deterministic=True)
            for piece in response.pieces
        ]

    return bytes_of(one) == bytes_of(other)


def _put(kept: list[T], value: T, place: int) -> None:
    if len(kept) < _CAPACITY:
        kept.append(value)
    else:
        kept[place % _CAPACITY] = value


def _case(
    rng: random.Random,
    request: pb.GenerateRequest,
    *,
    broken: tuple[str, ...] = (),
    expected: pb.GenerateResponse | None = None,
) -> Case:
    if rng.random() < 0.3:
        stream = pb.StreamGenerateRequest(request=request)
        broken = tuple(f"request.{path}" for path in broken)
        return Case("StreamGenerate", stream.SerializeToString(), broken, expected=expected)
    return Case("Generate", request.SerializeToString(), broken, expected=expected)
