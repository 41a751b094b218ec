import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fuzz.midi_files import hostile_file, midi_file, seeds, small_file, variable_length
from music.errors import InvalidScoreError
from music.midi import read_midi


@given(st.integers(0, 2**28 - 1))
def test_a_variable_length_quantity_has_seven_bits_a_byte(value: int) -> None:
    data = variable_length(value)

    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(data))) == value
    assert [byte >> 7 for byte in data] == [1] * (len(data) - 1) + [0]


@given(st.integers(0, 10**6))
def test_small_files_are_valid_and_have_the_voices_and_pitches_asked_for(seed: int) -> None:
    score = read_midi(small_file(random.Random(seed), pitches=(range(70, 80), range(40, 50))))

    assert score.voices == 2
    assert {note.pitch >= 70 for note in score.notes if note.voice == 0} == {True}
    assert {note.pitch < 50 for note in score.notes if note.voice == 1} == {True}


@pytest.mark.slow
@given(st.integers(0, 10**6))
def test_hostile_files_are_read_or_refused_with_an_error_of_ours(seed: int) -> None:
    with suppress(InvalidScoreError):
        read_midi(hostile_file(random.Random(seed), [midi_file([b"\x00\x90\x3c\x40\x60\x80\x3c\x00"])]))


@pytest.mark.slow
def test_some_hostile_files_are_read_and_most_are_not() -> None:
    def is_read(seed: int) -> bool:
        try:
            read_midi(hostile_file(random.Random(seed), []))
        except InvalidScoreError:
            return False
        return True

    assert 30 < sum(map(is_read, range(300))) < 200


def test_the_shipped_samples_are_seeds(tmp_path: Path) -> None:
    assert len(seeds(Path("models"))) == len([*Path("models").glob("*/samples/*.mid")]) >= 18
    assert seeds(tmp_path) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_gives_the_same_file(seed: int) -> None:
    others = [b"MThd", bytes(100)]

    assert hostile_file(random.Random(seed), others) == hostile_file(random.Random(seed), others)
