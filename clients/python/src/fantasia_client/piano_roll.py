"""Draws pieces as piano rolls. Needs matplotlib, which the extra `plot` brings.

Figures are made without pyplot, so that nothing global is touched and no display is needed: this is as safe
in a server's thread as in a notebook.
"""

import io
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from fantasia_client.errors import MissingExtraError
from fantasia_client.meter import Meter
from fantasia_client.piece import Note, Piece

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtraError(
        "drawing needs matplotlib, which is not installed: pip install 'fantasia-client[plot]'"
    ) from error

SUFFIXES = (".png", ".svg", ".pdf")
"""Endings of the files that `save_piano_roll` writes."""

# Okabe and Ito's colours (Color Universal Design, 2008), told apart with every common colour blindness.
# Their yellow is left out: it does not stand out from white.
_VOICE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_BLACK_KEY_ROW = "#EEF0F3"
_OCTAVE_LINE = "#C3C8D0"
_BAR_LINE = "#8A919C"
_BEAT_LINE = "#DDE0E5"
_TEXT = "#2B2F36"

_BLACK_KEYS = frozenset({1, 3, 6, 8, 10})
_NATURALS = {0: "C", 2: "D", 4: "E", 5: "F", 7: "G", 9: "A", 11: "B"}
_KEYBOARD_INCHES = 0.32
_MOST_BAR_NUMBERS = 16
_MOST_PITCHES_WITH_EVERY_NAME = 40


def draw_piano_roll(
    notes: Sequence[Note],
    *,
    meter: Meter,
    ticks_per_quarter: int,
    title: str,
    length_ticks: int | None = None,
) -> Figure:
    """Draw notes beside a keyboard: time to the right in bars, pitch upwards, a colour for each voice.

    Where voices meet on one pitch, the lower is drawn slimmer on top of the higher, so that both are seen.

    Args:
        notes: in any order; none at all gives an empty roll.
        meter: where the bar lines stand.
        ticks_per_quarter: resolution of the notes' ticks.
        title: written above the roll.
        length_ticks: where the roll ends; None for the end of the bar in which the last note ends.

    Returns:
        A figure with an Agg canvas, which belongs to the caller alone: nothing needs to be closed.
    """
    bar_ticks = meter.bar_ticks(ticks_per_quarter)
    if length_ticks is None:
        end = max((note.onset_ticks + note.duration_ticks for note in notes), default=1)
        length_ticks = math.ceil(math.ceil(end / bar_ticks) * bar_ticks)
    lowest = min((note.pitch for note in notes), default=60) - 2
    highest = max((note.pitch for note in notes), default=71) + 2
    # A margin of two semitones, and never less than an octave and a half.
    highest = max(highest, lowest + 18)

    bars = max(1.0, length_ticks / bar_ticks)
    width = min(max(2.6 + 0.95 * bars, 8.0), 22.0)
    height = min(max(1.5 + 0.115 * (highest - lowest), 4.2), 9.0)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlim(0, length_ticks)
    axes.set_ylim(lowest - 0.5, highest + 0.5)
    _draw_rows(axes, lowest, highest)
    _draw_bars(axes, length_ticks, bar_ticks, meter.beat_ticks(ticks_per_quarter))
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
    """Draw the piece into a PNG, SVG or PDF file, as the path's ending says, and return the path.

    Raises:
        ValueError: the path ends in something else.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"a piano roll ends in {', '.join(SUFFIXES)}, not in {path.suffix!r}: {path}")
    _figure(piece).savefig(path, dpi=dots_per_inch)
    return path


def render_piano_roll(piece: Piece, *, file_format: str = "png", dots_per_inch: float = 150) -> bytes:
    """Draw the piece and return the bytes of a PNG, SVG or PDF file.

    Args:
        piece: what to draw.
        file_format: `png`, `svg` or `pdf`.
        dots_per_inch: resolution of a PNG.

    Raises:
        ValueError: it is another format.
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
    )


def _draw_rows(axes: Axes, lowest: int, highest: int) -> None:
    for pitch in range(lowest, highest + 1):
        if pitch % 12 in _BLACK_KEYS:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color=_BLACK_KEY_ROW, linewidth=0, zorder=0)
        if pitch % 12 == 0:
            axes.axhline(pitch - 0.5, color=_OCTAVE_LINE, linewidth=0.8, zorder=1)


def _draw_bars(axes: Axes, length_ticks: int, bar_ticks: float, beat_ticks: float) -> None:
    bars = math.ceil(length_ticks / bar_ticks)
    crowded = bars > 2 * _MOST_BAR_NUMBERS
    if not crowded:
        beats = [beat * beat_ticks for beat in range(1, math.ceil(length_ticks / beat_ticks))]
        axes.vlines(beats, *axes.get_ylim(), color=_BEAT_LINE, linewidth=0.6, zorder=1)
    starts = [bar * bar_ticks for bar in range(1, bars)]
    axes.vlines(starts, *axes.get_ylim(), color=_BAR_LINE, linewidth=0.4 if crowded else 0.9, zorder=2)
    # Every bar is numbered in a short piece, every second, fourth, ... in a longer one.
    stride = 2 ** max(0, math.ceil(math.log2(bars / _MOST_BAR_NUMBERS)))
    axes.set_xticks(
        [bar * bar_ticks for bar in range(0, bars, stride)],
        [str(bar + 1) for bar in range(0, bars, stride)],
        color=_TEXT,
    )
    axes.tick_params(axis="x", length=3, color=_BAR_LINE)


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
            edgecolor="white",  # parts a note from its repetition
            linewidth=0.7,
            zorder=3 + voice / 1000,
            label=None if voice in labelled else f"voice {voice + 1}",
        )
        labelled.add(voice)


def _draw_keyboard(axes: Axes, lowest: int, highest: int, width: float) -> None:
    """A vertical keyboard at the left edge, `width` of the axes wide, and the names of its white keys."""
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
    every = highest - lowest <= _MOST_PITCHES_WITH_EVERY_NAME
    named = [pitch for pitch in range(lowest, highest + 1) if pitch % 12 in (_NATURALS if every else {0: "C", 7: "G"})]
    names = [f"{_NATURALS[pitch % 12]}{pitch // 12 - 1}" for pitch in named]
    axes.set_yticks(named, names, color=_TEXT, fontsize=7.5)
    axes.tick_params(axis="y", length=0, pad=3 + 72 * _KEYBOARD_INCHES)
    for pitch, label in zip(named, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if pitch % 12 == 0 else "normal")
