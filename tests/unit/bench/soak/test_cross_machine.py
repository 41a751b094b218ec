import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.soak.cross_machine import MachineAnswers, main
from bench.soak.pool import make_pool, reference_runner
from music.bundle import load_bundle


@pytest.fixture
def arguments(small_bundle: Path, tmp_path: Path) -> list[str]:
    file = str(tmp_path / "answers.json")
    return [file, "--bundle", str(small_bundle), "--distinct", "30", "--precision", "float32"]


def run(arguments: list[str]) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.slow
def test_the_same_machine_gives_the_same_answers_again(arguments: list[str], small_bundle: Path) -> None:
    first = run(arguments)
    assert first.exit_code == 0
    assert "30 answers of float32 on CPUExecutionProvider, " in first.stdout
    bundle = load_bundle(small_bundle)
    pool = make_pool(bundle, reference_runner(bundle, "cpu", "float32"), count=30, seed=1)
    there = MachineAnswers.load(Path(arguments[0])).pool
    assert there.requests == pool.requests
    assert there.sha256 == pool.sha256
    second = run([*arguments[:3], "--precision", "auto"])
    lines = second.stdout.splitlines()
    assert second.exit_code == 0
    assert lines[0] == "0 of 30 answers differ"
    assert [line.split(":")[1].split()[0] for line in lines[1:]] == ["float32", "float32"], "auto is the other's"


@pytest.mark.slow
def test_another_token_is_found_and_where(arguments: list[str]) -> None:
    run(arguments)
    file = Path(arguments[0])
    written = json.loads(file.read_text())
    written["answers"][0]["candidates"][0]["tokens"][6] += 1
    file.write_text(json.dumps(written))
    result = run(arguments)
    assert result.exit_code == 1
    assert "1 of 30 answers differ, from token 6 on average" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"digest": "0" * 64}, "has the answers of bundle 000000000000"),
        ({"precision": "int3"}, "is not a valid MachineAnswers: precision: "),
        ({"requests": []}, "is not a valid MachineAnswers: requests: "),
        ({"requests": [{"kind": "tokens", "seed": 1, "max_tokens": 3}]}, "1 requests have 30 answers"),
        ({"requests": [{"kind": "tokens", "seed": -1, "max_tokens": 3}]}, "is not a valid MachineAnswers: requests"),
        ({"requests": [{"seed": 1, "max_tokens": 3}]}, "is not a valid MachineAnswers: requests.0: "),
        (
            {"answers": [{"candidates": [{"tokens": [2**31], "reason": "end"}]}]},
            "is not a valid MachineAnswers: answers.0.candidates.0.tokens.0: ",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(arguments: list[str], change: dict[str, object], reason: str) -> None:
    run(arguments)
    file = Path(arguments[0])
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    result = run(arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_another_precision_can_be_compared(arguments: list[str]) -> None:
    run(arguments)
    result = run([*arguments[:-1], "int8"])
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"\d+ of 30 answers differ(, from token \d+ on average)?", lines[0])
    assert [line.split(":")[1].split()[0] for line in lines[1:]] == ["float32", "int8"]
    assert result.exit_code == int(not lines[0].startswith("0 "))


def test_a_file_whose_folder_cannot_be_made_is_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run([str(tmp_path / "file" / "answers.json"), *arguments[1:]])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


def test_a_folder_in_its_place_is_refused(arguments: list[str], tmp_path: Path) -> None:
    result = run([str(tmp_path), *arguments[1:]])
    assert result.exit_code == 2
    assert "is a directory" in result.stderr
