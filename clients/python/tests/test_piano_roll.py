import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.image import imread

from fantasia_client import FinishReason, Meter, MeterChange, MissingExtraError, Note, Piece, Timing
from fantasia_client.piano_roll import draw_piano_roll, render_piano_roll, save_piano_roll

NOTES = (Note(0, 960, 72, voice=0), Note(0, 1920, 48, voice=1), Note(1920, 480, 72, voice=0))
PIECE = Piece(
    midi=b"",
    notes=NOTES,
    ticks_per_quarter=480,
    length_ticks=3840,
    seed=7,
    token_count=1,
    finish_reason=FinishReason.LENGTH,
    model="chorales",
    model_digest="",
    meter=Meter(4, 4),
    tempo_bpm=92.5,
    programs=(0,),
    timing=Timing(0, 0, 0),
)


def boxes(axes: Axes) -> Iterator[tuple[str, float, float, float, float]]:
    """(colour, left, right, bottom, top) of every note drawn."""
    from matplotlib.collections import PolyCollection

    for collection in axes.collections:
        if isinstance(collection, PolyCollection) and collection.get_clip_on():
            colour: Any = collection.get_facecolor()[0]
            for path in collection.get_paths():
                box = path.get_extents()
                yield to_hex(colour), box.x0, box.x1, box.y0, box.y1


def test_notes_are_drawn_at_their_onset_and_pitch() -> None:
    figure = draw_piano_roll(NOTES, meter=Meter(4, 4), ticks_per_quarter=480, title="x")
    (axes,) = figure.axes
    drawn = sorted((left, right, round((bottom + top) / 2)) for _, left, right, bottom, top in boxes(axes))
    assert drawn == [(0, 960, 72), (0, 1920, 48), (1920, 2400, 72)]
    assert axes.get_xlim() == (0, 3840)  # the end of the bar in which the last note ends


def test_voices_have_colours_and_a_legend() -> None:
    figure = draw_piano_roll(NOTES, meter=Meter(4, 4), ticks_per_quarter=480, title="x")
    assert len({colour for colour, *_ in boxes(figure.axes[0])}) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["voice 1", "voice 2"]
    alone = draw_piano_roll(NOTES[:1], meter=Meter(4, 4), ticks_per_quarter=480, title="x")
    assert alone.legends == []


def test_two_voices_on_one_pitch_are_both_visible() -> None:
    unison = [Note(0, 480, 60, voice=0), Note(0, 480, 60, voice=1), Note(480, 480, 60, voice=1)]
    figure = draw_piano_roll(unison, meter=Meter(4, 4), ticks_per_quarter=480, title="x")
    heights = [round(top - bottom, 2) for *_, bottom, top in sorted(boxes(figure.axes[0]), key=lambda b: b[1])]
    assert heights[2] == max(heights)
    assert sorted(heights)[0] < sorted(heights)[1]


def test_bars_are_numbered_and_pitches_named() -> None:
    figure = draw_piano_roll(NOTES, meter=Meter(3, 4), ticks_per_quarter=480, title="A title", length_ticks=5760)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4"]
    assert list(axes.get_xticks()) == [0, 1440, 2880, 4320]
    names = dict(zip(axes.get_yticks(), (label.get_text() for label in axes.get_yticklabels()), strict=True))
    assert names[60] == "C4"
    assert names[48] == "C3"
    assert axes.get_title(loc="left") == "A title"


def test_bar_numbers_follow_the_pickup_and_the_meters() -> None:
    changes = (MeterChange(3360, Meter(6, 8)), MeterChange(5000, Meter(2, 4)))
    figure = draw_piano_roll(
        NOTES,
        meter=Meter(3, 4),
        ticks_per_quarter=480,
        title="x",
        length_ticks=6000,
        pickup_ticks=480,
        meter_changes=changes,
    )
    axes = figure.axes[0]
    assert list(axes.get_xticks()) == [480, 1920, 3360, 4800, 5000, 5960]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4", "5", "6"]
    beats, bars = (
        [np.asarray(path.vertices)[0, 0] for path in lines.get_paths()]
        for lines in axes.collections
        if isinstance(lines, LineCollection)
    )
    assert beats == [960, 1440, 2400, 2880, 4080, 5480]
    assert bars == [480, 1920, 3360, 4800, 5000, 5960]


def test_a_long_piece_has_fewer_bar_numbers() -> None:
    figure = draw_piano_roll(NOTES, meter=Meter(4, 4), ticks_per_quarter=480, title="x", length_ticks=200 * 1920)
    assert len(figure.axes[0].get_xticks()) <= 16
    assert figure.get_figwidth() <= 22


@pytest.mark.slow
@pytest.mark.parametrize(
    "notes", [(), (Note(0, 1, 0),), (Note(0, 1, 127),), (Note(0, 1, 0), Note(9, 1, 127, voice=30))]
)
def test_the_lowest_and_highest_pitch_are_drawn(notes: tuple[Note, ...], tmp_path: Path) -> None:
    path = save_piano_roll(replace(PIECE, notes=notes), tmp_path / "a.png")
    assert path.stat().st_size > 1000


@pytest.mark.slow
def test_a_png_is_written_with_the_title_of_the_piece(tmp_path: Path) -> None:
    path = save_piano_roll(PIECE, str(tmp_path / "a.png"), dots_per_inch=50)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = imread(path)
    colours = {to_hex(pixel) for row in pixels for pixel in row}
    assert {"#0072b2", "#d55e00"} <= colours
    save_piano_roll(PIECE, tmp_path / "a.svg")
    title = "chorales  ·  seed 7  ·  92.5 bpm  ·  4/4"
    assert title in (tmp_path / "a.svg").read_text()


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png, \.svg, \.pdf"):
        save_piano_roll(PIECE, tmp_path / "a.mid")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_drawing_does_not_import_pyplot() -> None:
    code = "import sys, fantasia_client.piano_roll; print('matplotlib.pyplot' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert result.stdout.strip() == "False"


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fantasia_client.piano_roll")
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(MissingExtraError, match=r"fantasia-client\[plot\]"):
        __import__("fantasia_client.piano_roll")


@pytest.mark.slow
@pytest.mark.parametrize(("file_format", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_roll_is_rendered_to_bytes(file_format: str, start: bytes) -> None:
    assert render_piano_roll(PIECE, file_format=file_format).startswith(start)
    with pytest.raises(ValueError, match="png, svg, pdf, not 'gif'"):
        render_piano_roll(PIECE, file_format="gif")
