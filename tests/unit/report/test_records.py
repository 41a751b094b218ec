import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from report import Record, RecordError


class Part(Record):
    loss: float


class Result(Record):
    name: str
    parts: tuple[Part, ...] = ()


RESULT = Result(name="chorales", parts=(Part(loss=0.52),))


def test_a_record_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "result.json"
    RESULT.save(path)
    assert Result.load(path) == RESULT
    assert path.read_text().endswith("}\n")
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_records_do_not_change() -> None:
    with pytest.raises(ValidationError):
        RESULT.name = "folk"


def test_a_number_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValidationError):
        Part(loss=float("nan"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not a valid Result: Invalid JSON"),
        ("[]", "is not a valid Result: "),
        ('{"parts": []}', "is not a valid Result: name: Field required"),
        ('{"name": "x", "size": 1}', "is not a valid Result: size: Extra inputs"),
        ('{"name": "x", "parts": [{"loss": "a"}]}', "is not a valid Result: parts.0.loss: "),
        ('{"size": 1, "parts": 2}', r"\(2 more\)"),
    ],
)
def test_a_file_that_holds_no_such_record_is_named(content: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=reason) as caught:
        Result.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"missing\.json cannot be read \(No such file"):
        Result.load(tmp_path / "missing.json")


def test_a_folder_is_loaded_by_name_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        Result(name=name).save(tmp_path / f"{name}.json")
    (tmp_path / "notes.txt").write_text("not a record")
    assert list(Result.load_folder(tmp_path)) == ["a", "b"]
    assert Result.load_folder(tmp_path / "missing") == {}


def test_a_folder_with_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"loss": 1.0}))
    with pytest.raises(RecordError, match=r"other\.json"):
        Result.load_folder(tmp_path)
