"""Builds the response of finished candidates: the best of them as pieces."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np

from fantasia.v1 import generation_pb2 as pb
from music.midi import write_midi
from music.score import TICKS_PER_QUARTER, Score
from server.catalogue import ServedModel
from server.engine.completion import Candidate, Completion, FinishReason
from server.engine.snapshot import Snapshot
from server.errors import CandidateFailedError, WrongLengthError
from server.rpc.generation_spec import GenerationSpec, ModelTerms
from server.rpc.messages import (
    FINISH_REASONS,
    add_meter_changes,
    add_notes,
    add_tempo_changes,
    meter_message,
    timing_message,
)

_Built = TypeVar("_Built")
_MAX_TOKENS_ON_LOOP: Final = 1024
"""What is built of up to this many tokens is built on the event loop, in 2 ms at most. A thread would take half as long
again, for switching and cold caches."""


async def build_off_loop(build: Callable[[], _Built], *, tokens: int) -> _Built:
    """What a function builds of so many tokens.

    The longest piece takes tens of milliseconds, in which the event loop serves other calls: a thread builds it.
    """
    return build() if tokens <= _MAX_TOKENS_ON_LOOP else await asyncio.to_thread(build)


def build_response(
    model: ServedModel, terms: ModelTerms, spec: GenerationSpec, completion: Completion, *, resume_tokens: bool
) -> pb.GenerateResponse:
    """The response for a finished request. It may take long: a thread builds long pieces.

    Args:
        model: that wrote the candidates.
        terms: of the model.
        spec: the request.
        completion: the candidates.
        resume_tokens: whether pieces get resume tokens.

    Raises:
        CandidateFailedError: the candidate that the request asks for is not complete.
        WrongLengthError: a piece does not have the requested length.
    """
    response = pb.GenerateResponse(
        model=model.name,
        model_version=model.version,
        model_digest=model.bundle.digest,
        precision=model.engine.precision,
        candidates=spec.choice.candidates,
        particles=spec.engine_request.has_particles,
        timing=timing_message(completion),
    )
    for candidate, note_steps in _chosen(spec, completion):
        piece = response.pieces.add()
        _fill(piece, model, spec, candidate, note_steps)
        if resume_tokens and candidate.snapshot is not None:
            piece.resume_token = seal(terms, spec, candidate.snapshot)
    if spec.given is not None:
        given = spec.given
        response.given.included = given.included
        response.given.length_ticks = given.length_ticks
        response.given.changed_notes.update(given.changed_notes)
        response.given.left_out.update(given.left_out)
        response.given.meter_known = given.meter_known
        response.given.meter_changes = given.meter_changes
    return response


def seal(terms: ModelTerms, spec: GenerationSpec, snapshot: Snapshot) -> bytes:
    """The resume token of a snapshot; empty if it would be too large."""
    assert terms.resume_tokens is not None
    return terms.resume_tokens.seal(
        snapshot,
        terms.identity,
        spec.request_hash,
        request_seed=spec.request_seed,
        primer_tokens=len(spec.plan.primer),
    )


def start_message(spec: GenerationSpec) -> pb.StreamStart:
    """What is known of a piece before its first note."""
    finishing = spec.finishing
    length_ticks, lines = finishing.ticks(spec.length.max_ticks), finishing.returned_bar_lines
    start = pb.StreamStart(
        ticks_per_quarter=TICKS_PER_QUARTER,
        seed=spec.seed,
        meter=None if lines.meter is None else meter_message(lines.meter),
        pickup_ticks=lines.pickup_ticks,
        tempo_bpm=finishing.returned_tempo_bpm,
        programs=[finishing.program_of(voice) for voice in range(max(spec.voices, 1))],
        length_ticks=0 if spec.length.is_open else length_ticks,
    )
    add_tempo_changes(start.tempo_changes, finishing.returned_tempo_changes(length_ticks))
    add_meter_changes(start.meter_changes, lines.changes)
    return start


def _chosen(spec: GenerationSpec, completion: Completion) -> list[tuple[Candidate, int]]:
    """The candidates to return and their note-steps, the best first; of equal ones, that with the lower index.

    The best particle is the one beside which the given notes are likeliest, which is what particles are weighed by. The
    likeliest piece would have plainer notes, and lead to the given notes less well (docs/harmonising.md).
    """
    candidates = completion.candidates
    if spec.choice.candidate is not None:
        candidates = tuple(each for each in candidates if each.index == spec.choice.candidate)
        if not candidates:
            raise CandidateFailedError(spec.choice.candidate)
    measured = [(candidate, spec.plan.note_steps(candidate.tokens)) for candidate in candidates]
    if spec.engine_request.particles:
        measured.sort(key=lambda pair: (pair[0].given_nats, pair[0].index))
    else:
        measured.sort(key=lambda pair: (pair[0].nats / pair[1], pair[0].index))
    return _first_different(measured, spec.choice.pieces)


def _first_different(ranked: list[tuple[Candidate, int]], count: int) -> list[tuple[Candidate, int]]:
    """The first `count`; copies of others only if there are not enough different ones. The order stays."""
    if count == 1:
        return ranked[:1]
    first = {candidate.tokens.tobytes(): place for place, (candidate, _) in reversed([*enumerate(ranked)])}
    originals = set(first.values())
    places = sorted(range(len(ranked)), key=lambda place: place not in originals)[:count]
    return [ranked[place] for place in sorted(places)]


def _fill(piece: pb.Piece, model: ServedModel, spec: GenerationSpec, candidate: Candidate, note_steps: int) -> None:
    """Fill in the message of a piece."""
    written = spec.plan.score(candidate.tokens)
    if candidate.finish_reason is FinishReason.LENGTH and written.length_ticks != spec.length.max_ticks:
        raise WrongLengthError(model.name, written.length_ticks, spec.length.max_ticks)
    score = spec.finishing.score(written)
    piece.midi = write_midi(score)
    add_notes(piece.notes, score.notes)
    piece.ticks_per_quarter = TICKS_PER_QUARTER
    piece.length_ticks = score.length_ticks
    piece.pickup_ticks = score.pickup_ticks
    if score.meter is not None:
        piece.meter.CopyFrom(meter_message(score.meter))
    piece.tempo_bpm = score.tempo_bpm
    add_tempo_changes(piece.tempo_changes, score.tempo_changes)
    add_meter_changes(piece.meter_changes, score.meter_changes)
    piece.programs.extend(_programs(score))
    piece.finish_reason = FINISH_REASONS[candidate.finish_reason]
    piece.token_count = int(np.count_nonzero(~candidate.forced))
    piece.seed = candidate.seed
    piece.candidate = candidate.index
    piece.nats = candidate.nats
    piece.nats_per_note_step = candidate.nats / note_steps
    piece.given_nats = candidate.given_nats


def _programs(score: Score) -> list[int]:
    return [score.program_of(voice) for voice in range(max(score.voices, 1))]
