from tests.unit.training.evaluation.scores import evaluation, sweep
from training.evaluation.page import render
from training.evaluation.tables import as_text


def test_text_and_markdown_show_the_same_tables() -> None:
    single_voice = evaluation(faults=(), remarks=("Voice leading is not measured: one voice.",))
    for text in (as_text(single_voice), render({"small": single_voice})):
        assert "2.00" in text
        assert "8-gram, Witten-Bell" in text
        assert "Voice leading is not measured" in text
        assert "parallel" not in text
    cells = ["melodic intervals", "0.1000", "0.1000", "1.00", "0.80 to 1.30"]
    row = next(line for line in render({"small": single_voice}).splitlines() if "melodic intervals" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == cells


def test_a_sweep_shows_its_points_from_the_best() -> None:
    lines = as_text(evaluation(sweep=sweep())).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("Sampling sweep: the 2 best of 2 points"))
    assert "parallel fifths" in lines[first + 1]
    assert lines[first + 2].startswith("temperature 0.8, no top-k or top-p")
    assert lines[first + 3].startswith("temperature 1, no top-k or top-p")
