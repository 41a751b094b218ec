from pathlib import Path

import pytest

from bench.options import parse_options


def test_without_arguments_the_shipped_bundle_is_measured_and_nothing_recorded() -> None:
    options = parse_options([])

    assert options.bundle == Path("models/chorales")
    assert (options.widths, options.clients) == ((1, 8, 32, 64), (1, 64))
    assert options.record is None
    assert options.render is None


def test_either_part_can_be_left_out() -> None:
    assert parse_options(["--widths", "none"]).widths == ()
    assert parse_options(["--clients", "none", "--widths", "4"]).widths == (4,)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--widths", "none", "--clients", "none"], "cannot both be none"),
        (["--widths", "8,1"], "ascending"),
        (["--widths", "8,8"], "ascending"),
        (["--clients", "257"], "up to 256"),
        (["--clients", ""], "'' is not a whole number"),
        (["--steps", "0"], "whole number from 1"),
        (["--threads", "-1"], "whole number from 1"),
        (["--seconds", "nan"], "seconds above 0"),
        (["--seconds", "soon"], "seconds above 0"),
        (["--record", "../escape"], "not a name"),
        (["--provider", "tpu"], "invalid choice"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(arguments)

    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
