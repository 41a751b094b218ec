"""`events`: bars, positions, pitches, durations and velocities, for any polyphonic music.

Follows REMI (Huang and Yang, 2020, "Pop Music Transformer"). In addition, the grid has triplets, the first tokens are
program, tempo, meter, dynamics and pickup, and every pitch has a voice, which separates the hands of a piano:

    PROGRAM TEMPO METER DYNAMICS POSITION, then for each bar POSITION (PITCH TIE* DURATION VELOCITY)+ ..., BAR between,
    END

DYNAMICS says whether the dynamics of the piece are known. If they are not, as in most scores, no note has a VELOCITY.
The first POSITION is the place in the bar at which the piece starts. Rests follow from the positions. An END after a
POSITION ends the piece there; any other END ends it with its bar. A bar has at most `bar_tokens` tokens, so that every
sequence reaches any requested length.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np

from music.composition.plan import WritingCapabilities
from music.composition.task import WritingTask
from music.positions import MetricalPositions
from music.remaining_length import RemainingLength
from music.score import TICKS_PER_QUARTER, Meter, Score, ScoreAttributes
from music.tokenizers.base import Encoding, Tokenizer, Tokens, check_pitch_range
from music.tokenizers.event_decoder import EventDecoder
from music.tokenizers.event_grammar import bar_room, event_grammar, note_tokens
from music.tokenizers.event_placement import fit_bar, place_notes
from music.tokenizers.event_plan import EventPlan, plan_events
from music.tokenizers.event_vocabulary import BAR, END, START, EventVocabulary
from music.tokenizers.note_tracker import NoteTracker
from music.tokenizers.parameters import MeterText

MAX_VOICES: Final = 8
MAX_METERS: Final = 8
MAX_BAR_QUARTERS: Final = 8
MIN_BAR_TOKENS: Final = 64
MAX_BAR_TOKENS: Final = 4096

Dynamics = Literal["known", "unknown"]
_MIN_DYNAMICS_SHARE: Final = 0.05
"""Minimum share of the training scores that have dynamics, or have none, to get a token: a model that saw fewer would
not know what it means."""


class EventsTokenizer(Tokenizer):
    """Notes of any polyphony on a grid.

    Args:
        lowest_pitch: MIDI number of the lowest pitch.
        highest_pitch: MIDI number of the highest pitch.
        voices: number of voices; higher voices of a score become the last one.
        positions_per_quarter: steps in a quarter note.
        longest_quarters: longest duration of one DURATION token; longer notes have TIE tokens.
        velocity_bins: number of VELOCITY tokens.
        tempo_bins: number of TEMPO tokens.
        programs: General MIDI programs with a token.
        dynamics: `known` and `unknown`, or one of the two, the one of new pieces first. If `unknown` is missing, all
            notes have a VELOCITY; if `known` is missing, none has.
        meters: meters with a token. A score in another meter has no bar lines: its bars are quarters.
        bar_tokens: maximum number of tokens of a bar, its BAR included.

    Raises:
        ValueError: a parameter is out of range.
    """

    name: ClassVar[str] = "events"
    version: ClassVar[int] = 3

    def __init__(
        self,
        *,
        lowest_pitch: int,
        highest_pitch: int,
        voices: int = 2,
        positions_per_quarter: int = 12,
        longest_quarters: int = 4,
        velocity_bins: int = 32,
        tempo_bins: int = 32,
        programs: tuple[int, ...] = (0,),
        dynamics: tuple[Dynamics, ...] = ("known", "unknown"),
        meters: tuple[MeterText, ...] = (Meter(4, 4), Meter(3, 4)),
        bar_tokens: int = 768,
    ) -> None:
        check_pitch_range(lowest_pitch, highest_pitch)
        if positions_per_quarter < 1 or TICKS_PER_QUARTER % positions_per_quarter:
            raise ValueError(f"positions_per_quarter must divide {TICKS_PER_QUARTER}, not {positions_per_quarter}")
        for what, value, least, most in (
            ("voices", voices, 1, MAX_VOICES),
            ("positions_per_quarter", positions_per_quarter, 1, 48),
            ("longest_quarters", longest_quarters, 1, 16),
            ("velocity_bins", velocity_bins, 1, 127),
            ("tempo_bins", tempo_bins, 1, 128),
            ("bar_tokens", bar_tokens, MIN_BAR_TOKENS, MAX_BAR_TOKENS),
        ):
            if not least <= value <= most:
                raise ValueError(f"{what} must be {least} to {most}, not {value}")
        if not programs or len(set(programs)) != len(programs) or not all(0 <= p <= 127 for p in programs):
            raise ValueError("programs must name at least one General MIDI program, 0 to 127, each once")
        if not dynamics or len(set(dynamics)) != len(dynamics) or not set(dynamics) <= {"known", "unknown"}:
            raise ValueError("dynamics must be known, unknown or both, each once")
        if not 1 <= len(meters) <= MAX_METERS or len(set(meters)) != len(meters):
            raise ValueError(f"meters must name 1 to {MAX_METERS} meters, each once")
        self.step_ticks = TICKS_PER_QUARTER // positions_per_quarter
        for meter in meters:
            if not _has_whole_steps(meter, self.step_ticks):
                raise ValueError(f"a bar of {meter} must be a whole number of steps and {MAX_BAR_QUARTERS} quarters")
        self.voices = voices
        self.lowest_pitch = lowest_pitch
        self.highest_pitch = highest_pitch
        self.ranges = ((lowest_pitch, highest_pitch),) * voices
        self.positions_per_quarter = positions_per_quarter
        self.longest_quarters = longest_quarters
        self.velocity_bins = velocity_bins
        self.tempo_bins = tempo_bins
        self.programs = tuple(programs)
        self.dynamics = tuple(dynamics)
        self.meters = tuple(meters)
        self.bar_tokens = bar_tokens

        self.vocabulary = EventVocabulary(
            quarter_steps=positions_per_quarter,
            bar_steps=tuple(meter.bar_ticks // self.step_ticks for meter in self.meters),
            durations=longest_quarters * positions_per_quarter,
            velocity_bins=velocity_bins,
            tempo_bins=tempo_bins,
            programs=self.programs,
            dynamics=tuple(kind == "known" for kind in self.dynamics),
            meters=self.meters,
            voices=voices,
            lowest_pitch=lowest_pitch,
            highest_pitch=highest_pitch,
        )
        self.tokens_per_step = 1
        self.vocabulary_size = self.vocabulary.size
        self.start_token = START
        self.end_token = END
        self.bar_token = BAR
        self.note_tracker = NoteTracker(self.vocabulary)
        self.grammar = event_grammar(self.vocabulary, positions_per_quarter, bar_tokens)
        self.positions = MetricalPositions.single(self.meters)
        self.remaining_length = RemainingLength.in_bars(BAR)
        self.writing = WritingCapabilities(
            continuation=True,
            rewrite_bars=True,
            rewrite_voices=voices > 1,
            rewrite_ticks=True,
            scale=True,
            chords=True,
            ranges=True,
            density=True,
            voice_densities=voices > 1,
            dynamics=self.has_dynamics(None),
            open_length=True,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Tokenizer.parameters`."""
        return {
            "lowest_pitch": self.lowest_pitch,
            "highest_pitch": self.highest_pitch,
            "voices": self.voices,
            "positions_per_quarter": self.positions_per_quarter,
            "longest_quarters": self.longest_quarters,
            "velocity_bins": self.velocity_bins,
            "tempo_bins": self.tempo_bins,
            "programs": list(self.programs),
            "dynamics": list(self.dynamics),
            "meters": [str(meter) for meter in self.meters],
            "bar_tokens": self.bar_tokens,
        }

    @classmethod
    def fit(cls, parameters: dict[str, Any], scores: Iterable[Score]) -> Self:
        """See `Tokenizer.fit`: the default pitch range, programs, meters and dynamics are those of the scores.

        The most frequent ones are the first, and so the defaults of requests. Known or unknown dynamics are left out if
        less than a twentieth of the scores has them.
        """
        arguments = dict(parameters)
        pitches: set[int] = set()
        programs: Counter[int] = Counter()
        meters: Counter[Meter] = Counter()
        dynamics: Counter[str] = Counter()
        for score in scores:
            pitches.update(note.pitch for note in score.notes)
            programs[score.program] += 1
            dynamics["known" if score.has_dynamics else "unknown"] += 1
            if score.meter is not None:
                meters[score.meter] += 1
        if not pitches and not {"lowest_pitch", "highest_pitch"} <= arguments.keys():
            raise ValueError("events: the training scores have no notes to compute the pitch range from")
        if pitches:
            arguments.setdefault("lowest_pitch", min(pitches))
            arguments.setdefault("highest_pitch", max(pitches))
        if programs:
            arguments.setdefault("programs", sorted(programs, key=lambda program: (-programs[program], program)))
        kinds = [kind for kind in sorted(dynamics) if dynamics[kind] >= _MIN_DYNAMICS_SHARE * dynamics.total()]
        if kinds:
            arguments.setdefault("dynamics", sorted(kinds, key=lambda kind: -dynamics[kind]))
        positions = arguments.get("positions_per_quarter", 12)
        if isinstance(positions, int) and positions > 0:
            known = [meter for meter in meters if _has_whole_steps(meter, TICKS_PER_QUARTER // positions)]
            known.sort(key=lambda meter: (-meters[meter], meter))
            if known:
                arguments.setdefault("meters", [str(meter) for meter in known[:MAX_METERS]])
        return cls.from_parameters(arguments)

    def token_name(self, token: int) -> str:
        """See `Tokenizer.token_name`."""
        return self.vocabulary.name(token)

    def header_tokens(self, attributes: ScoreAttributes) -> tuple[int, ...]:
        """See `Tokenizer.header_tokens`: program, tempo, meter, dynamics, and the position where the piece starts."""
        v = self.vocabulary
        meter = v.meter(attributes.meter)
        first_step = -round(attributes.pickup_ticks / self.step_ticks) % v.bar_steps[meter - v.first_meter]
        return (
            v.program(attributes.program),
            v.tempo(attributes.tempo_bpm),
            meter,
            v.dynamics_of(attributes.has_dynamics),
            v.position(first_step),
        )

    def has_dynamics(self, given: bool | None) -> bool:
        """See `Tokenizer.has_dynamics`: as in the given piece, if the model knows such pieces."""
        v = self.vocabulary
        return v.dynamics[0] if given is None else v.has_dynamics(v.dynamics_of(given))

    def plan(self, task: WritingTask) -> EventPlan:
        """See `Tokenizer.plan`.

        Notes may be written at every step of a region, in its voices; the given notes stay between them. They may last
        beyond their region, but not beyond the piece, and a chord ends them before it if they are not in it. The
        lowest note that is written in the lowest voice under a chord with a bass is that bass, and so is the first.
        A piece that ends within a bar is written up to the bar line, and then cut.
        """
        return plan_events(task, self)

    def encode(self, score: Score) -> Encoding:
        """See `Tokenizer.encode`.

        A note off the grid moves to the nearest step (`off_grid`). A note that starts on the grid and ends off it gets
        the nearest duration (`rounded_duration`). A note moves to another voice (`revoiced`) if its own voice has no
        tokens, or if its voice has the same pitch at the same step and another voice has not. If all voices have it,
        or the note is off the grid, only the longest note is kept (`doubled`). `out_of_range` notes are left out. If a
        bar needs more than `bar_tokens`, its last notes are left out (`too_dense`) and long notes are shortened
        (`shortened`).
        """
        dropped: Counter[str] = Counter()
        v = self.vocabulary
        notes = place_notes(score.notes, v, self.step_ticks, dropped)
        tokens = list(
            self.header_tokens(
                ScoreAttributes(
                    score.single_meter, score.pickup_ticks, score.tempo_bpm, None, score.program, score.has_dynamics
                )
            )
        )
        has_dynamics = v.has_dynamics(tokens[3])
        bar_steps = v.bar_steps[tokens[2] - v.first_meter]
        first_step = tokens[4] - v.position(0)
        steps = max([1, -(-score.length_ticks // self.step_ticks), *(step + 1 for step, _, _ in notes)])
        last_bar, rest = divmod(first_step + steps, bar_steps)
        bar, now = 0, -1

        def go_to(step: int) -> None:
            nonlocal bar, now
            target, position = divmod(first_step + step, bar_steps)
            tokens.extend([BAR] * (target - bar))
            tokens.append(v.position(position))
            bar, now = target, step

        for number, group in groupby(sorted(notes.items()), key=lambda item: (first_step + item[0][0]) // bar_steps):
            room = bar_room(self.bar_tokens, is_first=number == 0, has_dynamics=has_dynamics)
            if rest and number == last_bar:
                room -= 1 + note_tokens(has_dynamics)  # before the END, the grammar needs room for a POSITION and note
            for (step, voice, pitch), (duration, velocity) in fit_bar(
                list(group), room, v.durations, dropped, has_dynamics=has_dynamics
            ):
                if step != now:
                    go_to(step)
                tokens += v.note(voice, pitch, duration, velocity if has_dynamics else None)
        if rest:
            go_to(steps)
        else:
            tokens.extend([BAR] * (last_bar - 1 - bar))
        return Encoding(np.array([*tokens, END], np.int32), 0, 0, dropped)

    def decoder(self) -> EventDecoder:
        """See `Tokenizer.decoder`."""
        return EventDecoder(self.vocabulary, self.step_ticks)

    def transpositions(self, tokens: Tokens) -> range:
        """See `Tokenizer.transpositions`."""
        v = self.vocabulary
        pitches = (tokens[tokens >= v.first_pitch] - v.first_pitch) % v.pitches
        if not pitches.size:
            return range(1)
        return range(-int(pitches.min()), v.pitches - int(pitches.max()))

    def transposed(self, tokens: Tokens, semitones: int) -> Tokens:
        """See `Tokenizer.transposed`."""
        return np.where(tokens >= self.vocabulary.first_pitch, tokens + semitones, tokens).astype(tokens.dtype)

    def bar_count(self, length_ticks: int, attributes: ScoreAttributes) -> int:
        """See `Tokenizer.bar_count`."""
        v = self.vocabulary
        _, _, meter, _, first_step = self.header_tokens(attributes)
        steps = first_step - v.position(0) - (-length_ticks // self.step_ticks)
        return -(-steps // v.bar_steps[meter - v.first_meter])

    def token_count(self, length_ticks: int, attributes: ScoreAttributes) -> int:
        """See `Tokenizer.token_count`: the maximum of every bar."""
        return self.bar_count(length_ticks, attributes) * self.bar_tokens


def _has_whole_steps(meter: Meter, step_ticks: int) -> bool:
    return meter.bar_ticks % step_ticks == 0 and meter.bar_ticks <= MAX_BAR_QUARTERS * TICKS_PER_QUARTER
