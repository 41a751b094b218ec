"""The guide of a grid: static instructions for most tokens, and rules that depend on the tokens so far for the others.

A rule depends on the tokens so far where a held note meets a new harmony, where parallels are forbidden, and in the
last chord. The instructions end before a token that such a rule leaves open.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from music.composition.guide import SAMPLED, Guide
from music.composition.task import WritingTask
from music.tokenizers.grid_cursor import HELD, LEADS, PAIRS, SEARCHES, GridCursor
from music.tokenizers.grid_ending import Ending
from music.tokenizers.grid_given import GivenGrid
from music.tokenizers.grid_rules import ALWAYS, DEPENDS, GridRules, bias_rows
from music.tokenizers.grid_vocabulary import FIRST_PITCH, HOLD

if TYPE_CHECKING:
    from music.tokenizers.grid import GridTokenizer


class GridGuide(Guide):
    """See `Guide`.

    Args:
        tokenizer: of the piece.
        task: to write.
        given: its given part.
        rules: of each step.
        ending: the natural ending, or None.
        primer_length: number of tokens before the first sampled one.
    """

    def __init__(
        self,
        tokenizer: "GridTokenizer",
        task: WritingTask,
        given: GivenGrid,
        rules: GridRules,
        ending: Ending | None,
        primer_length: int,
    ) -> None:
        order = list(tokenizer.voice_order)
        sampled = given.sampled
        self.tokenizer = tokenizer
        self.task = task
        self.rules = rules
        self.ending = ending
        self.is_open = task.length.is_open
        self.forbids_parallels = task.constraints.no_parallels and tokenizer.voices > 1
        self.given = given.forced
        self.biases, held, unheld = bias_rows(tokenizer, task, rules, sampled)
        self.forced = given.forced[:, order].reshape(-1)
        self.held = held[:, order].reshape(-1)
        self.unheld: list[int] = unheld[:, order].reshape(-1).tolist()
        kinds = _kinds(tokenizer, given, rules, ending, self.forbids_parallels)[:, order].reshape(-1)
        self.kinds = kinds.tobytes()  # of each token: sums of the constants in `grid_cursor`
        self.dynamic: list[int] = np.flatnonzero(kinds).tolist()
        is_given = ~sampled[:, order] & (given.forced[:, order] != HOLD)
        # Of each token: whether it, or one after it in its step, is given and begins or ends a note.
        self.given_follows = np.logical_or.accumulate(is_given[:, ::-1], axis=1)[:, ::-1].tobytes()
        self.has_given = (~sampled).any(axis=1).tobytes()
        # Of each token, for cursors: reading one number of a list takes a fraction of the time that an array takes.
        self.tokens: list[int] = self.forced.tolist()
        self.held_rows: list[int] = self.held.tolist()
        self.onset, self.rest, self.spare_rest, self.hold = (
            flags[:, order].tobytes() for flags in (rules.onset, rules.rest, rules.spare_rest, rules.hold)
        )
        self.harmony: list[int] = rules.harmony.tolist()
        self.pressed_rows: dict[tuple[int, int, tuple[tuple[int, int, int], ...]], NDArray[np.float32] | int] = {}
        """Rows that cursors have worked out, for others: by token, the voice's own pitch, and `Motion.pressure`."""
        self._pitch_tokens: dict[tuple[int, int], tuple[int, ...]] = {}
        is_forced = self.forced != SAMPLED
        ends = 1 + np.flatnonzero(is_forced[:-1] & ~is_forced[1:])
        self.resampling: list[int] = ends[ends > primer_length].tolist()
        self.is_observed = bool(is_forced[primer_length:].any())

    @property
    def is_needed(self) -> bool:
        """Whether the guide says more than the primer does."""
        return self.is_observed or len(self.biases) > 1 or bool(self.dynamic)

    def pitch_tokens(self, harmony: int, voice: int) -> tuple[int, ...]:
        """The pitch tokens that a harmony leaves to a voice, ascending."""
        key = harmony, voice
        tokens = self._pitch_tokens.get(key)
        if tokens is None:
            tokens = tuple((FIRST_PITCH + np.flatnonzero(self.rules.pitches[harmony, voice])).tolist())
            self._pitch_tokens[key] = tokens
        return tokens

    def cursor(self) -> GridCursor:
        """See `Guide.cursor`."""
        return GridCursor(self)


def _kinds(
    tokenizer: "GridTokenizer", given: GivenGrid, rules: GridRules, ending: Ending | None, forbids_parallels: bool
) -> NDArray[np.uint8]:
    """Which tokens depend on others and how, (steps, voices)."""
    sampled = given.sampled
    given_onset = given.forced >= FIRST_PITCH
    begins = sampled & rules.onset
    must_move = begins & ~rules.rest & (rules.hold != ALWAYS)
    kinds: NDArray[np.uint8] = np.where(sampled & (rules.hold == DEPENDS), HELD, 0).astype(np.uint8)
    if ending is not None and ending.goals:
        kinds[ending.step] |= np.where(sampled[ending.step], SEARCHES, 0).astype(np.uint8)
    if not forbids_parallels:
        return kinds
    for place, voice in enumerate(tokenizer.voice_order):
        earlier, later = list(tokenizer.voice_order[:place]), list(tokenizer.voice_order[place + 1 :])
        moving = begins[:, earlier].any(axis=1) | given_onset[:, [*earlier, *later]].any(axis=1)
        known = given_onset[1:, earlier].any(axis=1) | (given_onset[1:, later] & ~sampled[:-1, later]).any(axis=1)
        kinds[1:, voice] |= np.where((begins[:, voice] & moving)[1:], PAIRS, 0).astype(np.uint8)
        kinds[:-1, voice] |= np.where(sampled[:-1, voice] & given_onset[1:, voice] & known, LEADS, 0).astype(np.uint8)
        searches = sampled[:, voice] & must_move[:, later].any(axis=1)
        kinds[1:, voice] |= np.where(searches[1:], SEARCHES, 0).astype(np.uint8)
    return kinds
