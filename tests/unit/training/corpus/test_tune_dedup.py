import numpy as np

from music.score import Meter, Note, Score
from training.corpus.store import CompactScore
from training.corpus.tune_dedup import group_tunes


def line(pitches: list[int], *, ticks: int = 240, pickup: int = 0) -> CompactScore:
    notes = [Note(index * ticks, ticks, pitch) for index, pitch in enumerate(pitches)]
    return CompactScore.of(Score(tuple(notes), ticks * len(pitches), Meter(4, 4), pickup))


def walk(seed: int, length: int = 64) -> list[int]:
    steps = np.random.default_rng(seed).choice([-4, -2, -1, 1, 2, 3, 5], length)
    return [67 + int(height) % 17 for height in np.cumsum(steps)]


def ornamented(pitches: list[int]) -> list[int]:
    """Every second note another one: the beats stay."""
    return [pitch + 1 if index % 2 else pitch for index, pitch in enumerate(pitches)]


def test_versions_of_a_tune_are_one_group_in_any_key() -> None:
    tune, other = walk(1), walk(2)
    scores = {
        "a": line(tune),
        "b": line([pitch + 5 for pitch in tune]),
        "c": line(ornamented(tune)),
        "d": line([60, 62, *tune], pickup=480),
        "e": line(other),
    }
    groups = group_tunes(scores)
    assert groups.group == {"a": "a", "b": "a", "c": "a", "d": "a", "e": "e"}
    assert groups.duplicates.keys() == {"b", "d"}, "a version with other notes is kept"
    assert groups.duplicates["b"] == "a"


def test_tunes_related_through_a_third_are_one_group() -> None:
    first, second = walk(3), walk(4)
    scores = {"a": line(first), "m": line(first[:32] + second[32:]), "z": line(second)}
    assert set(group_tunes(scores).group.values()) == {"a"}
    del scores["m"]
    assert set(group_tunes(scores).group.values()) == {"a", "z"}


def test_tunes_shorter_than_an_ngram_are_grouped_with_none() -> None:
    groups = group_tunes({"a": line([60, 62]), "b": line([60, 62])})
    assert groups.group == {"a": "a", "b": "b"}
    assert not groups.duplicates
