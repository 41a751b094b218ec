"""WAV files are measured: duration, peak, and the level at each note's fundamental frequency."""

import io
import runpy
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import numpy.typing as npt
import pytest

from fantasia_client import Note, Piece

pytest.importorskip("midirenderer")  # it has no wheel for every machine

from fantasia_client.audio import TAIL_SECONDS, render_wav

TICKS = 480
RATE = 48_000

Audio = npt.NDArray[np.float64]


def midi(notes: tuple[Note, ...], *, program: int = 0, tempo_bpm: float = 120, file_type: int = 1) -> bytes:
    """A Standard MIDI File with one channel for each voice."""
    file = mido.MidiFile(type=file_type, ticks_per_beat=TICKS)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo_bpm))])
    file.tracks.append(track)
    events = []
    for voice in sorted({note.voice for note in notes}):
        track.append(mido.Message("program_change", channel=voice, program=program))
    for note in notes:
        events.append((note.onset_ticks, note.velocity, note))
        events.append((note.onset_ticks + note.duration_ticks, 0, note))
    now = 0
    for at, velocity, note in sorted(events, key=lambda event: event[:2]):
        track.append(mido.Message("note_on", channel=note.voice, note=note.pitch, velocity=velocity, time=at - now))
        now = at
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def with_notes(piece: Piece, notes: tuple[Note, ...], length_ticks: int = 0, **options: float) -> Piece:
    return replace(piece, notes=notes, length_ticks=length_ticks, midi=midi(notes, **options))  # type: ignore[arg-type]


def read(data: bytes) -> Audio:
    """Samples in -1 to 1, shape (frames, 2)."""
    with wave.open(io.BytesIO(data)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth(), reader.getframerate()) == (2, 2, RATE)
        return np.frombuffer(reader.readframes(reader.getnframes()), "<i2").reshape(-1, 2) / 32768


def window(audio: Audio, start: float, end: float) -> Audio:
    """Both channels together, between two times in seconds."""
    return np.asarray(audio[round(start * RATE) : round(end * RATE)].mean(axis=1))


def rms(audio: Audio) -> float:
    return float(np.sqrt(np.mean(audio**2)))


def pitches(audio: Audio) -> list[int]:
    """MIDI pitches 40 to 84, strongest fundamental first."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 4 * RATE))
    fundamentals = {number: round(4 * 440 * 2 ** ((number - 69) / 12)) for number in range(40, 85)}
    levels = {number: spectrum[at - 1 : at + 2].max() for number, at in fundamentals.items()}
    return sorted(levels, key=levels.__getitem__, reverse=True)


MELODY = tuple(Note(index * TICKS, TICKS, pitch) for index, pitch in enumerate((60, 67, 55, 72)))


@pytest.mark.parametrize("program", [0, 19, 73])
def test_each_note_sounds_in_its_time_at_its_pitch(piece: Piece, program: int) -> None:
    audio = read(render_wav(with_notes(piece, MELODY, program=program, tempo_bpm=60)))
    for index, note in enumerate(MELODY):
        part = window(audio, index + 0.3, index + 0.9)
        assert pitches(part)[0] == note.pitch
        assert rms(part) > 0.01


def test_the_peak_is_three_decibels_below_full_scale_and_the_tail_dies_away(piece: Piece) -> None:
    audio = read(render_wav(with_notes(piece, MELODY, 4 * TICKS)))
    assert np.abs(audio).max() == pytest.approx(10 ** (-3 / 20), abs=2e-4)
    assert len(audio) / RATE == pytest.approx(2 + TAIL_SECONDS, abs=0.02)
    assert 0 < rms(window(audio, 2.1, 2.3)) < rms(window(audio, 1.6, 1.9))
    assert rms(window(audio, 3.5, 3.9)) < 0.001
    assert audio[-1].tolist() == [0, 0]


@pytest.mark.parametrize(("tempo_bpm", "seconds"), [(60, 8), (240, 2), (90, 16 / 3)])
def test_the_length_follows_the_tempo_and_the_final_rest(piece: Piece, tempo_bpm: float, seconds: float) -> None:
    audio = read(render_wav(with_notes(piece, MELODY, 8 * TICKS, tempo_bpm=tempo_bpm)))
    assert len(audio) / RATE == pytest.approx(seconds + TAIL_SECONDS, abs=0.02)
    assert rms(window(audio, 0.95 * seconds, seconds)) < rms(window(audio, 0.3 * seconds, 0.45 * seconds)) / 10


def test_a_chord_of_four_voices_has_four_fundamentals(piece: Piece) -> None:
    chord = tuple(Note(0, 4 * TICKS, pitch, voice=voice) for voice, pitch in enumerate((74, 66, 57, 50)))
    part = window(read(render_wav(with_notes(piece, chord, program=73))), 0.3, 1.8)
    assert set(pitches(part)[:4]) == {50, 57, 66, 74}


def test_programs_sound_different_and_a_louder_note_is_louder(piece: Piece) -> None:
    held = (Note(0, 4 * TICKS, 60),)
    piano, organ = (read(render_wav(with_notes(piece, held, program=program))) for program in (0, 19))
    # A struck string dies away, a pipe does not.
    assert rms(window(piano, 1.7, 1.9)) < 0.6 * rms(window(piano, 0.1, 0.3))
    assert rms(window(organ, 1.7, 1.9)) > 0.9 * rms(window(organ, 0.1, 0.3))
    notes = (Note(0, TICKS, 60, velocity=40), Note(TICKS, TICKS, 60, velocity=110))
    audio = read(render_wav(with_notes(piece, notes, program=19)))
    assert rms(window(audio, 0.6, 0.9)) > 3 * rms(window(audio, 0.1, 0.4))


@pytest.mark.slow
def test_every_program_has_an_instrument_in_tune_without_clicks(piece: Piece, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fantasia_client.audio.TAIL_SECONDS", 0.1)  # what comes after the note is not measured
    for program in range(128):
        audio = read(render_wav(with_notes(piece, (Note(0, 2 * TICKS, 69),), program=program)))
        part = window(audio, 0.15, 0.95)
        assert pitches(part)[0] == 69
        # A step between two samples would be a spike of the second difference, far above those of the tone itself.
        bends = np.abs(np.diff(part, 2))
        assert bends.max() < 60 * np.median(bends)


def test_the_same_piece_gives_the_same_bytes(piece: Piece) -> None:
    piece = with_notes(piece, MELODY)
    assert render_wav(piece) == render_wav(piece)


def test_a_dense_loud_piece_is_not_clipped(piece: Piece) -> None:
    notes = tuple(Note(0, 2 * TICKS, 36 + index % 60, velocity=127, voice=index // 60) for index in range(60 * 9))
    audio = read(render_wav(with_notes(piece, notes, program=19)))
    assert np.abs(audio).max() == pytest.approx(10 ** (-3 / 20), abs=2e-4)
    assert np.count_nonzero(np.abs(audio) > 0.7 * np.abs(audio).max()) < 0.05 * audio.size


def test_a_piece_without_notes_is_silent(piece: Piece) -> None:
    audio = read(render_wav(with_notes(piece, (), 4 * TICKS)))
    assert len(audio) / RATE == pytest.approx(2 + TAIL_SECONDS, abs=0.02)
    assert not audio.any()


def test_a_file_of_format_0_is_rendered_too(piece: Piece) -> None:
    notes = MELODY[:1]
    both = [render_wav(replace(with_notes(piece, notes), midi=midi(notes, file_type=kind))) for kind in (0, 1)]
    assert both[0] == both[1]


FONT = Path(__file__).parents[1] / "src/fantasia_client/soundfont/fantasia.sf2"


@pytest.mark.slow
def test_the_shipped_soundfont_is_what_the_tool_writes() -> None:
    built = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "build_soundfont.py"))["soundfont"]()
    shipped = FONT.read_bytes()
    start = shipped.index(b"smpl") + 8
    end = start + int.from_bytes(shipped[start - 4 : start], "little")
    assert built[:start] == shipped[:start]
    assert built[end:] == shipped[end:]
    # Another processor may round differently.
    difference = np.frombuffer(built[start:end], "<i2").astype(int) - np.frombuffer(shipped[start:end], "<i2")
    assert np.abs(difference).max() <= 1


def test_a_soundfont_of_the_caller_is_used(piece: Piece, tmp_path: Path) -> None:
    piece = with_notes(piece, MELODY)
    path = tmp_path / "a.sf2"
    font = FONT.read_bytes()
    path.write_bytes(font)
    assert render_wav(piece, soundfont=path) == render_wav(piece)
    # The same instruments with all samples upside down.
    start = font.index(b"smpl") + 8
    end = font.index(b"LIST", start)
    path.write_bytes(font[:start] + (-np.frombuffer(font[start:end], "<i2")).tobytes() + font[end:])
    turned, plain = read(render_wav(piece, soundfont=str(path))), read(render_wav(piece))
    assert np.abs(turned + plain).max() < 0.01


@pytest.mark.parametrize("kept", [0, 3, 100, 100_000])
def test_an_invalid_soundfont_is_named(piece: Piece, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.sf2"
    path.write_bytes(FONT.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"cannot render the piece with .*a\.sf2"):
        render_wav(with_notes(piece, MELODY), soundfont=path)


def test_a_missing_soundfont_is_an_os_error(piece: Piece, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.sf2"):
        render_wav(piece, soundfont=tmp_path / "a.sf2")


@pytest.mark.parametrize("data", [b"", b"MThd", b"MThd\0\0\0\6\0\1\0\1\xe7\x28MTrk\0\0\0\4\0\xff\x2f\0"])
def test_invalid_midi_bytes_are_refused(piece: Piece, data: bytes) -> None:
    with pytest.raises(ValueError, match="no MIDI file with ticks per quarter note"):
        render_wav(replace(piece, midi=data))


def test_without_midirenderer_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['midirenderer'] = None\n"
        "import fantasia_client\n"
        "try:\n    import fantasia_client.audio\n"
        "except fantasia_client.MissingExtraError as error:\n    print(error)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert "pip install 'fantasia-client[audio]'" in printed
    assert "on ARM64 glibc 2.34 or later" in printed
