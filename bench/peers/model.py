"""The code that all peers share with the service: validation, notes, MIDI. Only sampling differs."""

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from bench.peers.loops import Loop, OnnxLoop, TorchLoop
from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle, load_bundle
from music.midi import write_midi
from music.score import TICKS_PER_QUARTER, Score
from server.rpc.generation_spec import GenerationSpec, ModelTerms
from server.rpc.messages import add_notes, meter_message
from server.rpc.spec_builder import build_generation_spec

LOOPS: Final[Mapping[str, Callable[[Bundle], Loop]]] = {"torch": TorchLoop, "onnx": OnnxLoop}


class PeerModel:
    """A bundle and one of the loops.

    Args:
        path: of the bundle.
        loop: a key of `LOOPS`.
    """

    def __init__(self, path: Path, loop: str) -> None:
        self.bundle = load_bundle(path)
        self._loop = LOOPS[loop](self.bundle)

    def spec(self, request: pb.GenerateRequest) -> GenerationSpec:
        """The validated request with defaults filled in."""
        return build_generation_spec(request, ModelTerms(self.bundle))

    def write(self, specs: Sequence[GenerationSpec]) -> list[NDArray[Any]]:
        """Tokens of each piece, written in one batch."""
        return list(self._loop.write([spec.engine_request for spec in specs]))

    def json_response(self, spec: GenerationSpec, tokens: NDArray[Any]) -> dict[str, Any]:
        """The piece for a peer that speaks JSON."""
        return {"midi": base64.b64encode(write_midi(self._score(spec, tokens))).decode(), "tokens": len(tokens)}

    def response(self, spec: GenerationSpec, tokens: NDArray[Any]) -> pb.GenerateResponse:
        """The piece as the service sends it."""
        score = self._score(spec, tokens)
        assert score.meter is not None  # nothing is given, so it is one of the model's
        response = pb.GenerateResponse(model=self.bundle.name, model_digest=self.bundle.digest, candidates=1)
        piece = response.pieces.add(
            midi=write_midi(score),
            ticks_per_quarter=TICKS_PER_QUARTER,
            length_ticks=score.length_ticks,
            seed=spec.seed,
            token_count=len(tokens),
            finish_reason=pb.FINISH_REASON_LENGTH,
            meter=meter_message(score.meter),
            tempo_bpm=score.tempo_bpm,
            programs=[score.program] * max(score.voices, 1),
        )
        add_notes(piece.notes, score.notes)
        return response

    def _score(self, spec: GenerationSpec, tokens: NDArray[Any]) -> Score:
        return spec.finishing.score(spec.plan.score(tokens))
