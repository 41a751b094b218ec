"""`grid`: N voices on a fixed grid, interleaved within a step. A token is a pitch, HOLD or REST.

With four voices on 16ths this is the usual encoding of Bach chorales; with one voice it is the encoding of Magenta's
Melody RNN. Every silent step is a REST, and HOLD only continues a sounding note. So a score has exactly one encoding.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final, Self

import numpy as np

from music.composition.task import WritingTask
from music.grammar import Grammar
from music.positions import MetricalPositions
from music.remaining_length import RemainingLength
from music.score import NOTE_ORDER, TICKS_PER_QUARTER, Meter, Note, Score, ScoreAttributes
from music.tokenizers.base import Encoding, IncrementalDecoder, Tokenizer, Tokens, check_pitch_range
from music.tokenizers.grid_plan import GridPlan, plan_grid, writing_capabilities
from music.tokenizers.grid_vocabulary import END, FIRST_PITCH, HOLD, REST, START, VELOCITY
from music.tokenizers.parameters import MeterText
from music.voice_tracker import VoiceTracker

MAX_VOICES: Final = 8
_SINGLE_QUARTERS: Final = 8
"""The last steps of a piece, in quarters, each of which has a remaining length of its own."""
MAX_POSITIONS: Final = 65_536
"""Maximum number of position indices: the steps of all meters' bars, for each voice."""


class GridTokenizer(Tokenizer):
    """N monophonic voices on a grid of `steps_per_quarter` steps.

    Args:
        voices: number of voices.
        lowest_pitch: MIDI number of the lowest pitch token.
        highest_pitch: MIDI number of the highest pitch token.
        steps_per_quarter: steps in a quarter note.
        voice_order: the score's voices in the order of a step's tokens. (0, 3, 1, 2) is soprano, bass, then the inner
            voices. None for the order of the score.
        meters: meters with positions of their own. A score in another meter is encoded without bar lines.
        ranges: lowest and highest pitch of each voice of the score, which the grammar enforces. None for all pitches.

    Raises:
        ValueError: a parameter is out of range.
    """

    name: ClassVar[str] = "grid"
    version: ClassVar[int] = 1

    def __init__(
        self,
        *,
        voices: int,
        lowest_pitch: int,
        highest_pitch: int,
        steps_per_quarter: int = 4,
        voice_order: tuple[int, ...] | None = None,
        meters: tuple[MeterText, ...] = (Meter(4, 4), Meter(3, 4)),
        ranges: tuple[tuple[int, int], ...] | None = None,
    ) -> None:
        if not 1 <= voices <= MAX_VOICES:
            raise ValueError(f"voices must be 1 to {MAX_VOICES}, not {voices}")
        order = tuple(range(voices)) if voice_order is None else tuple(voice_order)
        check_pitch_range(lowest_pitch, highest_pitch)
        if steps_per_quarter < 1 or TICKS_PER_QUARTER % steps_per_quarter:
            raise ValueError(f"steps_per_quarter must divide {TICKS_PER_QUARTER}, not {steps_per_quarter}")
        if sorted(order) != list(range(voices)):
            raise ValueError(f"voice_order must be a permutation of 0 to {voices - 1}, not {order}")
        if not meters or len(set(meters)) != len(meters):
            raise ValueError("meters must name at least one meter, each once")
        self.ranges = ((lowest_pitch, highest_pitch),) * voices if ranges is None else tuple(ranges)
        if len(self.ranges) != voices:
            raise ValueError(f"ranges must name one range for each of the {voices} voices, not {len(self.ranges)}")
        for low, high in self.ranges:
            if not lowest_pitch <= low <= high <= highest_pitch:
                raise ValueError(
                    f"ranges must lie in order between {lowest_pitch} and {highest_pitch}, unlike {low} to {high}"
                )
        self.voices = voices
        self.lowest_pitch = lowest_pitch
        self.highest_pitch = highest_pitch
        self.steps_per_quarter = steps_per_quarter
        self.voice_order = order
        self.meters = tuple(meters)

        self.step_ticks = TICKS_PER_QUARTER // steps_per_quarter
        for meter in self.meters:
            if meter.bar_ticks % self.step_ticks:
                raise ValueError(f"a bar of {meter} is no whole number of steps")
        steps = sum(meter.bar_ticks // self.step_ticks for meter in self.meters) + steps_per_quarter
        if voices * steps > MAX_POSITIONS:
            raise ValueError(
                f"{voices} voices, {steps_per_quarter} steps_per_quarter and {len(self.meters)} meters make "
                f"{voices * steps} positions in the bar, more than {MAX_POSITIONS}"
            )
        self.tokens_per_step = voices
        self.writing = writing_capabilities(voices)
        self.vocabulary_size = FIRST_PITCH + highest_pitch - lowest_pitch + 1
        self.start_token = START
        self.end_token = END
        tokens = [(FIRST_PITCH + low - lowest_pitch, FIRST_PITCH + high - lowest_pitch) for low, high in self.ranges]
        self.grammar = _grammar([tokens[voice] for voice in order], self.vocabulary_size)
        self.positions = _positions(voices, steps_per_quarter, self.step_ticks, self.meters)
        self.remaining_length = _remaining_length(voices, steps_per_quarter, self.step_ticks, self.meters)
        self.voice_tracker = VoiceTracker(
            voices=voices, vocabulary=self.vocabulary_size, hold=HOLD, first_pitch=FIRST_PITCH, start=START
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Tokenizer.parameters`."""
        parameters = {
            "voices": self.voices,
            "lowest_pitch": self.lowest_pitch,
            "highest_pitch": self.highest_pitch,
            "steps_per_quarter": self.steps_per_quarter,
            "voice_order": list(self.voice_order),
            "meters": [str(meter) for meter in self.meters],
        }
        if self.ranges != ((self.lowest_pitch, self.highest_pitch),) * self.voices:
            parameters["ranges"] = [list(pair) for pair in self.ranges]
        return parameters

    @classmethod
    def fit(cls, parameters: dict[str, Any], scores: Iterable[Score]) -> Self:
        """See `Tokenizer.fit`: the default pitch range is the range of the scores."""
        arguments = dict(parameters)
        if "lowest_pitch" not in arguments or "highest_pitch" not in arguments:
            pitches = {note.pitch for score in scores for note in score.notes}
            if not pitches:
                raise ValueError("grid: the training scores have no notes to compute the pitch range from")
            arguments.setdefault("lowest_pitch", min(pitches))
            arguments.setdefault("highest_pitch", max(pitches))
        return cls.from_parameters(arguments)

    def token_name(self, token: int) -> str:
        """See `Tokenizer.token_name`."""
        if token >= FIRST_PITCH:
            return f"PITCH_{token - FIRST_PITCH + self.lowest_pitch}"
        return ("START", "END", "REST", "HOLD")[token]

    def encode(self, score: Score) -> Encoding:
        """See `Tokenizer.encode`.

        A note off the grid moves to the nearest step (`off_grid`). A note that starts on the grid and ends off it gets
        the nearest duration (`rounded_duration`). A note is shortened if a later note of its voice
        starts before its end (`overlapping`). Of several notes that start together in one voice, the highest is kept
        (`simultaneous`). Notes that are `out_of_range`, of an `extra_voice` or `past_the_end` are left out.
        """
        dropped: Counter[str] = Counter()
        steps = -(-score.length_ticks // self.step_ticks)
        columns = [[REST] * steps for _ in range(self.voices)]
        for note in score.notes:
            if note.voice >= self.voices:
                dropped["extra_voice"] += 1
                continue
            low, high = self.ranges[note.voice]
            if not low <= note.pitch <= high:
                dropped["out_of_range"] += 1
                continue
            first = round(note.onset / self.step_ticks)
            last = max(round(note.end / self.step_ticks), first + 1)
            if first * self.step_ticks != note.onset:
                dropped["off_grid"] += 1
            elif last * self.step_ticks != note.end:
                dropped["rounded_duration"] += 1
            last = min(last, steps)
            if first >= steps:
                dropped["past_the_end"] += 1
                continue
            column = columns[note.voice]
            token = FIRST_PITCH + note.pitch - self.lowest_pitch
            if column[first] >= FIRST_PITCH:
                dropped["simultaneous"] += 1
                if column[first] >= token:
                    continue
            elif column[first] == HOLD:
                dropped["overlapping"] += 1
            tail = last
            while tail < steps and column[tail] == HOLD:  # the rest of the shortened note becomes silent
                column[tail] = REST
                tail += 1
            column[first] = token
            column[first + 1 : last] = [HOLD] * (last - first - 1)
        tokens = np.empty(steps * self.voices + 1, np.int32)
        for place, voice in enumerate(self.voice_order):
            tokens[place : -1 : self.voices] = columns[voice]
        tokens[-1] = END
        pickup = round(score.pickup_ticks / self.step_ticks) * self.step_ticks
        unmetered = self.positions.starts[None, pickup % TICKS_PER_QUARTER]
        return Encoding(tokens, self.positions.starts.get((score.single_meter, pickup), unmetered), unmetered, dropped)

    def decoder(self) -> "GridDecoder":
        """See `Tokenizer.decoder`."""
        return GridDecoder(self)

    def _decode_all(self, tokens: Iterable[int]) -> tuple[list[Note], int, ScoreAttributes]:
        """See `Tokenizer._decode_all`: the result of `GridDecoder`, computed voice by voice."""
        ids = [*map(int, tokens)]
        if self.end_token in ids:
            del ids[ids.index(self.end_token) :]
        steps, ticks = -(-len(ids) // self.voices), self.step_ticks
        lowest = self.lowest_pitch - FIRST_PITCH
        notes: list[Note] = []
        for place, voice in enumerate(self.voice_order):
            line = ids[place :: self.voices]
            onsets = [step for step, token in enumerate(line) if token != HOLD]
            notes += [
                Note(onset * ticks, (end - onset) * ticks, line[onset] + lowest, VELOCITY, voice)
                for onset, end in zip(onsets, [*onsets[1:], steps], strict=False)
                if line[onset] >= FIRST_PITCH
            ]
        return notes, steps * ticks, ScoreAttributes(has_dynamics=False)

    def plan(self, task: WritingTask) -> GridPlan:
        """See `Tokenizer.plan`."""
        return plan_grid(self, task)

    def transpositions(self, tokens: Tokens) -> range:
        """See `Tokenizer.transpositions`: every voice stays in its range."""
        lowest, highest = -self.vocabulary_size, self.vocabulary_size
        for place, voice in enumerate(self.voice_order):
            line = tokens[place :: self.voices]
            pitches = line[line >= FIRST_PITCH] - FIRST_PITCH + self.lowest_pitch
            if pitches.size:
                low, high = self.ranges[voice]
                lowest, highest = max(lowest, low - int(pitches.min())), min(highest, high - int(pitches.max()))
        return range(lowest, highest + 1) if lowest > -self.vocabulary_size else range(1)

    def transposed(self, tokens: Tokens, semitones: int) -> Tokens:
        """See `Tokenizer.transposed`."""
        return np.where(tokens >= FIRST_PITCH, tokens + semitones, tokens).astype(tokens.dtype)


class GridDecoder(IncrementalDecoder):
    """Decodes the voices step by step."""

    def __init__(self, tokenizer: GridTokenizer) -> None:
        super().__init__(tokenizer.end_token)
        self._tokenizer = tokenizer
        self._sounding: list[tuple[int, int] | None] = [None] * tokenizer.voices  # (onset in steps, pitch)
        self._count = 0

    @property
    def length_ticks(self) -> int:
        """See `IncrementalDecoder.length_ticks`."""
        return -(-self._count // self._tokenizer.voices) * self._tokenizer.step_ticks

    @property
    def watermark_ticks(self) -> int:
        """See `IncrementalDecoder.watermark_ticks`: the end of the last step that is complete in all voices."""
        return self._count // self._tokenizer.voices * self._tokenizer.step_ticks

    @property
    def sounding(self) -> Sequence[Note]:
        """See `IncrementalDecoder.sounding`."""
        grid = self._tokenizer
        notes = []
        for place, voice in enumerate(grid.voice_order):
            sounding = self._sounding[voice]
            if sounding is not None:
                onset, pitch = sounding
                steps = -(-(self._count - place) // grid.voices)  # that the voice has tokens for
                notes.append(Note(onset * grid.step_ticks, (steps - onset) * grid.step_ticks, pitch, VELOCITY, voice))
        return sorted(notes, key=NOTE_ORDER)

    def _decode(self, token: int, notes: list[Note]) -> None:
        grid = self._tokenizer
        step, place = divmod(self._count, grid.voices)
        voice = grid.voice_order[place]
        self._count += 1
        if token == HOLD:
            return
        self._release(voice, step, notes)
        if token >= FIRST_PITCH:
            self._sounding[voice] = (step, token - FIRST_PITCH + grid.lowest_pitch)

    def _finish(self, notes: list[Note]) -> None:
        for voice in range(self._tokenizer.voices):
            self._release(voice, -(-self._count // self._tokenizer.voices), notes)

    def _release(self, voice: int, step: int, notes: list[Note]) -> None:
        sounding = self._sounding[voice]
        if sounding is None:
            return
        onset, pitch = sounding
        ticks = self._tokenizer.step_ticks
        notes.append(Note(onset * ticks, (step - onset) * ticks, pitch, VELOCITY, voice))
        self._sounding[voice] = None


def _grammar(ranges: Sequence[tuple[int, int]], vocabulary: int) -> Grammar:
    """A state is (place in the step, set of places that sound); two more states are the start and the end.

    Args:
        ranges: lowest and highest pitch token of each place in the step.
        vocabulary: number of token ids.
    """
    voices = len(ranges)
    sounding_sets = 1 << voices
    start, ended = voices * sounding_sets, voices * sounding_sets + 1
    allowed = np.zeros((ended + 1, vocabulary), np.bool_)
    successor = np.full((ended + 1, vocabulary), ended, np.int32)
    for place in range(voices):
        following = (place + 1) % voices
        for sounding in range(sounding_sets):
            state = place * sounding_sets + sounding
            bit = 1 << place
            low, high = ranges[place]
            allowed[state, REST] = allowed[state, low : high + 1] = True
            allowed[state, HOLD] = bool(sounding & bit)
            allowed[state, END] = place == 0
            successor[state, REST] = following * sounding_sets + (sounding & ~bit)
            successor[state, HOLD] = following * sounding_sets + sounding
            successor[state, FIRST_PITCH:] = following * sounding_sets + (sounding | bit)
    allowed[start] = allowed[0]
    allowed[start, END] = False  # a piece has at least one step
    successor[start] = successor[0]
    allowed[ended, END] = True
    return Grammar(allowed, successor, start)


def _positions(voices: int, steps_per_quarter: int, step_ticks: int, meters: tuple[Meter, ...]) -> MetricalPositions:
    """A cycle of one bar for each meter, and a cycle of one quarter for an unknown meter.

    Features: place in the step, step within the quarter, step within the bar of this meter (one value if unknown).
    """
    bars: list[tuple[Meter | None, int]] = [(meter, meter.bar_ticks // step_ticks) for meter in meters]
    bars.append((None, steps_per_quarter))
    positions = sum(steps for meter, steps in bars if meter is not None)
    successor: list[int] = []
    features: list[tuple[int, int, int]] = []
    starts: dict[tuple[Meter | None, int], int] = {}
    position = 0
    for meter, steps in bars:
        base = len(successor)
        for step in range(steps):
            pickup = (steps - step) % steps
            starts[meter, pickup * step_ticks] = base + step * voices
            for place in range(voices):
                successor.append(base + (step * voices + place + 1) % (steps * voices))
                features.append((place, step % steps_per_quarter, positions if meter is None else position + step))
        position += steps
    return MetricalPositions(
        successor=np.array(successor, np.int32),
        features=np.array(features, np.int32),
        feature_sizes=(voices, steps_per_quarter, positions + 1),
        meters=meters,
        starts=starts,
    )


def _remaining_length(
    voices: int, steps_per_quarter: int, step_ticks: int, meters: tuple[Meter, ...]
) -> RemainingLength:
    """Bars of each meter, at the positions of `_positions`. In an unknown meter, four quarters count as a bar."""
    bars = [meter.bar_ticks // step_ticks * voices for meter in meters]
    quarter = steps_per_quarter * voices
    return RemainingLength.in_tokens(
        voices,
        np.concatenate([*(np.full(tokens, tokens) for tokens in bars), np.full(quarter, 4 * quarter)]),
        np.concatenate([*(np.arange(tokens) for tokens in bars), np.arange(quarter)]),
        single_steps=_SINGLE_QUARTERS * steps_per_quarter,
    )
