import numpy as np

from music.score import Meter, Note, Score
from training.corpus import CompactScore
from training.families import tune_families


def line(pitches: list[int], *, ticks: int = 240, pickup: int = 0) -> CompactScore:
    notes = [Note(index * ticks, ticks, pitch) for index, pitch in enumerate(pitches)]
    return CompactScore.of(Score(tuple(notes), ticks * len(pitches), Meter(4, 4), pickup))


def walk(seed: int, length: int = 64) -> list[int]:
    steps = np.random.default_rng(seed).choice([-4, -2, -1, 1, 2, 3, 5], length)
    return [67 + int(height) % 17 for height in np.cumsum(steps)]


def ornamented(pitches: list[int]) -> list[int]:
    """Every second note another one: the beats stay."""
    return [pitch + 1 if index % 2 else pitch for index, pitch in enumerate(pitches)]


def test_settings_of_a_tune_are_one_family_in_any_key() -> None:
    tune, other = walk(1), walk(2)
    scores = {
        "a": line(tune),
        "b": line([pitch + 5 for pitch in tune]),
        "c": line(ornamented(tune)),
        "d": line([60, 62, *tune], pickup=480),
        "e": line(other),
    }
    families = tune_families(scores)
    assert families.of == {"a": "a", "b": "a", "c": "a", "d": "a", "e": "e"}
    assert families.repeats.keys() == {"b", "d"}, "a setting with other notes stays"
    assert families.repeats["b"] == "a"


def test_relatives_of_relatives_are_one_family() -> None:
    first, second = walk(3), walk(4)
    scores = {"a": line(first), "m": line(first[:32] + second[32:]), "z": line(second)}
    assert set(tune_families(scores).of.values()) == {"a"}
    del scores["m"]
    assert set(tune_families(scores).of.values()) == {"a", "z"}


def test_tunes_shorter_than_a_run_are_nobodys_kin() -> None:
    families = tune_families({"a": line([60, 62]), "b": line([60, 62])})
    assert families.of == {"a": "a", "b": "b"}
    assert not families.repeats
