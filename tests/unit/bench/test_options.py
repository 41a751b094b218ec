from pathlib import Path
from typing import get_args

import pytest

from bench.options import Part, parse_options


def test_without_arguments_all_of_the_shipped_bundle_is_measured_and_nothing_recorded() -> None:
    options = parse_options([])

    assert options.bundle == Path("models/chorales")
    assert options.parts == get_args(Part)
    assert (options.widths, options.clients) == ((1, 8, 32, 64, 128), (1, 64))
    assert options.precision == "auto"
    assert options.record is None
    assert options.render is None


def test_parts_are_measured_in_one_order_however_they_are_asked_for() -> None:
    assert parse_options(["--parts", "prefill,engine"]).parts == ("engine", "prefill")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--parts", "engine,clutch"], "'engine,clutch' is not a list of engine, service"),
        (["--parts", ""], "not a list of"),
        (["--precision", "int4"], "invalid choice"),
        (["--soak-tokens", "0"], "whole number from 1"),
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
