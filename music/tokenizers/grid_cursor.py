"""A candidate's place in the instructions of a grid, and the rules that depend on the tokens so far."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import NO_BIAS, SAMPLED, Cursor, Instructions
from music.errors import NoTokenLeftError
from music.grammar import FORBIDDEN
from music.tokenizers.grid_ending import FIELD as ENDING_FIELD
from music.tokenizers.grid_rules import ALWAYS, DEPENDS
from music.tokenizers.grid_vocabulary import END, FIRST_PITCH, HOLD, REST, START
from music.tokenizers.grid_voicing import STILL, ChordGoal, Motion, VoicingSearch, motion_from

if TYPE_CHECKING:
    from music.tokenizers.grid_guide import GridGuide

PARALLELS_FIELD: Final = "constraints.no_parallels"

MAX_PRESSED_ROWS: Final = 4096
"""Maximum number of rows that a guide keeps in `pressed_rows`."""

HELD: Final = 1
"""A note may be held into the step if the step allows its pitch."""
PAIRS: Final = 2
"""The token could make a parallel with another voice whose pitch in this step is known by then."""
LEADS: Final = 4
"""The voice goes on to a given note while another does: the token could begin a parallel."""
SEARCHES: Final = 8
"""A later voice of the step may have to move, or completes the last chord: the token must leave it a choice."""


class GridCursor(Cursor):
    """See `Cursor`."""

    def __init__(self, guide: "GridGuide") -> None:
        self._guide = guide
        self._index = 0
        self._ended = False
        self._now = [START] * guide.tokenizer.voices  # what each voice sounds after its last token
        self._before = list(self._now)  # what each voice sounds in the last complete step
        self._motion = motion_from(tuple(self._before)) if guide.forbids_parallels else STILL
        self._guesses: Mapping[int, _Told] = {}  # by the token's index
        self._has_moved = False  # whether a voice did not hold its note since they were told

    def instructions(self, limit: int) -> Instructions:
        """See `Cursor.instructions`."""
        guide, start = self._guide, self._index
        if self.complete:
            return Instructions(np.full(limit, SAMPLED, np.int64), np.full(limit, NO_BIAS, np.int64))
        end = min(start + limit, len(guide.forced))
        stop = bisect_right(guide.resampling, start)
        last = guide.resampling[stop] if self.resampling and stop < len(guide.resampling) else None
        if last is not None:
            end = min(end, last)
        changed: dict[int, int] = {}
        extra: list[NDArray[np.float32]] = []
        guesses: dict[int, _Told] = {}
        dynamic = guide.dynamic
        place = first = bisect_left(dynamic, start)
        if place < len(dynamic) and dynamic[place] < end:
            order, voices, is_settled = guide.tokenizer.voice_order, len(self._now), self._motion.is_settled
            step_end = start - start % voices + voices
            sounds = self._sounds(start // voices)
        while place < len(dynamic) and dynamic[place] < end:
            index = dynamic[place]
            place += 1
            if index < step_end and guide.kinds[index] == PAIRS and is_settled(order[index % voices]):
                continue  # the usual case
            told = self._told(index, sounds)
            if told is None:
                end = index
                break
            row = told.row
            if told.is_guess:
                guesses[index] = told
            if isinstance(row, np.ndarray):
                extra.append(row)
                row = len(guide.biases) + len(extra) - 1
            if row != guide.held_rows[index]:
                changed[index - start] = row
        bias = guide.held[start:end]
        if changed:
            bias = bias.copy()
            for offset, row in changed.items():
                bias[offset] = row
        self._guesses, self._has_moved = guesses, False
        is_shared = place == first and not guide.is_open  # nothing depends on the tokens so far
        guessed = end - min(guesses) if guesses else 0
        return Instructions(guide.forced[start:end], bias, extra, end == last, is_shared, guessed)

    def advance(self, tokens: NDArray[np.integer[Any]]) -> int:
        """See `Cursor.advance`."""
        guide, order = self._guide, self._guide.tokenizer.voice_order
        if self._ended or not guide.dynamic:
            self._index += len(tokens)
            self._ended = self._ended or (guide.is_open and END in tokens)
            return len(tokens)
        place = self._index % len(order)
        for count, token in enumerate(tokens.tolist()):
            if self._has_moved:  # else the voices hold their notes, as guessed
                guess = self._guesses.get(self._index)
                if guess is not None and not self._is_right(guess):
                    return count
            if guide.is_open and token == END:
                self._ended = True
                self._index += len(tokens) - count
                break
            self._index += 1
            if token != HOLD:
                self._has_moved = True
                self._now[order[place]] = token
            place += 1
            if place == len(order):
                place = 0
                if self._now != self._before:
                    self._before = self._now.copy()
                    if guide.forbids_parallels:
                        self._motion = motion_from(tuple(self._before))
        return len(tokens)

    def copy(self) -> "GridCursor":
        """See `Cursor.copy`."""
        other = GridCursor(self._guide)
        other.resampling = self.resampling
        other._index, other._ended = self._index, self._ended
        other._now, other._before, other._motion = list(self._now), list(self._before), self._motion
        other.guesses, other._guesses, other._has_moved = self.guesses, self._guesses, self._has_moved
        return other

    @property
    def complete(self) -> bool:
        """See `Cursor.complete`."""
        return self._ended or self._index >= len(self._guide.forced)

    def _told(self, index: int, sounds: Sequence[int]) -> "_Told | None":
        """What a token is told; None if that depends on tokens that are not known.

        Args:
            index: of the token.
            sounds: `_sounds` of the present step.
        """
        guide, voices = self._guide, len(self._now)
        if index >= self._index + voices:
            return None
        kind = guide.kinds[index]
        if kind == PAIRS:
            return self._paired(index, sounds)
        choice = _Choice(guide, index, self._now)
        row = guide.held_rows[index] if choice.can_hold else guide.unheld[index]
        if kind == HELD:
            return _Told(row)
        if index == self._index:
            return _Told(self._checked_row(choice, row))
        is_simple = not kind & (LEADS | SEARCHES) and choice.step == self._index // voices
        return _Told(row) if is_simple and self._motion.is_settled(choice.voice) else None

    def _paired(self, index: int, sounds: Sequence[int]) -> "_Told | None":
        """`_told` for a token that could make a parallel and has no other rule that depends on tokens.

        A guess assumes that the open voices hold their notes.
        """
        guide, voices = self._guide, len(self._now)
        step, place = divmod(index, voices)
        voice, motion = guide.tokenizer.voice_order[place], self._motion
        is_present = step == self._index // voices
        is_guess = index != self._index and not (is_present and motion.is_settled(voice))
        if is_guess and (not self.guesses or (guide.is_open and place == 0)):  # an open piece may end before a step
            return None
        if not is_present:
            motion, sounds = motion_from(tuple(self._now)), self._sounds(step)
        pressure = motion.pressure(voice, sounds)
        if not pressure:
            return _Told(guide.held_rows[index], is_guess, motion)
        key = index, self._now[voice], pressure
        row = guide.pressed_rows.get(key)
        if row is None:
            choice, last = _Choice(guide, index, self._now), guide.tokenizer.vocabulary_size - 1
            choice.forbid(motion.forbidden(voice, dict(enumerate(sounds)), last), set())
            if is_guess and not choice.tokens:
                return None
            row = self._row_of(choice, guide.held_rows[index])
            if len(guide.pressed_rows) >= MAX_PRESSED_ROWS:
                guide.pressed_rows = {}  # most are of tokens that all candidates have passed
            guide.pressed_rows[key] = row
        return _Told(row, is_guess, motion, pressure)

    def _is_right(self, guess: "_Told") -> bool:
        """Whether the next token is told what was guessed."""
        step, place = divmod(self._index, len(self._now))
        voice = self._guide.tokenizer.voice_order[place]
        return guess.motion is self._motion and guess.pressure == self._motion.pressure(voice, self._sounds(step))

    def _sounds(self, step: int) -> Sequence[int]:
        """What each voice sounds in a step, or sounded before it where that is neither decided nor given."""
        guide, voices = self._guide, len(self._now)
        first = step * voices
        begin = max(first, self._index)
        if not guide.given_follows[begin]:
            return self._now
        sounds = self._now.copy()
        for voice, token in zip(
            guide.tokenizer.voice_order[begin - first :], guide.tokens[begin : first + voices], strict=True
        ):
            if token not in (SAMPLED, HOLD):
                sounds[voice] = token
        return sounds

    def _checked_row(self, choice: "_Choice", row: int) -> NDArray[np.float32] | int:
        """The row of the next token: without tokens that make a parallel or leave later voices no choice."""
        guide, step, place, voice = self._guide, choice.step, choice.place, choice.voice
        known = self._known(step, place)
        last = guide.tokenizer.vocabulary_size - 1
        leading: set[int] = set()
        if guide.kinds[self._index] & LEADS:  # a parallel is one in both directions of time
            leading = Motion([int(token) for token in guide.given[step + 1]]).forbidden(voice, known, last)
        forbidden = self._motion.forbidden(voice, known, last) | leading
        open_voices = self._open_voices(choice) if guide.kinds[self._index] & SEARCHES else {}
        is_ending = guide.ending is not None and step == guide.ending.step
        if not forbidden and not open_voices and not is_ending:
            return row
        choice.forbid(forbidden, leading)
        if open_voices or is_ending:
            self._search(choice, known, open_voices)
        return self._row_of(choice, row)

    def _row_of(self, choice: "_Choice", row: int) -> NDArray[np.float32] | int:
        """The row of a token from a row whose tokens were all its tokens at first.

        Raises:
            NoTokenLeftError: it has no token.
        """
        guide = self._guide
        if choice.tokens == choice.first_tokens:
            return row
        if not choice.tokens and not (choice.place == 0 and guide.is_open and guide.rules.end[choice.step]):
            bar = guide.task.bar_at(choice.step * guide.tokenizer.step_ticks)
            field = PARALLELS_FIELD if guide.forbids_parallels else ENDING_FIELD
            message = f"bar {bar} leaves voice {choice.voice} no token that satisfies all constraints"
            raise NoTokenLeftError(field, message)
        base: NDArray[np.float32] = guide.biases[row]
        extra = np.full_like(base, FORBIDDEN)
        kept = [START, END, *choice.tokens]
        extra[kept] = base[kept]
        if REST in choice.tokens:
            extra[REST] = 0
        return extra

    def _known(self, step: int, place: int) -> dict[int, int]:
        """What the other voices sound in a step, as far as it is decided or given."""
        guide, order = self._guide, self._guide.tokenizer.voice_order
        known = {other: self._now[other] for other in order[:place]}
        if guide.has_given[step]:
            for other_place in range(place + 1, len(order)):
                other, given = order[other_place], guide.tokens[step * len(order) + other_place]
                if given != SAMPLED:
                    known[other] = self._now[other] if given == HOLD else given
        return known

    def _open_voices(self, choice: "_Choice") -> dict[int, Sequence[int]]:
        """The later voices of the step that must begin a note, and the pitch tokens of each."""
        guide, first = self._guide, choice.index - choice.place
        later = (
            _Choice(guide, index, self._now)
            for index in range(choice.index + 1, first + len(self._now))
            if guide.tokens[index] == SAMPLED
        )
        return {other.voice: other.pitches for other in later if other.must_move}

    def _search(self, choice: "_Choice", known: dict[int, int], open_voices: Mapping[int, Sequence[int]]) -> None:
        """Keep the tokens after which every later voice of the step has a token."""
        guide, ending = self._guide, self._guide.ending
        goals: Sequence[ChordGoal | None] = (None,)
        if ending is not None and choice.step == ending.step:
            goals = ending.goals
        sounds = {HOLD: self._now[choice.voice]}
        last = guide.tokenizer.vocabulary_size - 1
        kept: set[int] = set()
        for goal in goals:
            search = VoicingSearch(self._motion, last, goal)
            kept = {
                token
                for token in choice.tokens
                if search.is_possible({**known, choice.voice: sounds.get(token, token)}, open_voices)
            }
            if kept:
                break
        choice.tokens = kept


class _Told(NamedTuple):
    """What a token is told."""

    row: NDArray[np.float32] | int
    """Its bias row, or the index of one in `Guide.biases`."""
    is_guess: bool = False
    motion: Motion = STILL
    pressure: tuple[tuple[int, int, int], ...] = ()
    """See `Motion.pressure`. With the motion, it decides the row of a guess."""


class _Choice:
    """The tokens that a voice may have in a step, as far as its own notes decide it; END is left out.

    Args:
        guide: of the piece.
        index: of the token.
        now: what each voice sounds.
    """

    def __init__(self, guide: "GridGuide", index: int, now: Sequence[int]) -> None:
        self.index = index
        self.step, self.place = divmod(index, len(now))
        self.voice = guide.tokenizer.voice_order[self.place]
        self._sounding = now[self.voice]
        self._may_begin = bool(guide.onset[index])
        self._spare_rest = bool(guide.spare_rest[index])
        self.pitches = guide.pitch_tokens(guide.harmony[self.step], self.voice)
        hold = guide.hold[index]
        self.can_hold = hold == ALWAYS or (hold == DEPENDS and self._sounding in self.pitches)
        self._can_rest = bool(guide.rest[index]) or (self._spare_rest and not self.can_hold)

    @cached_property
    def tokens(self) -> set[int]:
        """The tokens; may be replaced by fewer."""
        return self.first_tokens

    @cached_property
    def first_tokens(self) -> set[int]:
        """The tokens before any was forbidden."""
        tokens = set(self.pitches) if self._may_begin else set()
        if self.can_hold and self._sounding >= FIRST_PITCH:
            tokens.add(HOLD)
        if self._can_rest:
            tokens.add(REST)
        return tokens

    @property
    def must_move(self) -> bool:
        """Whether the voice must begin a note."""
        return not self._can_rest and not (self.can_hold and self._sounding >= FIRST_PITCH)

    def forbid(self, pitches: set[int], held: set[int]) -> None:
        """Forbid pitches to begin, and others to be held. A voice that cannot hold its note may rest after a region."""
        tokens = self.tokens - pitches
        if self._sounding in held and HOLD in tokens:
            tokens.remove(HOLD)
            if self._spare_rest:
                tokens.add(REST)
        self.tokens = tokens
