import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.access.callers import parse_callers, token_entry
from server.tokens import main


@pytest.mark.parametrize("name", ["studio", "studio.one"])
def test_a_new_token_has_an_entry_that_the_server_reads(name: str) -> None:
    result = CliRunner().invoke(main, ["new", name])
    assert result.exit_code == 0
    token = result.stdout.strip()
    assert re.fullmatch(r"fantasia_[A-Za-z0-9_-]{43}", token)
    ((caller, entry),) = parse_callers(result.stderr.encode(), Path("callers.toml"))
    assert (caller.name, entry.tokens) == (name, [token_entry(token)])
    assert token not in result.stderr
    assert CliRunner().invoke(main, ["new", name]).stdout.strip() != token


def test_a_token_of_ones_own_is_hashed_from_standard_input() -> None:
    assert CliRunner().invoke(main, ["hash"], input="secret\n").stdout == token_entry("secret") + "\n"
    assert CliRunner().invoke(main, ["hash"], input="\n").exit_code == 1


def test_a_wrong_name_is_refused() -> None:
    result = CliRunner().invoke(main, ["new", "a b"])
    assert result.exit_code == 2
    assert "the name 'a b' must be 1 to 64 letters" in result.stderr
