import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.score import Note, Score
from tests.unit.training.evaluation.scores import score
from training.evaluation.memorisation import SuffixAutomaton, bound, melody, texture

words = st.lists(st.sampled_from("abc"), max_size=12)


@given(st.lists(words, max_size=4), words)
def test_the_automaton_agrees_with_exhaustive_search(pieces: list[list[str]], piece: list[str]) -> None:
    passages = {
        tuple(known[first:last])
        for known in pieces
        for first in range(len(known))
        for last in range(first + 1, len(known) + 1)
    }
    longest = max(
        (last - first for first in range(len(piece)) for last in range(first + 1, len(piece) + 1)
         if tuple(piece[first:last]) in passages),
        default=0,
    )  # fmt: skip
    assert SuffixAutomaton(list(known) for known in pieces).longest_match(list(piece)) == longest


def test_a_transposed_copy_is_found_and_a_changed_note_ends_it() -> None:
    known = score([60, 64, 67, 65, 62, 60], [48, 48, 52, 53, 55, 48])
    automaton = SuffixAutomaton([texture(known)])
    assert automaton.longest_match(texture(known.transposed(3))) == 6
    changed = score([60, 64, 67, 66, 62, 60], [48, 48, 52, 53, 55, 48])
    assert automaton.longest_match(texture(changed)) == 3
    slower = score([60, 64, 67, 65, 62, 60], [48, 48, 52, 53, 55, 48], ticks=960)
    assert automaton.longest_match(texture(slower)) == 0


def test_a_tune_is_found_under_another_harmony() -> None:
    known, other = score([60, 64, 67, 65], [48, 48, 52, 53]), score([60, 64, 67, 65], [45, 52, 40, 41])
    assert SuffixAutomaton([texture(known)]).longest_match(texture(other)) < 3
    assert SuffixAutomaton([melody(known)]).longest_match(melody(other)) == 4


def test_a_chord_is_one_onset() -> None:
    chord = Score((Note(0, 480, 60), Note(0, 480, 64), Note(480, 480, 62)), 960)
    assert len(texture(chord)) == 2
    assert melody(chord) == melody(Score((Note(0, 480, 64), Note(480, 480, 62)), 960))


def test_one_real_piece_in_a_hundred_exceeds_the_bound() -> None:
    matches = list(range(1, 101))
    assert sum(match > bound(matches) for match in matches) == 1
    assert bound([5]) == pytest.approx(5)
