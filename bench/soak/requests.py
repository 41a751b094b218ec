"""The requests of the soak: what each asks for, as it is kept on disk, and how it becomes a request of the engine."""

import base64
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from bench.fuzz.facts import ModelFacts
from bench.fuzz.requests import random_request
from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from music.remaining_length import UNKNOWN
from report import Record
from runtime.sampling import SamplingParams
from server.engine.request import MAX_CANDIDATES, EngineRequest
from server.engine.snapshot import Snapshot
from server.errors import InvalidRequestError
from server.rpc.generation_spec import ModelTerms
from server.rpc.spec_builder import build_generation_spec

SHORT: Final = (16, 64)
"""Tokens of most requests, from and to."""
LONG: Final = (128, 512)
"""Tokens of some."""
_LONG_SHARE: Final = 0.02
_FORCED_SHARE: Final = 0.3
_PRIMER_SHARE: Final = 0.1
"""Of the requests with forced tokens, those with a long primer."""
_STOP_SHARE: Final = 0.1
_NO_END_SHARE: Final = 0.1
_OTHER_END_SHARE: Final = 0.1
"""Requests whose end token is another one than the model's."""
_TEMPERATURES: Final = (0.5, 0.8, 0.9, 1.0, 1.3)
_TOP_KS: Final = (0, 0, 1, 3, 12)
_TOP_PS: Final = (1.0, 0.98, 0.92, 0.6)
_MAX_PIECE_TOKENS: Final = 2048
"""Of all candidates of a piece together; longer pieces would take most of the time."""


class TokenRequest(Record):
    """A request in tokens, also of kinds that no call can ask for."""

    kind: Literal["tokens"] = "tokens"
    seed: int
    max_tokens: int
    position_index: int = 0
    remaining: int = UNKNOWN
    sampling: SamplingParams = SamplingParams()
    forced: tuple[int, ...] = ()
    end_token: int | None = None
    may_end: bool = True
    stop_token: int | None = None
    stop_count: int = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.engine_request()
        return self

    def engine_request(self) -> EngineRequest:
        """The request of the engine.

        Raises:
            EngineRequestError: a value is out of range.
        """
        return EngineRequest(
            seed=self.seed,
            max_tokens=self.max_tokens,
            position_index=self.position_index,
            remaining=self.remaining,
            sampling=self.sampling,
            forced=self.forced,
            end_token=self.end_token,
            may_end=self.may_end,
            stop_token=self.stop_token,
            stop_count=self.stop_count,
        )


class PieceRequest(Record):
    """A request as a call of the service makes it: given pieces, regions, constraints, controls, candidates."""

    kind: Literal["piece"] = "piece"
    message: str
    """The `GenerateRequest`, serialized, in base64. It has a seed."""

    @classmethod
    def of(cls, request: pb.GenerateRequest) -> Self:
        """The request with this message."""
        return cls(message=base64.b64encode(request.SerializeToString(deterministic=True)).decode())

    @property
    def request(self) -> pb.GenerateRequest:
        """The message."""
        return pb.GenerateRequest.FromString(base64.b64decode(self.message))

    def engine_request(self, bundle: Bundle) -> EngineRequest:
        """The request of the engine.

        Raises:
            InvalidRequestError: parts of the request exclude each other.
        """
        found = build_generation_spec(self.request, ModelTerms(bundle)).engine_request
        assert found is not None  # it resumes nothing
        return found


class ResumedRequest(Record):
    """An earlier request of the pool, continued from a point half way."""

    kind: Literal["resumed"] = "resumed"
    source: int
    """Index of the earlier request."""
    tokens: int
    """It is continued from the first snapshot with so many tokens at least."""

    @staticmethod
    def engine_request(source: EngineRequest, snapshot: Snapshot) -> EngineRequest:
        """The request of the engine."""
        return replace(source, resume=snapshot)


SoakRequest = Annotated[TokenRequest | PieceRequest | ResumedRequest, Field(discriminator="kind")]


def kinds_of(request: TokenRequest | PieceRequest | ResumedRequest) -> set[str]:
    """Words for what a request is, for counts."""
    if isinstance(request, TokenRequest):
        return {"forced" if request.forced else "plain"}
    if isinstance(request, ResumedRequest):
        return {"resumed"}
    message = request.request
    kinds = {"rewritten" if message.rewrite else "continued" if message.HasField("given") else "composed"}
    if message.HasField("constraints"):
        kinds.add("constrained")
    if message.HasField("controls"):
        kinds.add("controlled")
    if message.candidates > 1 or (message.rewrite and not message.candidates):
        kinds.add("particles" if message.rewrite else "candidates")
    return kinds


def draw_piece(bundle: Bundle, generator: random.Random) -> PieceRequest:
    """A short piece in whose request no parts exclude each other."""
    facts = _facts(bundle)
    while True:
        message = random_request(generator, [facts])
        message.seed = generator.getrandbits(64)
        message.return_resume_token = False  # the engine's part of it is drawn as `ResumedRequest`
        request = PieceRequest.of(message)
        try:
            asked = request.engine_request(bundle)
        except InvalidRequestError:
            continue
        if asked.max_tokens * asked.candidates <= _MAX_PIECE_TOKENS and asked.candidates <= MAX_CANDIDATES:
            return request


def draw_tokens(
    bundle: Bundle,
    generator: random.Random,
    number: int,
    earlier: Sequence[tuple[TokenRequest, Sequence[int]]],
) -> TokenRequest:
    """A request in tokens. Lengths, seeds, positions, sampling parameters, end, stop and forced tokens are mixed.

    Args:
        bundle: whose request it is.
        generator: decides.
        number: of the request; the first one is long.
        earlier: requests with the tokens of their answers. Forced tokens are the beginning of one of these.
    """
    tokenizer = bundle.tokenizer
    long = generator.random() < _LONG_SHARE or number == 0
    length = generator.randint(*(LONG if long else SHORT))
    position_index = generator.choice(tokenizer.positions.beat_starts)
    forced: tuple[int, ...] = ()
    if earlier and generator.random() < _FORCED_SHARE:
        position_index, forced = _beginning(tokenizer.end_token, generator, earlier)
    stops = generator.random() < _STOP_SHARE
    # Any token but the end token. It is counted, so that some requests stop at it and others do not.
    stop_token = generator.choice([token for token in range(tokenizer.vocabulary_size) if token != tokenizer.end_token])
    end_token = None if generator.random() < _NO_END_SHARE else tokenizer.end_token
    may_end = generator.random() < 0.5
    if generator.random() < _OTHER_END_SHARE and stop_token not in forced:
        end_token, may_end = stop_token, True  # few pieces end by themselves so soon
    max_tokens = max(length, len(forced) + generator.randint(1, SHORT[0]))
    return TokenRequest(
        seed=generator.getrandbits(64),
        max_tokens=max_tokens,
        position_index=position_index,
        remaining=generator.choice((UNKNOWN, max_tokens)),
        sampling=SamplingParams(generator.choice(_TEMPERATURES), generator.choice(_TOP_KS), generator.choice(_TOP_PS)),
        forced=forced,
        end_token=end_token,
        may_end=may_end,
        stop_token=stop_token if stops else None,
        stop_count=generator.randint(1, 4) if stops else 0,
    )


def _beginning(
    end_token: int, generator: random.Random, earlier: Sequence[tuple[TokenRequest, Sequence[int]]]
) -> tuple[int, tuple[int, ...]]:
    """Position index of an earlier request and the beginning of its answer: some tokens, or all of a long one."""
    primer = generator.random() < _PRIMER_SHARE
    sources = [each for each in earlier if not primer or len(each[1]) >= LONG[0]]
    request, answer = generator.choice(sources or earlier)
    tokens = [token for token in answer if token != end_token]
    return request.position_index, tuple(tokens if primer else tokens[: generator.randint(0, SHORT[1])])


def _facts(bundle: Bundle) -> ModelFacts:
    tokenizer = bundle.tokenizer
    ranges = [
        pb.VoiceRange(voice=voice, lowest=low, highest=high) for voice, (low, high) in enumerate(tokenizer.ranges)
    ]
    message = pb.Model(
        name=bundle.name,
        voices=len(ranges),
        steps_per_quarter=480 // tokenizer.step_ticks,
        max_steps=bundle.max_steps,
        meters=[
            pb.Meter(numerator=each.numerator, denominator=each.denominator) for each in tokenizer.positions.meters
        ],
        ranges=ranges,
        capabilities=pb.Capabilities(dynamics=tokenizer.writing.dynamics),
    )
    return ModelFacts(message, is_default=True)
