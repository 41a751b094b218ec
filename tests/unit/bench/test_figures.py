from pathlib import Path

import pytest

from bench.figures import draw_figures, figure_paths
from tests.unit.bench.records import full_record, record


def test_only_what_was_measured_has_a_figure() -> None:
    assert list(figure_paths("mine", record())) == ["service"]
    assert list(figure_paths("mine", full_record())) == ["service", "peers", "load"]
    assert figure_paths("mine", record())["service"].name == "mine-service.png"


@pytest.mark.slow
def test_every_figure_is_drawn(tmp_path: Path) -> None:
    draw_figures("mine", full_record(), tmp_path)

    paths = [tmp_path / path for path in figure_paths("mine", full_record()).values()]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
