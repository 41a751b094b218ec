"""Scores bundled with music21: nothing is lost, and music21's own parser finds the same notes."""

import warnings
from collections import Counter
from pathlib import Path

import pytest
from music21 import chord, converter, note
from music21 import corpus as music21_corpus

from training.readers import ReadOptions, read_file

CORPUS = Path(music21_corpus.__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("play_repeats", [True, False])
@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("bach/bwv66.6.mxl", set()),
        ("schumann_robert/dichterliebe_no2.xml", {"cue"}),
        ("joplin/maple_leaf_rag.mxl", {"grace"}),
        ("monteverdi/madrigal.4.7.mxl", set()),
        ("mozart/k545/movement1_exposition.mxl", {"grace"}),
        ("trecento/Fava_Dicant_nunc_iudei.xml", set()),
        ("demos/voices_with_chords.xml", set()),
        ("haydn/opus74no1/movement1.mxl", {"grace"}),
        ("palestrina/Kyrie_40.krn", set()),
        ("beethoven/opus18no1/movement1.krn", {"grace"}),
    ],
)  # fmt: skip
def test_every_note_of_real_scores_is_kept_or_counted(name: str, left_out: set[str], play_repeats: bool) -> None:
    (reading,) = read_file(CORPUS / name, name, ReadOptions(play_repeats=play_repeats)).readings
    counts = reading.counts
    assert counts.balanced
    assert counts.kept == len(reading.score.notes) > 30
    assert set(+counts.left_out) <= left_out
    assert not counts.other["repeats_not_played"]


@pytest.mark.parametrize("name", ["bach/bwv66.6.mxl", "demos/voices_with_chords.xml", "bach/bwv277.krn"])
def test_music21_finds_the_same_notes(name: str) -> None:
    (reading,) = read_file(CORPUS / name, name, ReadOptions(play_repeats=False)).readings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = converter.parse(CORPUS / name, forceSource=True).stripTies()
    theirs: Counter[tuple[int, int, int]] = Counter()
    for element in parsed.flatten().notes:
        assert isinstance(element, note.Note | chord.Chord)
        for pitch in element.pitches:
            theirs[round(element.offset * 480), round(element.quarterLength * 480), pitch.midi] += 1
    assert Counter((n.onset, n.duration, n.pitch) for n in reading.score.notes) == theirs
