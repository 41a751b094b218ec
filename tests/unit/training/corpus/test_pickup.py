"""Pickups that the notes of a piece tell."""

import numpy as np
import pytest

from music.score import NOTE_ORDER, Meter, Note, Score
from training.corpus.pickup import FEATURES, find_pickup, grid_shift, load_profiles, slot_features
from training.corpus.pickup_profile import example, learn, probabilities

QUARTER = 480


def waltz(pickup_ticks: int, bars: int = 16, seed: int = 1) -> Score:
    """A waltz: bass note, two chords, a melody that starts with a pickup. Its bars are as if it had none."""
    generator = np.random.default_rng(seed)
    notes = [Note(0, pickup_ticks, 79)] if pickup_ticks else []
    for bar in range(bars):
        start = pickup_ticks + bar * 3 * QUARTER
        bass = 36 + int(generator.integers(12))
        notes += [Note(start, QUARTER, bass, 80, 1), Note(start, 2 * QUARTER, bass + 40)]
        notes += [Note(start + beat * QUARTER, QUARTER, bass + up, 80, 1) for beat in (1, 2) for up in (16, 19, 24)]
        notes.append(Note(start + 2 * QUARTER, QUARTER // 2, bass + 43))
    end = max(note.end for note in notes)
    return Score(tuple(sorted(notes, key=NOTE_ORDER)), end, Meter(3, 4))


@pytest.mark.parametrize("pickup", [0, QUARTER // 2, QUARTER // 4, QUARTER, 2 * QUARTER])
def test_the_bars_of_a_waltz_are_found(pickup: int) -> None:
    score = waltz(pickup)
    found = find_pickup(score)
    assert found is not None
    assert (found.ticks, found.sure) == (pickup, True)


def test_notes_that_tell_nothing_leave_it_unsure() -> None:
    notes = tuple(Note(240 * step, 240, 60 + step % 7) for step in range(200))
    found = find_pickup(Score(notes, 240 * 200, Meter(4, 4)))
    assert found is not None
    assert not found.sure


def test_parts_that_contradict_each_other_leave_it_unsure() -> None:
    first = waltz(0, bars=24)
    shifted = [
        note._replace(onset=note.onset + first.length_ticks + QUARTER) for note in waltz(0, bars=24, seed=2).notes
    ]
    found = find_pickup(Score((*first.notes, *shifted), 2 * first.length_ticks + QUARTER, Meter(3, 4)))
    assert found is not None
    assert not found.steady


def test_other_meters_and_short_pieces_have_no_answer() -> None:
    assert find_pickup(waltz(0, bars=2)) is None
    assert find_pickup(Score(waltz(0).notes, 100 * QUARTER, Meter(5, 4))) is None
    assert find_pickup(Score(waltz(0).notes, 100 * QUARTER, None)) is None


def test_the_project_has_a_profile_for_the_usual_meters() -> None:
    for meter in ("2/4", "3/4", "4/4", "2/2", "3/8", "6/8"):
        assert load_profiles()[meter].shape == (Meter.parse(meter).bar_ticks // 240, FEATURES)


def test_most_notes_start_with_slots_after_the_shift() -> None:
    assert grid_shift(waltz(QUARTER)) == 0
    assert grid_shift(waltz(QUARTER // 4)) == QUARTER // 4
    score = waltz(QUARTER // 4)
    assert slot_features(score, QUARTER // 4)[:, 0].sum() > slot_features(score)[:, 0].sum()


def test_weights_are_learned_from_pieces_whose_pickup_is_stated() -> None:
    stated = [Score(waltz(p, seed=s).notes, waltz(p).length_ticks, Meter(3, 4), p) for p in (0, 480) for s in range(2)]
    examples = [one for score in stated for cut in (0, 1, 2) if (one := example(score, cut))]
    assert [one.pickup for one in examples[-3:]] == [2, 1, 0]
    weights = learn(examples)
    unseen = example(Score(waltz(960, seed=9).notes, waltz(960).length_ticks, Meter(3, 4), 960))
    assert unseen is not None
    ((right, probability),) = probabilities([unseen], weights)
    assert right == 1.0
    assert 0.3 < probability <= 1.0
    assert example(Score(waltz(120).notes, waltz(120).length_ticks, Meter(3, 4), 120)) is None
