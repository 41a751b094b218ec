"""Parallels are those of the evaluation (`training.evaluation.voice_leading`), searched for before they are written."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from music.tokenizers.grid_vocabulary import FIRST_PITCH, REST
from music.tokenizers.grid_voicing import STILL, ChordGoal, Motion, Triad, VoicingSearch
from training.evaluation.voice_leading import SILENT, faults

LAST = FIRST_PITCH + 30
TOKENS = st.sampled_from([REST, *range(FIRST_PITCH, LAST + 1)])
C_MAJOR = Triad.of(0, is_major=True)


def parallels(before: list[int], after: list[int]) -> int:
    """The number of parallels that the evaluation counts."""
    grid = np.array([before, after])
    counts = faults(np.where(grid < FIRST_PITCH, SILENT, grid), [(0, 127)] * len(before))
    return counts["parallel_fifths"] + counts["parallel_octaves"]


@given(before=st.tuples(TOKENS, TOKENS), after=TOKENS, voice=st.integers(0, 1))
def test_forbidden_tokens_are_those_that_the_evaluation_counts(before: tuple[int, int], after: int, voice: int) -> None:
    forbidden = Motion(before).forbidden(voice, {1 - voice: after}, LAST)
    for token in range(FIRST_PITCH, LAST + 1):
        pair = [after, after]
        pair[voice] = token
        assert (token in forbidden) == bool(parallels([*before], pair))


@given(before=st.lists(TOKENS, min_size=3, max_size=3), after=st.lists(TOKENS, min_size=3, max_size=3))
def test_a_settled_voice_makes_no_parallel_with_any_voice(before: list[int], after: list[int]) -> None:
    motion = Motion(before)
    for voice in range(3):
        others = {other: token for other, token in enumerate(after) if other != voice}
        assert not motion.is_settled(voice) or not motion.forbidden(voice, others, LAST)


@given(
    before=st.lists(TOKENS, min_size=3, max_size=3),
    known=TOKENS,
    choices=st.lists(st.lists(TOKENS, min_size=1, max_size=3), min_size=2, max_size=2),
)
def test_a_search_finds_tokens_if_there_are_any(before: list[int], known: int, choices: list[list[int]]) -> None:
    search = VoicingSearch(Motion(before), LAST)
    free = any(not parallels(before, [known, middle, low]) for middle in choices[0] for low in choices[1])
    assert search.is_possible({0: known}, {1: choices[0], 2: choices[1]}) == free


def test_a_chord_has_its_root_below_and_all_tones_that_are_needed() -> None:
    def is_possible(known: dict[int, int], open_voices: dict[int, list[int]], needed: int = 3) -> bool:
        goal = ChordGoal((C_MAJOR,), needed, 60 - FIRST_PITCH, 2)
        pitches = {voice: pitch - 60 + FIRST_PITCH for voice, pitch in known.items()}
        choices = {voice: [pitch - 60 + FIRST_PITCH for pitch in line] for voice, line in open_voices.items()}
        return VoicingSearch(STILL, LAST, goal).is_possible(pitches, choices)

    assert is_possible({0: 79}, {1: [62, 64], 2: [60]})
    assert is_possible({}, {0: [79, 80], 1: [76], 2: [62, 60]})
    assert not is_possible({0: 79}, {1: [64], 2: [67]})  # not the root below
    assert not is_possible({0: 76}, {1: [64], 2: [72]})  # the lowest voice has the root, but is not the lowest
    assert not is_possible({0: 76}, {1: [64], 2: [60]})  # no fifth
    assert is_possible({0: 76}, {1: [64], 2: [60]}, needed=2)
    assert not is_possible({0: 79}, {1: [67], 2: [60]}, needed=2)  # no third
    assert not is_possible({0: 77}, {1: [64, 67], 2: [60]}, needed=2)  # F is no tone
    assert is_possible({0: 79, 1: 64, 2: 60}, {})


def test_triads_are_named_by_their_root() -> None:
    assert Triad.of(9, is_major=False) == (9, 0, 4)
    assert Triad.of(9, is_major=True) == (9, 1, 4)


def test_a_search_that_takes_too_long_counts_as_successful() -> None:
    before = [FIRST_PITCH + 24, FIRST_PITCH + 12]
    choices = [FIRST_PITCH + 24 + 1] * 200  # each makes parallel octaves with each token of the other voice
    search = VoicingSearch(Motion(before), LAST)
    assert not search.is_possible({}, {0: choices[:2], 1: [FIRST_PITCH + 13]})
    assert search.is_possible({}, {0: choices * 30, 1: [FIRST_PITCH + 13]})
