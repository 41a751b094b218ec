"""Scales and chord symbols."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from music21 import harmony as music21_harmony

from music.errors import InvalidHarmonyError
from music.harmony import (
    MAX_CHORD_LENGTH,
    MODES,
    note_name,
    parse_chord,
    parse_scale,
    pitch_class_names,
)

ROOTS = ("C", "Db", "F#", "Bbb", "G##", "E♭", "A♯")
QUALITIES = (
    "", "m", "7", "maj7", "m7", "dim", "dim7", "aug", "sus2", "sus4", "7sus4", "m7b5", "6", "6/9", "m6/9", "9", "11",
    "13", "7#9", "ø7", "Δ7", "°", "+7", "-7", "m(maj7)", "(add9)", "(b5)", "maj7#5",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("C major", "C, D, E, F, G, A, B"),
        ("A minor", "C, D, E, F, G, A, B"),
        ("Eb major", "C, D, Eb, F, G, G#, Bb"),
        ("F# dorian", "C#, Eb, E, F#, G#, A, B"),
        ("C phrygian", "C, C#, Eb, F, G, G#, Bb"),
        ("F lydian", "C, D, E, F, G, A, B"),
        ("D mixolydian", "C, D, E, F#, G, A, B"),
        ("B locrian", "C, D, E, F, G, A, B"),
        ("C harmonic minor", "C, D, Eb, F, G, G#, B"),
        ("B melodic minor", "C#, D, E, F#, G#, Bb, B"),
        ("G major pentatonic", "D, E, G, A, B"),
        ("A minor pentatonic", "C, D, E, G, A"),
        ("A blues", "C, D, Eb, E, G, A"),
        ("D whole tone", "C, D, E, F#, G#, Bb"),
    ],
)
def test_a_scale_has_the_pitch_classes_of_its_mode(text: str, names: str) -> None:
    scale = parse_scale(text)
    assert pitch_class_names(scale.pitch_classes) == names
    assert str(scale) == text
    assert scale.tonic in scale.pitch_classes


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("E♭ Major", "Eb major"),
        ("e flat MAJOR", "Eb major"),
        ("E-flat major", "Eb major"),
        ("  F   sharp  minor ", "F# minor"),
        ("bb natural minor", "Bb minor"),
        ("B𝄫 minor", "Bbb minor"),
        ("F♮ major", "F major"),
        ("C Whole-Tone", "C whole tone"),
        ("C pentatonic minor", "C minor pentatonic"),
    ],
)
def test_other_ways_to_write_a_scale(text: str, plain: str) -> None:
    assert parse_scale(text) == parse_scale(plain)
    assert str(parse_scale(text)) == plain


def test_scales_are_equal_if_tonic_and_mode_are() -> None:
    assert parse_scale("Eb minor") == parse_scale("D# minor")
    assert parse_scale("C major") != parse_scale("C ionian")
    assert len({parse_scale("Gb major"), parse_scale("F# major")}) == 1


@pytest.mark.parametrize("text", ["", "C", "major", "H major", "C dur", "Cb# major", "C major major", "Am", "B flat"])
def test_a_text_that_names_no_scale_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(InvalidHarmonyError) as refusal:
        parse_scale(text)
    assert str(refusal.value).startswith(f"'{text}' names no scale; write a tonic and a mode such as 'F# dorian'")
    assert all(mode in str(refusal.value) for mode in MODES)


@given(text=st.text() | st.builds("{} {}".format, st.sampled_from(["C", "e♭", "F sharp"]), st.text()))
@example("C" * 1000)
@example("C \ud800 major")
def test_any_text_is_a_scale_or_refused(text: str) -> None:
    with suppress(InvalidHarmonyError):
        scale = parse_scale(text)
        assert parse_scale(str(scale)) == scale


@pytest.mark.parametrize(
    ("symbol", "names"),
    [
        ("C", "C, E, G"),
        ("Am", "C, E, A"),
        ("Am7", "C, E, G, A"),
        ("Cmaj7", "C, E, G, B"),
        ("CM7", "C, E, G, B"),
        ("CΔ", "C, E, G, B"),
        ("CMaj7", "C, E, G, B"),
        ("Bdim", "D, F, B"),
        ("B°7", "D, F, G#, B"),
        ("Bo7", "D, F, G#, B"),
        ("G7sus4", "C, D, F, G"),
        ("G7sus", "C, D, F, G"),
        ("Em7b5", "D, E, G, Bb"),
        ("Em7(b5)", "D, E, G, Bb"),
        ("Eø7", "D, E, G, Bb"),
        ("C6/9", "C, D, E, G, A"),
        ("C-7", "C, Eb, G, Bb"),
        ("Cmin7", "C, Eb, G, Bb"),
        ("Cm(maj7)", "C, Eb, G, B"),
        ("C+", "C, E, G#"),
        ("C+7", "C, E, G#, Bb"),
        ("Cmaj7#5", "C, E, G#, B"),
        ("C(add9)", "C, D, E, G"),
        ("Cadd2", "C, D, E, G"),
        ("C7#9", "C, Eb, E, G, Bb"),
        ("F♯m7♭5", "C, E, F#, A"),
        ("Ab5", "Eb, G#"),
        ("A(b5)", "C#, Eb, A"),
    ],
)
def test_a_chord_symbol_has_its_pitch_classes(symbol: str, names: str) -> None:
    chord = parse_chord(symbol)
    assert pitch_class_names(chord.pitch_classes) == names
    assert chord.bass is None
    assert str(chord) == symbol


@pytest.mark.parametrize(
    ("symbol", "root", "bass", "names"),
    [
        ("F/A", 5, 9, "C, F, A"),
        ("Dm7/G", 2, 7, "C, D, F, G, A"),
        ("C/Bb", 0, 10, "C, E, G, Bb"),
        ("Cm6/9/E♭", 0, 3, "C, D, Eb, G, A"),
    ],
)
def test_the_bass_of_a_slash_chord_is_one_of_its_pitch_classes(symbol: str, root: int, bass: int, names: str) -> None:
    chord = parse_chord(symbol)
    assert (chord.root, chord.bass, pitch_class_names(chord.pitch_classes)) == (root, bass, names)


@pytest.mark.parametrize("quality", ["", "m", "7", "m7", "dim", "dim7", "aug", "sus4", "6", "9", "m9", "maj7", "7b9"])
def test_music21_reads_the_same_pitch_classes(quality: str) -> None:
    for root in ("C", "F#", "D", "A"):
        theirs = frozenset(music21_harmony.ChordSymbol(root + quality).pitchClasses)
        assert parse_chord(root + quality).pitch_classes == theirs


@pytest.mark.parametrize(
    "symbol",
    [
        "",
        "N.C.",
        "NC",
        "H",
        "am",
        "C/",
        "C/9",
        "C6/99999999",
        "C/E/G",
        "C(#11)",
        "C7alt",
        "Cx",
        "C\0",
        "C,E,G",
        "C/E\nF",
    ],
)
def test_other_symbols_are_refused(symbol: str) -> None:
    with pytest.raises(InvalidHarmonyError, match=r"names no chord; write a root, .* such as C, Am7, F/A"):
        parse_chord(symbol)


def test_a_long_symbol_is_refused() -> None:
    assert parse_chord("Am7".ljust(MAX_CHORD_LENGTH)).root == 9
    with pytest.raises(InvalidHarmonyError, match=r"has at most 32 characters, .* has 33"):
        parse_chord("Am7".ljust(MAX_CHORD_LENGTH + 1))


@st.composite
def mutated_symbols(draw: st.DrawFn) -> str:
    """Chord symbols of which some characters were replaced, inserted or removed."""
    symbol = draw(st.sampled_from(ROOTS)) + draw(st.sampled_from(QUALITIES)) + draw(st.sampled_from(("", "/E", "/B♭")))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(symbol)))
        stop = start + draw(st.integers(0, 2))
        symbol = symbol[:start] + draw(st.text("ABCGHmMadjinsu0123456789/()#b♭♯+-øΔ° \n", max_size=2)) + symbol[stop:]
    return symbol


@given(symbol=mutated_symbols() | st.text())
@example("C/" + "9" * 30)
@example("\ud800")
def test_any_text_is_a_chord_or_refused(symbol: str) -> None:
    with suppress(InvalidHarmonyError):
        chord = parse_chord(symbol)
        assert {chord.root, chord.bass} - {None} <= chord.pitch_classes <= frozenset(range(12))
        assert 2 <= len(chord.pitch_classes) <= 8


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("quality", QUALITIES)
def test_a_chord_of_another_root_is_transposed(root: str, quality: str) -> None:
    chord = parse_chord(root + quality)
    on_c = parse_chord("C" + quality)
    assert chord.pitch_classes == {(pitch_class + chord.root) % 12 for pitch_class in on_c.pitch_classes}


def test_pitches_have_names_with_octaves() -> None:
    assert [note_name(pitch) for pitch in (0, 60, 66, 127)] == ["C-1", "C4", "F#4", "G9"]
