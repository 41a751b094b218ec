"""`events`: bars, positions, pitches, durations and velocities, for any polyphonic music.

After REMI (Huang and Yang, 2020, "Pop Music Transformer"), with triplets on the grid, the piece's program, tempo,
meter and pickup in front, and a voice in every pitch, so that the hands of a piano stay apart:

    PROGRAM TEMPO METER POSITION, then for each bar POSITION (PITCH TIE* DURATION VELOCITY)+ ..., BAR between, END

The first POSITION says where in the bar the piece begins. Rests follow from positions. An END after a POSITION ends
the piece there, any other END ends it with its bar. A bar has at most `bar_tokens` tokens, so that every sequence
reaches any length that was asked for.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, ClassVar, Final, Self

import numpy as np

from music.automata import Clock
from music.score import TICKS_PER_QUARTER, Meter, Note, Score
from music.tokenizers.arguments import StoredMeter
from music.tokenizers.base import Encoding, Setting, Tokenizer, Tokens, require_pitches
from music.tokenizers.event_decoder import EventDecoder
from music.tokenizers.event_grammar import NOTE_TOKENS, OPENING_TOKENS, event_grammar
from music.tokenizers.event_vocabulary import BAR, END, START, EventVocabulary

MAX_VOICES: Final = 8
MAX_METERS: Final = 8
MAX_BAR_QUARTERS: Final = 8
MIN_BAR_TOKENS: Final = 64
MAX_BAR_TOKENS: Final = 4096


_Place = tuple[int, int, int]
"""Step, voice and pitch of a note."""
_Sound = tuple[int, int]
"""Its duration in steps, and its velocity."""
_PlacedNote = tuple[_Place, _Sound]


class EventsTokenizer(Tokenizer):
    """Notes of any polyphony on a grid of `positions_per_quarter`.

    `longest_quarters` is the longest duration that one token says; longer ones are tied together. A score's voices
    beyond `voices` join the last. `lowest_pitch` and `highest_pitch` are MIDI numbers, both inside. `velocity_bins`
    and `tempo_bins` say how finely those are told apart, `programs` and `meters` which ones are known: a score in
    any other meter is heard without bar lines, as bars of a quarter. `bar_tokens` is the most tokens that a bar may
    have, whatever its meter.
    """

    name: ClassVar[str] = "events"
    version: ClassVar[int] = 2

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
        meters: tuple[StoredMeter, ...] = (Meter(4, 4), Meter(3, 4)),
        bar_tokens: int = 768,
    ) -> None:
        require_pitches(lowest_pitch, highest_pitch)
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
        if not 1 <= len(meters) <= MAX_METERS or len(set(meters)) != len(meters):
            raise ValueError(f"meters must name 1 to {MAX_METERS} meters, each once")
        self.step_ticks = TICKS_PER_QUARTER // positions_per_quarter
        for meter in meters:
            if not _countable(meter, self.step_ticks):
                raise ValueError(f"a bar of {meter} must be a whole number of steps and {MAX_BAR_QUARTERS} quarters")
        self.voices = voices
        self.lowest_pitch = lowest_pitch
        self.highest_pitch = highest_pitch
        self.positions_per_quarter = positions_per_quarter
        self.longest_quarters = longest_quarters
        self.velocity_bins = velocity_bins
        self.tempo_bins = tempo_bins
        self.programs = tuple(programs)
        self.meters = tuple(meters)
        self.bar_tokens = bar_tokens

        self.vocabulary = EventVocabulary(
            quarter_steps=positions_per_quarter,
            bar_steps=tuple(meter.bar_ticks // self.step_ticks for meter in self.meters),
            durations=longest_quarters * positions_per_quarter,
            velocity_bins=velocity_bins,
            tempo_bins=tempo_bins,
            programs=self.programs,
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
        self.grammar = event_grammar(self.vocabulary, positions_per_quarter, bar_tokens)
        self.clock = Clock(
            successor=np.zeros(1, np.int32),
            features=np.zeros((1, 1), np.int32),
            feature_sizes=(1,),
            meters=self.meters,
            starts={(meter, 0): 0 for meter in (*self.meters, None)},
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
            "meters": [str(meter) for meter in self.meters],
            "bar_tokens": self.bar_tokens,
        }

    @classmethod
    def fit(cls, parameters: dict[str, Any], scores: Iterable[Score]) -> Self:
        """See `Tokenizer.fit`: where they are left open, pitches, programs and meters are the scores' own.

        The commonest meter comes first, and is the one of a piece that nobody asked a meter of; likewise the program.
        """
        arguments = dict(parameters)
        pitches: set[int] = set()
        programs: Counter[int] = Counter()
        meters: Counter[Meter] = Counter()
        for score in scores:
            pitches.update(note.pitch for note in score.notes)
            programs[score.program] += 1
            if score.meter is not None:
                meters[score.meter] += 1
        if not pitches and not {"lowest_pitch", "highest_pitch"} <= arguments.keys():
            raise ValueError("events: the training scores hold no note to take the range from")
        if pitches:
            arguments.setdefault("lowest_pitch", min(pitches))
            arguments.setdefault("highest_pitch", max(pitches))
        if programs:
            arguments.setdefault("programs", sorted(programs, key=lambda program: (-programs[program], program)))
        positions = arguments.get("positions_per_quarter", 12)
        if isinstance(positions, int) and positions > 0:
            known = [meter for meter in meters if _countable(meter, TICKS_PER_QUARTER // positions)]
            known.sort(key=lambda meter: (-meters[meter], meter))
            if known:
                arguments.setdefault("meters", [str(meter) for meter in known[:MAX_METERS]])
        return cls.from_parameters(arguments)

    def token_name(self, token: int) -> str:
        """See `Tokenizer.token_name`."""
        return self.vocabulary.name(token)

    def opening(self, setting: Setting) -> tuple[int, ...]:
        """See `Tokenizer.opening`: program, tempo, meter, and the position where the piece begins."""
        v = self.vocabulary
        meter = v.meter(setting.meter)
        begins = -round(setting.pickup_ticks / self.step_ticks) % v.bar_steps[meter - v.first_meter]
        return v.program(setting.program), v.tempo(setting.tempo_bpm), meter, v.position(begins)

    def encode(self, score: Score) -> Encoding:
        """See `Tokenizer.encode`.

        A note off the grid begins at the nearest step (`off_grid`); one that begins on it but does not end on it
        has the nearest length (`rounded_duration`). A note of a voice that there is none for joins the last
        (`revoiced`), as does one whose key its own voice strikes in the same step, if it is on the grid and another
        voice is free; otherwise the longest of those stays (`doubled`). `out_of_range` notes are left out. Where a bar
        has no token left, further notes of it are left out (`too_dense`) and long ones shortened (`shortened`).
        """
        dropped: Counter[str] = Counter()
        notes = self._on_grid(score, dropped)
        v = self.vocabulary
        tokens = list(self.opening(Setting(score.meter, score.pickup_ticks, score.tempo_bpm, None, score.program)))
        bar_steps = v.bar_steps[tokens[2] - v.first_meter]
        begins = tokens[3] - v.position(0)
        steps = max([1, -(-score.length_ticks // self.step_ticks), *(step + 1 for step, _, _ in notes)])
        last_bar, rest = divmod(begins + steps, bar_steps)
        bar, now = 0, -1

        def go_to(step: int) -> None:
            nonlocal bar, now
            target, position = divmod(begins + step, bar_steps)
            tokens.extend([BAR] * (target - bar))
            tokens.append(v.position(position))
            bar, now = target, step

        for number, group in groupby(sorted(notes.items()), key=lambda item: (begins + item[0][0]) // bar_steps):
            # What the grammar keeps free: for the BAR or END, and before it for a POSITION, which a note might follow.
            closing = 1 + (1 + NOTE_TOKENS if rest and number == last_bar else 0)
            opening = OPENING_TOKENS if number == 0 else 0
            for (step, voice, pitch), (duration, velocity) in self._fitting(
                list(group), self.bar_tokens - opening - closing, dropped
            ):
                if step != now:
                    go_to(step)
                tokens += [v.pitch(voice, pitch), *v.duration(duration), v.velocity(velocity)]
        if rest:
            go_to(steps)
        else:
            tokens.extend([BAR] * (last_bar - 1 - bar))
        return Encoding(np.array([*tokens, END], np.int32), 0, 0, dropped)

    def decoder(self) -> EventDecoder:
        """See `Tokenizer.decoder`."""
        return EventDecoder(self.vocabulary, self.step_ticks)

    def shifts(self, tokens: Tokens) -> range:
        """See `Tokenizer.shifts`."""
        v = self.vocabulary
        pitches = (tokens[tokens >= v.first_pitch] - v.first_pitch) % v.pitches
        if not pitches.size:
            return range(1)
        return range(-int(pitches.min()), v.pitches - int(pitches.max()))

    def shifted(self, tokens: Tokens, semitones: int) -> Tokens:
        """See `Tokenizer.shifted`."""
        return np.where(tokens >= self.vocabulary.first_pitch, tokens + semitones, tokens).astype(tokens.dtype)

    def bar_count(self, length_ticks: int, setting: Setting) -> int:
        """See `Tokenizer.bar_count`."""
        v = self.vocabulary
        _, _, meter, begins = self.opening(setting)
        steps = begins - v.position(0) - (-length_ticks // self.step_ticks)
        return -(-steps // v.bar_steps[meter - v.first_meter])

    def token_count(self, length_ticks: int, setting: Setting) -> int:
        """See `Tokenizer.token_count`: every bar has as many as it may."""
        return self.bar_count(length_ticks, setting) * self.bar_tokens

    def _fitting(self, bar: Sequence[_PlacedNote], room: int, dropped: Counter[str]) -> list[_PlacedNote]:
        """The notes of a bar that `room` tokens can say: first all notes without their ties, then the ties.

        Args:
            bar: in the order in which they are said.
            room: tokens.
            dropped: is told of notes left out and notes shortened.
        """
        fitting: list[_PlacedNote] = []
        now = -1
        for note in bar:
            tokens = NOTE_TOKENS + (note[0][0] != now)
            if tokens > room:
                dropped["too_dense"] += 1
                continue
            room -= tokens
            now = note[0][0]
            fitting.append(note)
        longest = self.vocabulary.durations
        for index, (place, (duration, velocity)) in enumerate(fitting):
            ties = (duration - 1) // longest
            if ties > room:
                dropped["shortened"] += 1
                ties = room
                fitting[index] = place, ((ties + 1) * longest, velocity)
            room -= ties
        return fitting

    def _on_grid(self, score: Score, dropped: Counter[str]) -> dict[_Place, _Sound]:
        """Every note that stays, by its place."""
        placed: dict[_Place, _Sound] = {}

        def is_off(note: Note) -> bool:
            return note.onset % self.step_ticks != 0

        def order(note: Note) -> tuple[bool, bool, int, int]:
            return is_off(note), note.end % self.step_ticks != 0, -note.duration, -note.velocity

        for note in sorted(score.notes, key=order):
            if not self.lowest_pitch <= note.pitch <= self.highest_pitch:
                dropped["out_of_range"] += 1
                continue
            step = round(note.onset / self.step_ticks)
            duration = max(round(note.end / self.step_ticks) - step, 1)
            own = min(note.voice, self.voices - 1)
            candidates = [own] if is_off(note) else [own, *(set(range(self.voices)) - {own})]
            voice = next((voice for voice in candidates if (step, voice, note.pitch) not in placed), None)
            if voice is None:
                dropped["doubled"] += 1
                continue
            if is_off(note):
                dropped["off_grid"] += 1
            elif note.end % self.step_ticks:
                dropped["rounded_duration"] += 1
            elif voice != note.voice:
                dropped["revoiced"] += 1
            placed[step, voice, note.pitch] = duration, note.velocity
        return placed


def _countable(meter: Meter, step_ticks: int) -> bool:
    return meter.bar_ticks % step_ticks == 0 and meter.bar_ticks <= MAX_BAR_QUARTERS * TICKS_PER_QUARTER
