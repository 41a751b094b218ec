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
    cells = ["0.1000", "0.1000", "1.00", "0.80 to 1.30"]
    assert row(render({"small": single_voice}), "melodic intervals") == cells


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_measures_of_any_tokenizer_are_shown() -> None:
    text = render({"small": evaluation()})
    assert row(text, "the model") == ["0.4000", "2.000", "90.0%", "60.0%", "65.0%"]
    assert row(text, "8-gram") == ["0.8000", "4.000", "80.0%", "30.0%", ""]
    assert row(text, "bits per second") == ["5.00", "4.20", "5.00", "5.80"]
    assert row(text, "training pieces") == ["53.0%", "50.0% 55.0% 54.0%"]
    assert row(text, "generated pieces") == ["83.0%", "80.0% 85.0% 84.0%"]
    assert row(text, "bars that equal") == ["10.0%", "8.0% to 12.0%", "30.0%", "25.0%"]
    assert "96 generated pieces of each length, in 4/4; 0.0% are shorter than requested" in text
    assert row(text, "close") == ["95.0%", "90.0%", "97.0%", "90.0%"]


def test_a_record_without_them_is_shown_without_them() -> None:
    base = evaluation()
    plain = {"nats_per_note": None, "pitch_accuracy": None, "bits_per_second_by_piece": ()}
    changes = {"likelihood": base.likelihood.model_copy(update=plain), "form": (), "two_sample": None}
    text = render({"small": evaluation(**changes)})
    assert row(text, "the model") == ["0.4000", "", "90.0%", "60.0%", ""]
    assert not [word for word in ("Bits per second", "Two-sample", "Form") if word in text]


def test_a_sweep_shows_its_points_from_the_best() -> None:
    lines = as_text(evaluation(sweep=sweep())).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("Sampling sweep: the 2 best of 2 points"))
    assert "parallel fifths" in lines[first + 1]
    assert lines[first + 2].startswith("temperature 0.8, no top-k or top-p")
    assert lines[first + 3].startswith("temperature 1, no top-k or top-p")
