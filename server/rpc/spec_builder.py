"""Validates a request and fills in its defaults."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fantasia.v1 import generation_pb2 as pb
from music.bar_lines import BarLines
from music.composition.plan import WritingPlan
from music.composition.task import Length, Region, WritingTask
from music.errors import TaskError, UnsupportedMeterError
from music.manifest import Defaults
from music.score import ScoreAttributes, TempoChange
from server.engine.completion import Candidate, Completion, FinishReason
from server.engine.request import EngineRequest
from server.engine.snapshot import Snapshot
from server.errors import ResumeTokenError, Violation
from server.rpc.candidates import Choice, read_choice
from server.rpc.constraints import PieceFrame, read_constraints, read_controls
from server.rpc.finishing import Finishing, tempo_at
from server.rpc.generation_spec import GenerationSpec, GivenOutcome, ModelTerms
from server.rpc.given_piece import GivenMusic, read_given
from server.rpc.lengths import LengthRules, check_length, read_length
from server.rpc.note_list import MAX_TEMPO_BPM, MIN_TEMPO_BPM, PICKUP_UNIT_TICKS, read_meter
from server.rpc.output_fields import read_program, read_programs, read_shape, read_transposition
from server.rpc.plain_plan import PlainPlan
from server.rpc.regions import UNSUPPORTED, read_regions
from server.rpc.resume_token import (
    MAX_TOKEN_BYTES,
    ResumePoint,
    can_resume,
    request_hash,
    state_bytes,
)
from server.rpc.sampling_fields import read_sampling
from server.rpc.validation import RequestValidator

_DRAWN_SEED_BITS: Final = 53  # a given seed has 64; drawn ones survive JSON parsers that use doubles


def is_plain(request: pb.GenerateRequest) -> bool:
    """Whether the request only composes: its validation takes microseconds and can run on the event loop."""
    return not (
        request.HasField("given")
        or request.rewrite
        or (request.HasField("constraints") and request.constraints.ByteSize())
        or (request.HasField("controls") and request.controls.ByteSize())
        or (request.HasField("open") and request.open.min_bars)
    )


def build_generation_spec(
    request: pb.GenerateRequest, terms: ModelTerms, *, resume_tokens: bool = False
) -> GenerationSpec:
    """Validate the request against the contract and the model, and fill in the defaults.

    Args:
        request: to validate.
        terms: of the model.
        resume_tokens: whether `StreamGenerateRequest.resume_tokens` asks for tokens.

    Raises:
        InvalidRequestError: fields are not valid; the error has all of them.
    """
    validator = RequestValidator()
    spec = _Builder(request, terms, validator).build(resume_tokens=resume_tokens)
    validator.raise_if_invalid()
    assert spec is not None
    return spec


def contract_violations(request: pb.GenerateRequest) -> tuple[Violation, ...]:
    """The violations that do not depend on the model: added to the error for an unknown model."""
    validator, defaults = RequestValidator(), Defaults()
    read_sampling(request.sampling, defaults, validator)
    _tempo_bpm(request, validator)
    read_program(request, validator)
    if request.HasField("meter"):
        read_meter(request.meter, "meter", validator)
    check_length(request, validator)
    return validator.violations


def _tempo_bpm(request: pb.GenerateRequest, validator: RequestValidator) -> float | None:
    """The requested tempo; None if it is unset or out of range."""
    if not request.HasField("tempo_bpm"):
        return None
    valid = validator.in_range("tempo_bpm", request.tempo_bpm, MIN_TEMPO_BPM, MAX_TEMPO_BPM)
    return request.tempo_bpm if valid else None


class _Builder:
    """Reads the fields of one request, in an order in which each finds what it depends on."""

    def __init__(self, request: pb.GenerateRequest, terms: ModelTerms, validator: RequestValidator) -> None:
        self._request = request
        self._terms = terms
        self._validator = validator
        self._bundle = terms.bundle
        self._tokenizer = terms.bundle.tokenizer
        self._writing = self._tokenizer.writing

    def build(self, *, resume_tokens: bool) -> GenerationSpec | None:
        """The spec; None if there are violations."""
        request, validator, defaults = self._request, self._validator, self._bundle.defaults
        sampling = read_sampling(request.sampling, defaults, validator)
        tempo_bpm = _tempo_bpm(request, validator)
        program = read_program(request, validator)
        given = self._given()
        lines = self._bar_lines(given)
        is_unread = given is None and request.HasField("given")
        given_ticks = 0 if given is None else self._on_grid(given.score.length_ticks)
        changes: tuple[TempoChange, ...] = ()
        if not request.HasField("tempo_bpm") and not is_unread:
            tempo_bpm = defaults.tempo_bpm if given is None else given.score.tempo_bpm
            changes = () if given is None else given.score.tempo_changes
        rules = LengthRules(
            step_ticks=self._tokenizer.step_ticks,
            max_steps=self._bundle.max_steps,
            bar_lines=lines,
            tempo_bpm=None if tempo_bpm is None else tempo_at(given_ticks, tempo_bpm, changes),
            given_ticks=given_ticks,
            rewrites=bool(request.rewrite),
        )
        length = read_length(request, rules, validator)
        choice = self._choice(length)
        whole = lines or BarLines()
        finishing = self._finishing(given, given_ticks, whole, tempo_bpm or defaults.tempo_bpm, changes, program)
        regions = self._regions(None if given is None else given_ticks, lines)
        seen = self._seen(whole, given_ticks, regions, length)
        self._check_resume_tokens(streamed=resume_tokens)
        needs_tokens = resume_tokens or request.return_resume_token
        point = self._resume_point(whole, seen)
        if is_plain(request):
            plan: WritingPlan | None = None if validator.violations else self._plain_plan(finishing, length)
        else:
            is_known = given is not None or not (is_unread or request.rewrite)
            task = self._task(given, given_ticks, regions, finishing, lines, seen, length if is_known else None)
            plan = None if task is None else self._plan(task)
        if plan is None:
            return None
        assert length is not None
        if finishing.shape is not None:
            finishing = replace(finishing, kept=frozenset(plan.kept))
        snapshot = None if point is None else point.snapshot(plan.primer, plan.remaining, self._tokenizer)
        completion = None
        if snapshot is not None and self._is_complete(plan, snapshot):
            if snapshot.state_tokens == len(snapshot.tokens):
                completion = completion_of(plan, snapshot)
            else:  # the last token is sampled again: the engine resumes no complete sequence
                snapshot = replace(snapshot, tokens=snapshot.tokens[:-1])
        seed = self._request.seed if self._request.HasField("seed") else secrets.randbits(_DRAWN_SEED_BITS)
        engine_request = EngineRequest(
            seed=seed if snapshot is None else snapshot.seed,
            max_tokens=plan.max_tokens,
            position_index=plan.position_index,
            remaining=plan.remaining,
            sampling=sampling,
            forced=plan.primer,
            end_token=self._tokenizer.end_token,
            may_end=plan.may_end,
            stop_token=plan.stop_token,
            stop_count=plan.stop_count,
            guide=plan.guide,
            candidates=choice.candidates,
            particles=plan.is_observed and choice.candidates > 1,
            resume=None if completion or validator.violations else snapshot,
            snapshots=needs_tokens,
        )
        return GenerationSpec(
            engine_request=engine_request,
            plan=plan,
            finishing=finishing,
            length=length,
            step_ticks=self._tokenizer.step_ticks,
            voices=max(len(self._tokenizer.ranges), 0 if given is None else given.score.voices),
            choice=choice,
            given=None if given is None else self._outcome(given, plan, whole, seen),
            length_field=request.WhichOneof("length") or "",
            request_hash=self._request_hash(whole, seen) if needs_tokens else b"",
            request_seed=engine_request.seed if point is None else point.request_seed,
            completion=completion,
        )

    def _given(self) -> GivenMusic | None:
        """The given piece; None if there is none, or it is not valid."""
        request, validator = self._request, self._validator
        if not request.HasField("given"):
            for name in ("rewrite", "omit_given"):
                if getattr(request, name):
                    validator.refuse(name, "needs a given piece: set given")
            return None
        if request.rewrite and request.omit_given:
            validator.refuse("omit_given", "must be false if rewrite is set")
        if not request.rewrite and not self._writing.continuation:
            validator.refuse("given", UNSUPPORTED)
        return read_given(
            request.given,
            "given",
            voices=len(self._tokenizer.ranges),
            limits=self._terms.limits,
            tempo_bpm=self._bundle.defaults.tempo_bpm,
            validator=validator,
        )

    def _bar_lines(self, given: GivenMusic | None) -> BarLines | None:
        """The bars of the piece; None if the requested meter is not valid, or that of the given piece is not known."""
        request, known = self._request, self._tokenizer.positions.meters
        if not request.HasField("meter"):
            if given is not None:
                return given.bar_lines
            return None if request.HasField("given") else BarLines(known[0])
        text = f"{request.meter.numerator}/{request.meter.denominator}"
        meter = next((meter for meter in known if str(meter) == text), None)
        if meter is None:
            allowed = "one of the model's meters, " + ", ".join(map(str, known))
            self._validator.add_violation("meter", allowed, text)
            return None
        pickup = 0 if given is None else given.score.pickup_ticks
        if pickup >= meter.bar_ticks:
            text = f"must have bars that are longer than the incomplete first bar of the given piece, {pickup} ticks"
            self._validator.refuse("meter", text)
            return None
        return BarLines(meter, pickup)

    def _seen(self, lines: BarLines, given_ticks: int, regions: Sequence[Region], length: Length | None) -> BarLines:
        """The bars that the model sees; without a meter, it sees beats.

        A model has one meter for a piece. If the meter changes, it is that in which notes are written, with its bar
        lines there; if notes are written in several meters, it is unknown.
        """
        written = [(region.start_ticks, region.end_ticks) for region in regions]
        if length is not None and length.max_ticks > given_ticks:
            written.append((given_ticks, length.max_ticks))
        if not written:
            return lines  # the request is not valid
        half_step = self._tokenizer.step_ticks // 2  # bar lines may be off the grid
        first, last = min(start for start, _ in written), max(end for _, end in written)
        seen = lines.single_stretch(first + half_step, last - half_step)
        if seen is None:
            return BarLines(None, lines.pickup_ticks)
        return seen if seen.meter in self._tokenizer.positions.meters else replace(seen, meter=None)

    def _on_grid(self, ticks: int) -> int:
        """A length, rounded up to a whole step."""
        return -(-ticks // self._tokenizer.step_ticks) * self._tokenizer.step_ticks

    def _choice(self, length: Length | None) -> Choice:
        request = self._request
        many = bool(request.rewrite) and not request.resume_token
        return read_choice(
            request,
            default=self._terms.default_candidates if many else 1,
            steps=0 if length is None else -(-length.max_ticks // self._tokenizer.step_ticks),
            length_field=request.WhichOneof("length") or ("given" if request.HasField("given") else "length"),
            limits=self._terms.limits,
            validator=self._validator,
        )

    def _finishing(
        self,
        given: GivenMusic | None,
        given_ticks: int,
        lines: BarLines,
        tempo_bpm: float,
        changes: tuple[TempoChange, ...],
        program: int | None,
    ) -> Finishing:
        request, validator, ranges = self._request, self._validator, self._tokenizer.ranges
        score = None if given is None else given.score
        voices = len(ranges) if score is None else max(len(ranges), score.voices)
        if score is None and request.HasField("given"):
            voices = self._terms.limits.given_tracks  # it could not be read
        if program is None:
            program = self._bundle.defaults.program if score is None else score.program
        notes = () if given is None or not given.is_valid else given.score.notes
        pitches = [*ranges, *((note.pitch, note.pitch) for note in notes)] if request.transposition else []
        finishing = Finishing(
            bar_lines=lines,
            tempo_bpm=tempo_bpm,
            tempo_changes=changes,
            program=program,
            programs=read_programs(request, program, score, voices, validator),
            transposition=read_transposition(request, pitches, validator),
            shape=read_shape(request, dynamics=self._writes_dynamics(given), validator=validator),
            omitted_ticks=given_ticks if request.omit_given else 0,
        )
        if finishing.returned_bar_lines.pickup_ticks % PICKUP_UNIT_TICKS:
            validator.refuse("omit_given", "needs a given piece that ends on a 32nd; leave it in the returned piece")
        return finishing

    def _writes_dynamics(self, given: GivenMusic | None) -> bool:
        """Whether the model writes dynamics; also if the given piece could not be read and it would in any case."""
        has_dynamics = self._tokenizer.has_dynamics
        if given is None and self._request.HasField("given"):
            return has_dynamics(True) and has_dynamics(False)
        return has_dynamics(None if given is None else given.score.has_dynamics)

    def _check_resume_tokens(self, *, streamed: bool) -> None:
        """Check that the model has resume tokens if the request or its stream asks for some."""
        if can_resume(self._bundle):
            return
        size = state_bytes(self._bundle)
        for field, asked in (("return_resume_token", self._request.return_resume_token), ("resume_tokens", streamed)):
            if asked:
                reason = f"its state has {size:,} bytes, and a token at most {MAX_TOKEN_BYTES:,}"
                self._validator.refuse(field, f"{UNSUPPORTED}: {reason}")

    def _request_hash(self, lines: BarLines, seen: BarLines) -> bytes:
        """What resume tokens of the request are tied to."""
        return request_hash(self._request, f"{seen.meter} {seen.pickup_ticks}" if lines.changes else "")

    def _resume_point(self, lines: BarLines, seen: BarLines) -> ResumePoint | None:
        """Where the resume token of the request leads; None without one, or if it is not valid."""
        request, validator, tokens = self._request, self._validator, self._terms.resume_tokens
        if not request.resume_token:
            return None
        if request.candidates > 1:
            validator.add_violation("candidates", "1 with a resume token", request.candidates)
        if tokens is None:
            validator.refuse("resume_token", UNSUPPORTED)
            return None
        try:
            hash_ = self._request_hash(lines, seen)
            point = tokens.open(request.resume_token, self._terms.identity, hash_)
        except ResumeTokenError as error:
            validator.refuse("resume_token", str(error))
            return None
        if request.HasField("seed") and request.seed not in (point.seed, point.request_seed):
            validator.add_violation("seed", f"unset or {point.seed}, the seed of the resumed piece", request.seed)
        return point

    def _regions(self, given_ticks: int | None, lines: BarLines | None) -> tuple[Region, ...]:
        return read_regions(
            self._request.rewrite,
            bar_lines=lines,
            length_ticks=given_ticks,
            step_ticks=self._tokenizer.step_ticks,
            voices=len(self._tokenizer.ranges),
            writing=self._writing,
            validator=self._validator,
        )

    def _task(
        self,
        given: GivenMusic | None,
        given_ticks: int,
        regions: tuple[Region, ...],
        finishing: Finishing,
        lines: BarLines | None,
        seen: BarLines,
        length: Length | None,
    ) -> WritingTask | None:
        """What is asked of the tokenizer; None if there are violations."""
        request, validator, tokenizer = self._request, self._validator, self._tokenizer
        kind = request.WhichOneof("length")
        is_open = kind == "open" or (kind is None and not request.rewrite)
        if is_open and not self._writing.open_length:
            validator.refuse(kind or "length", UNSUPPORTED)
        frame = PieceFrame(
            bar_lines=lines or BarLines(),
            length_ticks=None if length is None or lines is None else length.max_ticks,
            is_open=is_open,
            given_ticks=given_ticks,
            ranges=tokenizer.ranges,
            writing=self._writing,
        )
        key = None if given is None else given.score.key_sharps
        constraints = read_constraints(request.constraints, frame, validator)
        controls = read_controls(request.controls, frame, validator)
        if validator.violations:
            return None
        assert length is not None
        return WritingTask(
            attributes=ScoreAttributes(
                seen.meter,
                seen.pickup_ticks,
                finishing.tempo_bpm,
                key,
                finishing.program,
                self._writes_dynamics(given),
            ),
            length=length,
            given=None if given is None else given.score,
            regions=regions,
            constraints=constraints,
            controls=controls,
            bar_lines=lines,
        )

    def _plain_plan(self, finishing: Finishing, length: Length | None) -> PlainPlan:
        """The plan of a request that only composes, and is valid."""
        assert length is not None
        has_dynamics = self._writes_dynamics(None)
        attributes = ScoreAttributes(
            finishing.bar_lines.meter, 0, finishing.tempo_bpm, None, finishing.program, has_dynamics
        )
        return PlainPlan.make(self._tokenizer, attributes, length.max_ticks, is_open=length.is_open)

    def _plan(self, task: WritingTask) -> WritingPlan | None:
        """The plan of the tokens; None if the tokenizer refuses the task."""
        request, validator = self._request, self._validator
        try:
            return self._tokenizer.plan(task)
        except TaskError as error:
            field = request.WhichOneof("length") or "length" if error.field == "length" else error.field
            validator.refuse(field, error.message)
        except UnsupportedMeterError as error:
            validator.refuse("meter", str(error))
        return None

    def _is_complete(self, plan: WritingPlan, snapshot: Snapshot) -> bool:
        """Whether a resumed piece has all its tokens already. It may not have more."""
        count = len(snapshot.tokens)
        stops = int(np.count_nonzero(snapshot.tokens == plan.stop_token)) if plan.stop_count else -1
        is_over = count > plan.max_tokens or stops > plan.stop_count
        is_complete = count == plan.max_tokens or stops == plan.stop_count
        if plan.guide is not None and count and not is_over:
            cursor = plan.guide.cursor()
            cursor.replay(snapshot.tokens[:-1])
            is_over = cursor.complete
            cursor.replay(snapshot.tokens[-1:])
            is_complete |= cursor.complete
        if is_over:
            field = self._request.WhichOneof("length") or "length"
            self._validator.refuse(field, "must not be less than what the resumed piece has already")
        return is_complete

    def _outcome(self, given: GivenMusic, plan: WritingPlan, lines: BarLines, seen: BarLines) -> GivenOutcome:
        return GivenOutcome(
            included=not self._request.omit_given,
            length_ticks=plan.given_ticks,
            changed_notes=given.changed_notes + plan.changed_notes,
            left_out=given.left_out,
            meter_known=seen.meter is not None,
            meter_changes=len(lines.changes),
        )


def completion_of(plan: WritingPlan, snapshot: Snapshot) -> Completion:
    """The completion of a piece that was complete when its resume token was made.

    Args:
        plan: of the piece.
        snapshot: its state has seen all its tokens.
    """
    count = len(snapshot.tokens)
    candidate = Candidate(
        index=0,
        seed=snapshot.seed,
        tokens=snapshot.tokens,
        log_probabilities=np.full(count, np.nan, np.float32),
        forced=forced_tokens(plan, snapshot.tokens),
        finish_reason=FinishReason.LENGTH,
        snapshot=snapshot,
        resumed=snapshot,
    )
    return Completion((candidate,), queue_seconds=0.0, first_token_seconds=0.0, total_seconds=0.0)


def forced_tokens(plan: WritingPlan, tokens: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the tokens (n,) are given: those of the primer, and those that the guide forces."""
    if plan.guide is not None:
        return plan.guide.cursor().replay(tokens)
    forced = np.zeros(len(tokens), np.bool_)
    forced[: len(plan.primer)] = True
    return forced
