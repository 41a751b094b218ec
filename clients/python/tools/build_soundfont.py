"""Writes the SoundFont that the client ships: `python clients/python/tools/build_soundfont.py`.

Every sample is additive synthesis, so the file is our own work; it is dedicated to the public domain (CC0 1.0). It has
twelve instruments. Each of the 128 General MIDI programs uses the nearest one.

Every partial has a whole number of cycles in the loop of its sample. So a loop has no seam, even with vibrato.
The file format is SoundFont 2.01 (E-mu Systems, 1998).
"""

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from pathlib import Path

import numpy as np
import numpy.typing as npt

OUTPUT = Path(__file__).parents[1] / "src" / "fantasia_client" / "soundfont" / "fantasia.sf2"
NOTICE = "Fantasia contributors. Public domain: CC0 1.0."

Samples = npt.NDArray[np.float64]

_RMS = 0.25
"""Level of every sample at its loudest, so that all instruments and registers are equally loud."""
_GUARD_SAMPLES = 46
"""Zeros that the format asks for after each sample."""
_LOOP_OVERLAP = 16
"""Samples after the end of a loop, which the synthesizer reads to interpolate."""


@dataclass(frozen=True)
class Envelope:
    """Volume envelope: seconds of each phase, and the sustained level in centibels below the peak."""

    attack: float
    decay: float
    sustain_centibels: int
    release: float


@dataclass(frozen=True)
class Voice:
    """One instrument, described by its spectrum.

    Args:
        name: name in the file.
        roots: MIDI pitches that have a sample; a note uses the nearest.
        envelope: volume envelope.
        programs: General MIDI programs that use this instrument.
        slope: power of the partial's number by which amplitudes fall.
        even: amplitude of even partials relative to odd ones (0 for a closed pipe).
        brightness_hz: partials above fall off once more, as in the body of an instrument.
        formants: (centre, width) in Hz of resonances that raise partials threefold.
        vibrato_cents: depth of the vibrato.
        shimmer: random slow change of each partial's amplitude, 0 to 1; it makes one voice a section.
        breath: noise at the onset, relative to the tone.
        seconds: length before the loop.
        loop_seconds: length of the loop.
        struck: seconds in which the fundamental loses 60 dB at C4; None for a sustained tone.
        damping: how much faster a partial decays for each step of its number.
        strike: point of the string that is struck or plucked, as a part of its length.
        inharmonicity: stretch of the partials of a stiff string at C4.
        ratios: frequencies of the partials over the fundamental, with amplitudes, in place of a string's or pipe's.
    """

    name: str
    roots: tuple[int, ...]
    envelope: Envelope
    programs: tuple[range, ...]
    slope: float = 1.0
    even: float = 1.0
    brightness_hz: float = 4000.0
    formants: tuple[tuple[float, float], ...] = ()
    vibrato_cents: float = 0.0
    shimmer: float = 0.0
    breath: float = 0.0
    seconds: float = 0.15
    loop_seconds: float = 0.35
    struck: float | None = None
    damping: float = 0.0
    strike: float = 0.0
    inharmonicity: float = 0.0
    ratios: tuple[tuple[float, float], ...] = ()


VOICES = (
    Voice(
        "Piano", (26, 36, 45, 53, 61, 69, 77, 86, 96), Envelope(0.001, 0, 1000, 0.35), (range(6),),
        slope=1.15, brightness_hz=2600, struck=9.0, damping=0.3, strike=0.125, inharmonicity=3.5e-4, breath=0.25,
        seconds=0.9, loop_seconds=0.35,
    ),
    Voice(
        "Plucked string", (38, 48, 58, 68, 79, 91), Envelope(0.001, 0, 1000, 0.2),
        (range(6, 8), range(24, 32), range(45, 47), range(104, 108)),
        slope=1.0, brightness_hz=3200, struck=4.5, damping=0.35, strike=0.18, inharmonicity=5e-5, breath=0.1,
        seconds=0.6, loop_seconds=0.25,
    ),
    Voice(
        "Mallet", (48, 60, 72, 84, 96), Envelope(0.001, 0, 1000, 0.6), (range(8, 16), range(108, 109), range(112, 120)),
        brightness_hz=6000, struck=4.0, damping=0.0, breath=0.1, seconds=0.5, loop_seconds=0.3,
        ratios=((1, 1), (3.99, 0.35), (9.2, 0.08)),
    ),
    Voice(
        "Organ", (40, 52, 64, 76, 88), Envelope(0.012, 0, 0, 0.12), (range(16, 21),),
        brightness_hz=5000, seconds=0.06, loop_seconds=0.35, shimmer=0.1, breath=0.05,
        ratios=((1, 1), (2, 0.75), (3, 0.3), (4, 0.5), (6, 0.18), (8, 0.22), (12, 0.06), (16, 0.05)),
    ),
    Voice(
        "Accordion", (40, 51, 62, 73, 85), Envelope(0.03, 0, 0, 0.1), (range(21, 24), range(80, 88), range(109, 110)),
        slope=0.85, even=0.8, brightness_hz=2800, formants=((1100, 500),), shimmer=0.45, loop_seconds=0.4,
    ),
    Voice(
        "Bass", (28, 38, 48, 60), Envelope(0.003, 0, 1000, 0.15), (range(32, 40), range(47, 48)),
        slope=1.5, brightness_hz=900, struck=5.0, damping=0.4, strike=0.2, breath=0.1, seconds=0.5, loop_seconds=0.3,
    ),
    Voice(
        "Fiddle", (50, 59, 68, 77, 87), Envelope(0.055, 0, 0, 0.14), (range(40, 44), range(110, 111)),
        slope=1.0, brightness_hz=3600, formants=((480, 150), (1100, 400), (2700, 900)), vibrato_cents=9, shimmer=0.15,
        breath=0.12, loop_seconds=0.4,
    ),
    Voice(
        "Strings", (36, 47, 58, 69, 81), Envelope(0.12, 0, 0, 0.35),
        (range(44, 45), range(48, 52), range(55, 56), range(88, 104), range(120, 128)),
        slope=1.05, brightness_hz=3000, formants=((500, 250), (1200, 600)), vibrato_cents=5, shimmer=0.75,
        loop_seconds=0.55,
    ),
    Voice(
        "Choir", (40, 50, 60, 70, 80), Envelope(0.1, 0, 0, 0.3), (range(52, 55),),
        slope=1.3, brightness_hz=1600, formants=((700, 160), (1150, 200), (2700, 500)), vibrato_cents=8, shimmer=0.6,
        loop_seconds=0.5,
    ),
    Voice(
        "Brass", (40, 51, 62, 73, 85), Envelope(0.045, 0, 0, 0.15), (range(56, 64),),
        slope=0.75, brightness_hz=1800, formants=((1200, 700),), vibrato_cents=4, shimmer=0.1, breath=0.05,
    ),
    Voice(
        "Reed", (40, 51, 62, 73, 85), Envelope(0.04, 0, 0, 0.12), (range(64, 72), range(111, 112)),
        slope=0.8, even=0.35, brightness_hz=2200, formants=((1000, 400), (2900, 700)), vibrato_cents=5, breath=0.06,
    ),
    Voice(
        "Flute", (55, 64, 73, 82, 92), Envelope(0.05, 0, 0, 0.15), (range(72, 80),),
        slope=1.9, brightness_hz=2600, vibrato_cents=7, shimmer=0.12, breath=0.3, loop_seconds=0.4,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One recording: values in -1 to 1, its rate in Hz, and the loop's first sample and length."""

    name: str
    values: Samples
    rate: int
    root: int
    loop_start: int
    loop_length: int


def synthesize(voice: Voice, root: int) -> Sample:
    """The sample of one pitch. The same arguments give the same sample."""
    random = np.random.default_rng(1000 * VOICES.index(voice) + root)
    rate = 16000 if root < 50 else 22050 if root < 85 else 32000
    pitch_hz = 440.0 * 2 ** ((root - 69) / 12)
    cycles = max(1, round(voice.loop_seconds * pitch_hz))
    length = round(cycles * rate / pitch_hz)
    start = round(voice.seconds * rate)
    time = (np.arange(start + length) - start) / length  # 0 at the loop's start, 1 at its end
    since_onset = np.arange(start + length) / rate
    tone = np.zeros(start + length)
    for number, ratio, amplitude in _partials(voice, pitch_hz, rate):
        whole_cycles = max(1, round(ratio * cycles))
        if whole_cycles >= 0.46 * length:
            continue
        vibrato = _vibrato(voice, whole_cycles, time)
        phase = random.uniform(0, 2 * np.pi) if voice.struck is None else 0.0
        change = np.ones_like(time)
        if voice.shimmer:
            depths = random.normal(0, voice.shimmer / 2, size=3)
            offsets = random.uniform(0, 2 * np.pi, size=3)
            for turns in range(1, 4):
                change += depths[turns - 1] * np.sin(2 * np.pi * turns * time + offsets[turns - 1]) / np.sqrt(turns)
        if voice.struck is not None:
            seconds = min(since_onset[-1], since_onset[start])
            rate_of_decay = 6.9 / _decay_seconds(voice.struck, root) * voice.damping * (number - 1)
            change *= np.exp(-rate_of_decay * np.minimum(since_onset, seconds))
        tone += amplitude * change * np.sin(2 * np.pi * whole_cycles * time + vibrato + phase)
    if voice.breath:
        tone += voice.breath * np.std(tone[: rate // 4]) * _onset_noise(random, since_onset, pitch_hz)
    tone[:start] *= np.minimum(1, np.arange(start) / (0.002 * rate))
    tone = np.concatenate([tone, tone[start : start + min(_LOOP_OVERLAP, length)]])
    loudest = max(np.sqrt(np.mean(part**2)) for part in np.array_split(tone, max(1, len(tone) // (rate // 8))))
    tone *= min(_RMS / loudest, 0.98 / np.abs(tone).max())
    return Sample(f"{voice.name} {root}", tone, rate, root, start, length)


def _partials(voice: Voice, pitch_hz: float, rate: int) -> Iterator[tuple[int, float, float]]:
    """(number, frequency over the fundamental, amplitude) of each audible partial."""
    if voice.ratios:
        plan = [(index + 1, ratio, amplitude) for index, (ratio, amplitude) in enumerate(voice.ratios)]
    else:
        stiffness = voice.inharmonicity * (pitch_hz / 261.6) ** 1.2
        plan = [
            (number, number * np.sqrt((1 + stiffness * number**2) / (1 + stiffness)), number**-voice.slope)
            for number in range(1, min(48, int(0.46 * rate / pitch_hz)) + 1)
        ]
    for number, ratio, amplitude in plan:
        hertz = ratio * pitch_hz
        amplitude /= 1 + (hertz / voice.brightness_hz) ** 2
        amplitude *= 1 + 2 * sum(np.exp(-(((hertz - centre) / width) ** 2)) for centre, width in voice.formants)
        if not voice.ratios and number % 2 == 0:
            amplitude *= voice.even
        if voice.strike:
            amplitude *= abs(np.sin(np.pi * number * voice.strike)) + 0.05
        if amplitude > 1e-4:
            yield number, float(ratio), float(amplitude)


def _vibrato(voice: Voice, whole_cycles: int, time: Samples) -> Samples:
    """Phase in radians that vibrato adds: about 5.5 Hz, a whole number of turns in a loop, absent at the onset."""
    turns = max(1, round(5.5 * voice.loop_seconds))
    depth = whole_cycles / turns * (2 ** (voice.vibrato_cents / 1200) - 1)
    return depth * np.sin(2 * np.pi * turns * time)


def _onset_noise(random: np.random.Generator, since_onset: Samples, pitch_hz: float) -> Samples:
    """Smoothed noise of unit level that dies away in about 40 ms."""
    noise = random.normal(size=len(since_onset) + 8)
    smooth = np.convolve(noise, np.hanning(9) / np.sqrt(np.sum(np.hanning(9) ** 2)), mode="valid")
    return smooth * np.exp(-since_onset * (60 + pitch_hz / 20)) * np.minimum(1, since_onset / 0.004)


def _decay_seconds(at_middle_c: float, root: int) -> float:
    """Seconds in which a struck string loses 60 dB: a high string decays faster."""
    return at_middle_c * 2 ** (-(root - 60) / 18)


def key_ranges(roots: tuple[int, ...]) -> list[tuple[int, int]]:
    """The pitches that use each sample: the nearest root. Together they cover 0 to 127."""
    edges = [0, *((low + high + 1) // 2 for low, high in pairwise(roots)), 128]
    return [(first, last - 1) for first, last in pairwise(edges)]


# Generators, from the specification's section 8.1.
_PAN, _REVERB = 17, 16
_ATTACK, _HOLD, _DECAY, _SUSTAIN, _RELEASE = 34, 35, 36, 37, 38
_KEY_RANGE, _INSTRUMENT, _SAMPLE, _SAMPLE_MODES = 43, 41, 53, 54


def _timecents(seconds: float) -> int:
    return round(1200 * log2(max(seconds, 0.001)))


def soundfont() -> bytes:
    """The whole file."""
    samples = [[synthesize(voice, root) for root in voice.roots] for voice in VOICES]
    audio, headers = bytearray(), bytearray()
    for sample in (sample for group in samples for sample in group):
        first = len(audio) // 2
        audio += np.round(32767 * sample.values).astype("<i2").tobytes() + bytes(2 * _GUARD_SAMPLES)
        loop = first + sample.loop_start
        headers += _named(sample.name) + struct.pack(
            "<IIIIIBbHH", first, first + len(sample.values), loop, loop + sample.loop_length, sample.rate, sample.root,
            0, 0, 1,
        )  # fmt: skip
    headers += _named("EOS") + bytes(26)
    return _riff(bytes(audio), {**_presets(), **_instruments(), "shdr": bytes(headers)})


def _presets() -> dict[str, bytes]:
    """A preset for each program in bank 0."""
    users = {program: index for index, voice in enumerate(VOICES) for part in voice.programs for program in part}
    if sorted(users) != list(range(128)):
        raise ValueError("the instruments do not cover the 128 programs")
    headers, bags, generators = bytearray(), bytearray(), bytearray()
    for program in range(128):
        headers += _named(VOICES[users[program]].name) + struct.pack("<HHHIII", program, 0, program, 0, 0, 0)
        bags += struct.pack("<HH", program, 0)
        generators += struct.pack("<HH", _INSTRUMENT, users[program])
    headers += _named("EOP") + struct.pack("<HHHIII", 0, 0, 128, 0, 0, 0)
    bags += struct.pack("<HH", 128, 0)
    return {
        "phdr": bytes(headers),
        "pbag": bytes(bags),
        "pmod": bytes(10),
        "pgen": bytes(generators + bytes(4)),
    }


def _instruments() -> dict[str, bytes]:
    headers, bags, generators = bytearray(), bytearray(), bytearray()
    sample = 0
    for voice in VOICES:
        headers += _named(voice.name) + struct.pack("<H", len(bags) // 4)
        for root, (low, high) in zip(voice.roots, key_ranges(voice.roots), strict=True):
            bags += struct.pack("<HH", len(generators) // 4, 0)
            envelope = voice.envelope
            # A decay of the format runs over 100 dB, a struck string's is told for 60 dB.
            decay = envelope.decay if voice.struck is None else _decay_seconds(voice.struck, root) * 100 / 60
            generators += struct.pack("<HBB", _KEY_RANGE, low, high)
            for generator, amount in (
                (_REVERB, 120),
                (_ATTACK, _timecents(envelope.attack)),
                (_DECAY, _timecents(decay)),
                (_SUSTAIN, envelope.sustain_centibels),
                (_RELEASE, _timecents(envelope.release * 100 / 60)),
                (_SAMPLE_MODES, 1),
                (_SAMPLE, sample),
            ):
                generators += struct.pack("<Hh", generator, amount)
            sample += 1
    headers += _named("EOI") + struct.pack("<H", len(bags) // 4)
    bags += struct.pack("<HH", len(generators) // 4, 0)
    return {
        "inst": bytes(headers),
        "ibag": bytes(bags),
        "imod": bytes(10),
        "igen": bytes(generators + bytes(4)),
    }


def _named(name: str) -> bytes:
    return name.encode("ascii")[:19].ljust(20, b"\0")


def _chunk(identifier: str, data: bytes) -> bytes:
    return identifier.encode("ascii") + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _text(identifier: str, text: str) -> bytes:
    data = text.encode("ascii") + b"\0"
    return _chunk(identifier, data + bytes(len(data) % 2))


def _riff(audio: bytes, tables: dict[str, bytes]) -> bytes:
    information = (
        _chunk("ifil", struct.pack("<HH", 2, 1))
        + _text("isng", "EMU8000")
        + _text("INAM", "Fantasia General MIDI")
        + _text("ICOP", NOTICE)
    )
    order = ("phdr", "pbag", "pmod", "pgen", "inst", "ibag", "imod", "igen", "shdr")
    body = b"sfbk" + _chunk("LIST", b"INFO" + information) + _chunk("LIST", b"sdta" + _chunk("smpl", audio))
    body += _chunk("LIST", b"pdta" + b"".join(_chunk(name, tables[name]) for name in order))
    return _chunk("RIFF", body)


if __name__ == "__main__":
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    data = soundfont()
    OUTPUT.write_bytes(data)
    sys.stdout.write(f"{OUTPUT}: {len(data):,} bytes\n")
