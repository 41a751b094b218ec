import json
from pathlib import Path

import pytest

from bench.churn.elsewhere import main, read
from bench.churn.pool import make_pool
from bench.runners import make_runner
from music.bundle import load_bundle


@pytest.fixture
def arguments(small_bundle: Path, tmp_path: Path) -> list[str]:
    file = str(tmp_path / "answers.json")
    return [file, "--bundle", str(small_bundle), "--distinct", "30", "--precision", "float32"]


def test_what_is_written_is_the_pool_and_comes_out_the_same_again(
    arguments: list[str], small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    assert "30 answers of float32 on CPUExecutionProvider, " in capsys.readouterr().out
    bundle = load_bundle(small_bundle)
    runner = make_runner(bundle, slots=1, provider="cpu", threads=1, precision="float32")
    pool = make_pool(bundle, runner, count=30, seed=1)
    there = read(Path(arguments[0])).pool
    assert there.requests == pool.requests
    assert there.sha256 == pool.sha256
    assert main([*arguments[:3], "--precision", "auto"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "0 of 30 answers differ"
    assert [line.split(":")[1].split()[0] for line in said[1:]] == ["float32", "float32"], "auto is what it was there"


def test_another_token_is_found_and_where(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments)
    file = Path(arguments[0])
    written = json.loads(file.read_text())
    written["answers"][4]["tokens"][6] += 1
    file.write_text(json.dumps(written))
    assert main(arguments) == 1
    assert "1 of 30 answers differ, from token 6 on, on average" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"digest": "0" * 64}, "is of bundle 000000000000"),
        ({"precision": "int3"}, "holds no answers: precision: "),
        ({"requests": []}, "holds no answers: requests: "),
        ({"requests": [{"seed": 1, "max_tokens": 3}]}, "1 requests have 30 answers"),
        ({"requests": [{"seed": -1, "max_tokens": 3}]}, "holds no answers: requests"),
        ({"answers": [{"tokens": [2**31], "reason": "end"}]}, "holds no answers: answers.0.tokens.0: "),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str], change: dict[str, object], said: str
) -> None:
    main(arguments)
    file = Path(arguments[0])
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("python -m bench.churn.elsewhere: error: ")
    assert said in error
    assert error.count("\n") == 1


def test_a_folder_that_is_not_there_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(Path(arguments[0]).parent / "none" / "answers.json"), *arguments[1:]]) == 1
    assert "is no folder to write answers into" in capsys.readouterr().err


def test_a_folder_in_its_place_is_told(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), *arguments[1:]]) == 1
    assert "cannot be read" in capsys.readouterr().err
