"""What every peer does beside writing tokens, by the service's own code: only the tokens' making differs."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from music.midi import write_midi
from music.score import TICKS_PER_QUARTER, Score
from server.rpc.messages import add_notes, meter_message
from server.rpc.plan import Plan, plan_piece


@dataclass(frozen=True, slots=True)
class Answers:
    """Turns requests into plans, and tokens into answers."""

    bundle: Bundle

    def plan(self, request: pb.GenerateRequest) -> Plan:
        """Check the request and fill in what it leaves open."""
        return plan_piece(request, self.bundle)

    def score(self, plan: Plan, tokens: NDArray[Any]) -> Score:
        """The tokens as notes."""
        return self.bundle.tokenizer.decode(tokens.tolist(), plan.setting).within(plan.length_ticks)

    def message(self, plan: Plan, tokens: NDArray[Any]) -> pb.GenerateResponse:
        """The piece as the service sends it."""
        score, setting = self.score(plan, tokens), plan.setting
        assert setting.meter is not None  # a plan has one
        response = pb.GenerateResponse(
            midi=write_midi(score),
            ticks_per_quarter=TICKS_PER_QUARTER,
            length_ticks=score.length_ticks,
            seed=plan.seed,
            token_count=len(tokens),
            finish_reason=pb.FINISH_REASON_LENGTH,
            model=self.bundle.name,
            model_digest=self.bundle.digest,
            meter=meter_message(setting.meter),
            tempo_bpm=setting.tempo_bpm,
            program=setting.program,
        )
        add_notes(response, score.notes)
        return response
