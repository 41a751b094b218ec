"""A valid request for pieces, with all defaults filled in, and what a request to a model may ask for."""

from collections import Counter
from dataclasses import dataclass, field, replace

from music.bundle import Bundle
from music.composition.plan import WritingPlan
from music.composition.task import Length
from music.score import TICKS_PER_QUARTER
from server.catalogue import ServedModel
from server.engine.completion import Completion
from server.engine.request import MAX_CANDIDATES, EngineRequest
from server.rpc.candidates import Choice
from server.rpc.finishing import Finishing, tempo_at
from server.rpc.request_limits import RequestLimits
from server.rpc.resume_token import ModelIdentity, ResumeTokens

DEFAULT_CANDIDATES = 64
"""Number of candidates if parts of a given piece are written anew and the request has no number."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelTerms:
    """What requests to one model may ask for."""

    bundle: Bundle
    limits: RequestLimits = field(default_factory=RequestLimits)
    precision: str = ""
    default_candidates: int = DEFAULT_CANDIDATES
    resume_tokens: ResumeTokens | None = None
    """None if the model has no resume tokens."""

    @property
    def identity(self) -> ModelIdentity:
        """What resume tokens are tied to."""
        return ModelIdentity(self.bundle.name, self.bundle.digest, self.precision)


@dataclass(frozen=True, slots=True)
class GivenOutcome:
    """What became of the given piece."""

    included: bool
    """Whether the returned pieces contain it."""
    length_ticks: int
    """Its length on the model's grid."""
    changed_notes: Counter[str]
    left_out: Counter[str]
    meter_known: bool
    """Whether the model knows the meter of all parts where notes are written."""
    meter_changes: int = 0
    """Number of its changes of meter, which the model does not see."""


@dataclass(frozen=True, slots=True, eq=False)
class GenerationSpec:
    """A valid request, with all defaults filled in."""

    engine_request: EngineRequest
    """What the engine runs."""
    plan: WritingPlan
    finishing: Finishing
    length: Length
    """Length of the whole piece."""
    step_ticks: int
    """Length of a step of the model's grid."""
    voices: int
    """Number of voices that the piece may have."""
    choice: Choice = field(default_factory=Choice)
    given: GivenOutcome | None = None
    """None if nothing is given."""
    length_field: str = ""
    """The field of the request that decides the length; empty if there is none."""
    request_hash: bytes = b""
    """Of the request, if resume tokens are asked for."""
    request_seed: int = 0
    """The given or drawn seed; of a resumed piece, that of its first request."""
    completion: Completion | None = None
    """If the request resumes a piece that is complete, so that the engine has nothing to do."""

    @property
    def seed(self) -> int:
        """Key of the random stream."""
        return self.engine_request.seed

    @property
    def bar_ticks(self) -> int:
        """Length of a bar that is added."""
        return self.finishing.bar_lines.last_bar_ticks

    @property
    def seconds_per_tick(self) -> float:
        """Duration of a tick of the part that is added."""
        end = self.finishing
        return 60.0 / TICKS_PER_QUARTER / tempo_at(self.plan.given_ticks, end.tempo_bpm, end.tempo_changes)


def model_terms(model: ServedModel, limits: RequestLimits, resume_tokens: ResumeTokens) -> ModelTerms:
    """The terms of a model: the limits, as far as its engine does not allow less."""
    candidates = min(limits.candidates, MAX_CANDIDATES, model.engine.slots)
    return ModelTerms(
        bundle=model.bundle,
        limits=replace(limits, candidates=candidates),
        precision=model.engine.precision,
        default_candidates=min(DEFAULT_CANDIDATES, candidates),
        resume_tokens=resume_tokens,
    )
