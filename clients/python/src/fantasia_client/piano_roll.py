"""Draws pieces as piano rolls. It needs matplotlib, which the extra `plot` installs.

Figures are made without pyplot. So this module needs no display, changes no global state, and is safe in threads.
"""

import io
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from fantasia_client.bars import Bars
from fantasia_client.errors import MissingExtraError
from fantasia_client.types import Meter, MeterChange, Note, Piece

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtraError(
        "drawing needs matplotlib, which is not installed: pip install 'fantasia-client[plot]'"
    ) from error

SUFFIXES = (".png", ".svg", ".pdf")
"""Suffixes of the files that `save_piano_roll` can write."""

# Colours of Okabe and Ito (Color Universal Design, 2008), which people with colour blindness can distinguish.
# Yellow is left out, since it is hard to see on white.
_VOICE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_BLACK_KEY_ROW = "#EEF0F3"
_OCTAVE_LINE = "#C3C8D0"
_BAR_LINE = "#8A919C"
_BEAT_LINE = "#DDE0E5"
_TEXT = "#2B2F36"

_BLACK_KEYS = frozenset({1, 3, 6, 8, 10})
_NATURALS = {0: "C", 2: "D", 4: "E", 5: "F", 7: "G", 9: "A", 11: "B"}
_KEYBOARD_INCHES = 0.32
_MAX_BAR_NUMBERS = 16
_MAX_PITCHES_WITH_ALL_NAMES = 40


def draw_piano_roll(
    notes: Sequence[Note],
    *,
    meter: Meter,
    ticks_per_quarter: int,
    title: str,
    length_ticks: int | None = None,
    pickup_ticks: int = 0,
    meter_changes: Sequence[MeterChange] = (),
) -> Figure:
    """Draw notes and a keyboard: bars on the horizontal axis, pitch on the vertical axis, one colour per voice.

    If voices share a pitch at the same time, the lower voice is drawn narrower, on top of the higher voice.

    Args:
        notes: notes in any order; an empty sequence gives an empty roll.
        meter: time signature at the start, for the bar lines.
        ticks_per_quarter: ticks in a quarter note.
        title: title above the roll.
        length_ticks: end of the roll, in ticks; None for the end of the last bar with a note.
        pickup_ticks: length of an incomplete bar before the first full bar, less than a bar; 0 for none.
        meter_changes: later time signatures, in the order of their ticks.

    Returns:
        A figure with an Agg canvas. It does not need to be closed.
    """
    end = length_ticks or max((note.onset_ticks + note.duration_ticks for note in notes), default=1)
    bars = Bars(
        meter,
        Fraction(end, ticks_per_quarter),
        pickup=Fraction(pickup_ticks, ticks_per_quarter),
        changes=[(Fraction(change.tick, ticks_per_quarter), change.meter) for change in meter_changes],
    )
    if length_ticks is None:
        length_ticks = math.ceil(bars.end * ticks_per_quarter)
    lowest = min((note.pitch for note in notes), default=60) - 2
    highest = max((note.pitch for note in notes), default=71) + 2
    # A margin of two semitones, and a range of at least an octave and a half.
    highest = max(highest, lowest + 18)

    width = min(max(2.6 + 0.95 * bars.count, 8.0), 22.0)
    height = min(max(1.5 + 0.115 * (highest - lowest), 4.2), 9.0)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlim(0, length_ticks)
    axes.set_ylim(lowest - 0.5, highest + 0.5)
    _draw_rows(axes, lowest, highest)
    _draw_bars(axes, bars, ticks_per_quarter)
    _draw_notes(axes, notes)
    _draw_keyboard(axes, lowest, highest, _KEYBOARD_INCHES / width)
    axes.set_title(title, loc="left", color=_TEXT, fontsize=12, pad=12)
    axes.set_xlabel("bar", color=_TEXT)
    for side in axes.spines.values():
        side.set_color(_BAR_LINE)
    voices = {note.voice for note in notes}
    if len(voices) > 1:
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside lower right",
            ncols=min(len(voices), 8),
            frameon=False,
            labelcolor=_TEXT,
            handlelength=1.2,
            columnspacing=1.4,
        )
    return figure


def save_piano_roll(piece: Piece, path: str | os.PathLike[str], *, dots_per_inch: float = 150) -> Path:
    """Draw the piece into a file and return its path. The suffix of the path selects PNG, SVG or PDF.

    Raises:
        ValueError: the path has another suffix.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"the suffix must be one of {', '.join(SUFFIXES)}, not {path.suffix!r}: {path}")
    _figure(piece).savefig(path, dpi=dots_per_inch)
    return path


def render_piano_roll(piece: Piece, *, file_format: str = "png", dots_per_inch: float = 150) -> bytes:
    """Draw the piece and return the bytes of a PNG, SVG or PDF file.

    Args:
        piece: generated piece.
        file_format: `png`, `svg` or `pdf`.
        dots_per_inch: resolution of a PNG.

    Raises:
        ValueError: the format is another one.
    """
    if f".{file_format}" not in SUFFIXES:
        formats = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise ValueError(f"file_format must be one of {formats}, not {file_format!r}")
    buffer = io.BytesIO()
    _figure(piece).savefig(buffer, format=file_format, dpi=dots_per_inch)
    return buffer.getvalue()


def _figure(piece: Piece) -> Figure:
    return draw_piano_roll(
        piece.notes,
        meter=piece.meter,
        ticks_per_quarter=piece.ticks_per_quarter,
        title=f"{piece.model}  ·  seed {piece.seed}  ·  {piece.tempo_bpm:g} bpm  ·  {piece.meter}",
        length_ticks=piece.length_ticks,
        pickup_ticks=piece.pickup_ticks,
        meter_changes=piece.meter_changes,
    )


def _draw_rows(axes: Axes, lowest: int, highest: int) -> None:
    for pitch in range(lowest, highest + 1):
        if pitch % 12 in _BLACK_KEYS:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color=_BLACK_KEY_ROW, linewidth=0, zorder=0)
        if pitch % 12 == 0:
            axes.axhline(pitch - 0.5, color=_OCTAVE_LINE, linewidth=0.8, zorder=1)


def _draw_bars(axes: Axes, bars: Bars, ticks_per_quarter: int) -> None:
    def ticks(time: Fraction) -> float:
        return float(time * ticks_per_quarter)

    crowded = bars.count > 2 * _MAX_BAR_NUMBERS
    if not crowded:
        beats = [ticks(beat) for index in range(bars.count) for beat in _inner_beats(bars, index)]
        beats = [beat for beat in beats if beat < axes.get_xlim()[1]]
        axes.vlines(beats, *axes.get_ylim(), color=_BEAT_LINE, linewidth=0.6, zorder=1)
    starts = [ticks(bars.span(index)[0]) for index in range(bars.count)]
    axes.vlines(starts[1:], *axes.get_ylim(), color=_BAR_LINE, linewidth=0.4 if crowded else 0.9, zorder=2)
    # A short piece has a number at every bar, a longer piece at every second, fourth, ... bar. The pickup has none.
    first = 1 if bars.pickup else 0
    stride = 2 ** max(0, math.ceil(math.log2(bars.count / _MAX_BAR_NUMBERS)))
    numbered = range(first, bars.count, stride)
    axes.set_xticks([starts[index] for index in numbered], [str(index - first + 1) for index in numbered], color=_TEXT)
    axes.tick_params(axis="x", length=3, color=_BAR_LINE)


def _inner_beats(bars: Bars, index: int) -> list[Fraction]:
    """The beats of a bar after its start, in quarter notes from the start of the piece."""
    start, end = bars.span(index)
    origin, beat = bars.origin(index), Fraction(bars.meter(index).beat_ticks(1))
    count = math.ceil((end - origin) / beat)
    return [time for time in (origin + number * beat for number in range(1, count)) if time > start]


def _draw_notes(axes: Axes, notes: Sequence[Note]) -> None:
    sounding: dict[int, list[Note]] = defaultdict(list)
    for note in notes:
        sounding[note.pitch].append(note)
    spans: dict[tuple[int, int, float], list[tuple[float, float]]] = defaultdict(list)
    for note in notes:
        above = sum(
            other.voice < note.voice
            and other.onset_ticks < note.onset_ticks + note.duration_ticks
            and note.onset_ticks < other.onset_ticks + other.duration_ticks
            for other in sounding[note.pitch]
        )
        half = max(0.44 - 0.2 * above, 0.12)
        spans[note.voice, note.pitch, half].append((note.onset_ticks, note.duration_ticks))
    labelled: set[int] = set()
    for (voice, pitch, half), times in sorted(spans.items()):
        axes.broken_barh(
            times,
            (pitch - half, 2 * half),
            facecolor=_VOICE_COLOURS[voice % len(_VOICE_COLOURS)],
            edgecolor="white",  # separates repeated notes
            linewidth=0.7,
            zorder=3 + voice / 1000,
            label=None if voice in labelled else f"voice {voice + 1}",
        )
        labelled.add(voice)


def _draw_keyboard(axes: Axes, lowest: int, highest: int, width: float) -> None:
    """Draw a vertical keyboard at the left edge, `width` in axes units, with the names of its white keys."""
    transform = axes.get_yaxis_transform()
    for pitch in range(lowest, highest + 1):
        black = pitch % 12 in _BLACK_KEYS
        axes.fill_between(
            (-width, -0.38 * width if black else 0.0),
            pitch - 0.5,
            pitch + 0.5,
            facecolor="#3A3F47" if black else "white",
            edgecolor=_OCTAVE_LINE,
            linewidth=0.5,
            transform=transform,
            clip_on=False,
            zorder=5,
        )
    every = highest - lowest <= _MAX_PITCHES_WITH_ALL_NAMES
    named = [pitch for pitch in range(lowest, highest + 1) if pitch % 12 in (_NATURALS if every else {0: "C", 7: "G"})]
    names = [f"{_NATURALS[pitch % 12]}{pitch // 12 - 1}" for pitch in named]
    axes.set_yticks(named, names, color=_TEXT, fontsize=7.5)
    axes.tick_params(axis="y", length=0, pad=3 + 72 * _KEYBOARD_INCHES)
    for pitch, label in zip(named, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if pitch % 12 == 0 else "normal")
