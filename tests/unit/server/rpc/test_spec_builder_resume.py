"""Resumed pieces of a guide: those that are complete come back, and shorter lengths are refused."""

import numpy as np
import pytest

from fantasia.v1 import generation_pb2 as pb
from music.bundle import Bundle
from music.midi import write_midi
from music.score import Meter, MeterChange, Note, Score
from music.tokenizers.event_plan import EventPlan
from music.tokenizers.event_vocabulary import BAR as BAR_TOKEN
from server.engine.snapshot import Snapshot
from server.errors import InvalidRequestError
from server.rpc.generation_spec import GenerationSpec, ModelTerms
from server.rpc.resume_token import ResumeTokens, request_hash
from server.rpc.spec_builder import build_generation_spec
from tests.unit.music.tokenizers.event_tasks import PIANO, follow

BAR = 1920


@pytest.fixture
def terms(bundle: Bundle) -> ModelTerms:
    """Of a model with `events`."""
    events = Bundle(bundle.path, bundle.manifest, bundle.digest, PIANO)
    return ModelTerms(events, resume_tokens=ResumeTokens(bytes(32)))


def rewriting(**fields: object) -> pb.GenerateRequest:
    """Bar 1 of two bars is written anew; the second one ends with a given note, and not with a bar line."""
    sounds = [pb.Note(onset_ticks=tick, duration_ticks=240, pitch=60 + tick % 7) for tick in range(0, 2 * BAR, 480)]
    return pb.GenerateRequest(
        given=pb.GivenPiece(notes=pb.NoteList(notes=sounds, length_ticks=2 * BAR)),
        rewrite=[pb.Region(bars=pb.BarRange(first=1, last=1))],
        **fields,  # type: ignore[arg-type]
    )


def written(terms: ModelTerms, request: pb.GenerateRequest, ends: str = "complete") -> list[int]:
    """Tokens of a piece of the request, which its guide completes, or the last bar line if `ends` is "stop"."""
    plan = build_generation_spec(request, terms).plan
    assert isinstance(plan, EventPlan)
    run = follow(plan, PIANO, 1, lambda: 1)
    assert run.reason == ends
    assert len(run.tokens) < plan.max_tokens
    return run.tokens


def resumed(
    terms: ModelTerms, request: pb.GenerateRequest, tokens: list[int], state_tokens: int | None = None
) -> GenerationSpec:
    """The spec of a request that resumes a piece with these tokens."""
    count = len(tokens) if state_tokens is None else state_tokens
    point = Snapshot(np.array(tokens, np.int32), {"h": np.zeros(2, np.float32)}, count, 1.0, 0.5, started=True, seed=5)
    assert terms.resume_tokens is not None
    primer = build_generation_spec(request, terms).plan.primer
    assert tuple(tokens[: len(primer)]) == primer
    token = terms.resume_tokens.seal(
        point, terms.identity, request_hash(request), request_seed=5, primer_tokens=len(primer)
    )
    again = pb.GenerateRequest(resume_token=token)
    again.MergeFrom(request)
    return build_generation_spec(again, terms)


def test_a_piece_that_its_guide_completes_is_complete(terms: ModelTerms) -> None:
    tokens = written(terms, rewriting())
    spec = resumed(terms, rewriting(), tokens)
    assert spec.completion is not None
    assert spec.completion.candidates[0].tokens.tolist() == tokens
    assert spec.engine_request.resume is None

    before = resumed(terms, rewriting(), tokens[:-1])
    assert before.completion is None
    assert before.engine_request.resume is not None
    assert before.engine_request.resume.tokens.tolist() == tokens[:-1]


def test_the_last_token_is_written_again_if_the_state_has_not_seen_it(terms: ModelTerms) -> None:
    tokens = written(terms, rewriting())
    spec = resumed(terms, rewriting(), tokens, len(tokens) - 1)
    assert spec.completion is None
    assert spec.engine_request.resume is not None
    assert spec.engine_request.resume.tokens.tolist() == tokens[:-1]


def test_a_length_that_the_piece_has_passed_is_refused(terms: ModelTerms) -> None:
    tokens = written(terms, rewriting(steps=12), "stop")
    assert resumed(terms, rewriting(steps=12), tokens).completion is not None
    with pytest.raises(InvalidRequestError, match="steps must not be less than what the resumed piece has already"):
        resumed(terms, rewriting(steps=1), tokens)
    with pytest.raises(InvalidRequestError, match="length must not be less than what the resumed piece has already"):
        resumed(terms, rewriting(), [*written(terms, rewriting()), BAR_TOKEN])


def test_a_length_that_changes_the_meter_that_the_model_sees_is_refused(terms: ModelTerms) -> None:
    score = Score(
        tuple(Note(tick, 480, 60) for tick in range(0, 4800, 480)),
        4800,
        Meter(3, 4),
        meter_changes=(MeterChange(2880, Meter(4, 4)),),
    )
    rewrite = [pb.Region(bars=pb.BarRange(first=1, last=1))]
    request = pb.GenerateRequest(given=pb.GivenPiece(midi=write_midi(score)), rewrite=rewrite)
    point = Snapshot(np.array([], np.int32), {"h": np.zeros(2, np.float32)}, 0, 0.0, 0.0, started=False, seed=5)
    assert terms.resume_tokens is not None
    hash_ = build_generation_spec(request, terms, resume_tokens=True).request_hash
    request.resume_token = terms.resume_tokens.seal(point, terms.identity, hash_, request_seed=5, primer_tokens=0)

    assert build_generation_spec(request, terms).seed == 5
    request.bars = 1  # in 4/4, and the region is in 3/4
    with pytest.raises(InvalidRequestError, match="belongs to another request"):
        build_generation_spec(request, terms)
