from pathlib import Path

import pytest

from report import PALETTE, figure


def draw(path: Path) -> None:
    with figure(path, width=3.0, height=2.0) as drawing:
        axes = drawing.subplots()
        (line,) = axes.plot([1, 2], [3, 4], label="a line")
        assert line.get_color() == PALETTE[0]
        axes.legend()


def test_a_figure_is_saved_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "images" / "curve.png"
    draw(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in path.parent.iterdir()] == ["curve.png"]


def test_equal_drawings_give_equal_bytes(tmp_path: Path) -> None:
    draw(tmp_path / "first.png")
    draw(tmp_path / "second.png")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_the_suffix_chooses_the_format(tmp_path: Path) -> None:
    draw(tmp_path / "curve.svg")
    assert b"<svg" in (tmp_path / "curve.svg").read_bytes()


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), figure(path, width=3.0, height=2.0):
        raise RuntimeError
    assert path.read_bytes() == b"old"


def test_the_theme_ends_with_the_block(tmp_path: Path) -> None:
    from matplotlib import rcParams

    before = dict(rcParams)
    draw(tmp_path / "curve.png")
    assert dict(rcParams) == before
