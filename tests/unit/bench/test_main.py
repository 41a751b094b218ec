from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bench import suite
from bench.__main__ import main
from bench.options import PARTS, Options
from bench.page import REGION
from tests.unit.bench.records import record


def test_a_missing_bundle_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--bundle", str(tmp_path)])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: there is no bundle at {tmp_path}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_rendering_measures_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{REGION.begin}\n{REGION.end}\n")
    result = CliRunner().invoke(main, ["--render", str(page), "--bundle", "nowhere"])

    assert (result.exit_code, result.output) == (0, "")
    assert "###" in page.read_text()


def test_a_page_without_a_region_is_one_sentence(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    result = CliRunner().invoke(main, ["--render", str(page)])

    assert result.exit_code == 1
    assert "the page has no region 'results'" in result.stderr


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """The options that the command passes on, without measuring."""
    found: list[Options] = []

    def run_suite(options: Options) -> object:
        found.append(options)
        return record()

    monkeypatch.setattr(suite, "run_suite", run_suite)
    return found


def test_without_arguments_all_of_the_shipped_bundle_is_measured_and_nothing_recorded(asked: list[Options]) -> None:
    result = CliRunner().invoke(main, [])

    assert result.exit_code == 0
    assert asked == [Options()]
    assert Options().bundle == Path("models/chorales")
    assert Options().parts == PARTS
    assert "Engine / bare loop" in result.stdout


def test_parts_are_measured_in_one_order_however_they_are_asked_for(asked: list[Options]) -> None:
    CliRunner().invoke(main, ["--parts", "prefill,engine", "--clients", "2,8", "--widths", "7"])

    assert (asked[0].parts, asked[0].clients, asked[0].widths) == (("engine", "prefill"), (2, 8), (7,))


def test_a_record_is_kept_under_its_name(asked: list[Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.__main__.RESULTS", tmp_path / "results")
    CliRunner().invoke(main, ["--record", "mine"])

    assert type(record()).load(tmp_path / "results" / "mine.json") == record()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--parts", "engine,clutch"], "'engine,clutch' is not a list of engine, service"),
        (["--parts", ""], "is not a list of"),
        (["--precision", "int4"], "'int4' is not one of"),
        (["--widths", "8,1"], "ascending"),
        (["--widths", "8,8"], "ascending"),
        (["--clients", "257"], "from 1 to 256"),
        (["--clients", ""], "ascending"),
        (["--steps", "0"], "not in the range x>=1"),
        (["--threads", "-1"], "not in the range x>=1"),
        (["--seconds", "0"], "not in the range"),
        (["--seconds", "inf"], "not in the range"),
        (["--seconds", "soon"], "not a valid float"),
        (["--record", "../escape"], "may only have"),
        (["--provider", "tpu"], "'tpu' is not one of"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], sentence: str, asked: list[Options]) -> None:
    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 2
    assert sentence in result.stderr
    assert asked == []


def test_help_names_every_option() -> None:
    help_text = CliRunner().invoke(main, ["--help"]).output

    assert all(name in help_text for option in main.params if isinstance(option, click.Option) for name in option.opts)
