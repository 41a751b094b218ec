from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from music.score import NOTE_ORDER, Note, Score
from training.corpus import dedup
from training.corpus.dedup import near_duplicates
from training.corpus.store import CompactScore, Corpus


def piece(seed: int, length: int = 120) -> Score:
    """Chords and single notes on eighths."""
    random = np.random.default_rng(seed)
    notes = [
        Note(240 * index, 240, int(pitch))
        for index in range(length)
        for pitch in random.choice(np.arange(40, 80), random.integers(1, 4), replace=False)
    ]
    return score(notes)


def score(notes: list[Note]) -> Score:
    return Score(tuple(sorted(notes, key=NOTE_ORDER)), max(note.end for note in notes))


def slower(given: Score) -> Score:
    return score([note._replace(onset=2 * note.onset, duration=2 * note.duration) for note in given.notes])


def performed(given: Score) -> Score:
    """Every note a little off its place, in another voice, and louder."""
    random = np.random.default_rng(0)
    return score([
        note._replace(onset=note.onset + int(random.integers(0, 20)), velocity=99, voice=int(random.integers(0, 3)))
        for note in given.notes
    ])  # fmt: skip


def corrected(given: Score) -> Score:
    """Every fiftieth note another one."""
    return replace(given, notes=tuple(
        note._replace(pitch=note.pitch + 1) if index % 50 == 25 else note for index, note in enumerate(given.notes)
    ))  # fmt: skip


def excerpt(given: Score) -> Score:
    return score([note for note in given.notes if note.onset < 60 * 240])


def repeated(given: Score) -> Score:
    """With its first quarter played twice."""
    first, shift = 30 * 240, 30 * 240
    return score([
        *(note for note in given.notes if note.onset < first),
        *(note._replace(onset=note.onset + shift) for note in given.notes),
    ])  # fmt: skip


def groups(**scores: Score) -> dict[str, str]:
    return near_duplicates({name: CompactScore.of(given) for name, given in scores.items()})


@pytest.mark.parametrize(
    "change", [slower, performed, corrected, excerpt, repeated, lambda given: given.transposed(-5)]
)
def test_a_changed_copy_is_a_near_duplicate(change) -> None:  # type: ignore[no-untyped-def]
    original = piece(1)
    assert groups(a=original, b=piece(2), c=change(original)) == {"a": "a", "b": "b", "c": "a"}


def test_a_hundred_copies_are_one_group() -> None:
    copies = {f"copy{index:03}": piece(1).transposed(index % 12) for index in range(100)}
    assert set(groups(**copies, other=piece(2)).values()) == {"copy000", "other"}


def test_short_and_uniform_pieces_are_not_compared() -> None:
    short = piece(1, 6)
    drone = score([Note(240 * index, 240, 60) for index in range(500)])
    assert groups(a=short, b=short, c=drone, d=drone) == {"a": "a", "b": "b", "c": "c", "d": "d"}
    assert near_duplicates({}) == {}


def test_a_large_corpus_is_compared_by_a_sample_of_its_ngrams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "_MAX_NGRAMS", 300)
    pieces = {f"p{seed}": piece(seed) for seed in range(5)}
    assert set(groups(**pieces, q=pieces["p3"].transposed(2)).values()) == set(pieces)


def test_pieces_of_one_style_are_no_duplicates(small_corpus: Path) -> None:
    scores = {item.name: CompactScore.of(item.score) for item in Corpus.load(small_corpus).pieces()}
    assert len(scores) > 5
    assert set(near_duplicates(scores).values()) == set(scores)
