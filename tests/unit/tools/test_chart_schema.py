import json
from pathlib import Path

import pytest

from server.settings import Settings
from tools import chart_schema


def test_the_schema_keeps_the_bounds_of_the_settings() -> None:
    properties = chart_schema.settings_schema()["properties"]

    assert properties["slots"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 4096,
        "description": Settings.model_fields["slots"].description,
    }
    assert properties["provider"]["enum"] == ["auto", "cpu", "cuda"]
    assert not chart_schema.ELSEWHERE & properties.keys()


def test_the_program_replaces_the_settings_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads(chart_schema.SCHEMA.read_text())
    changed = json.loads(json.dumps(before))
    changed["properties"]["settings"] = {}
    path = tmp_path / "values.schema.json"
    path.write_text(json.dumps(changed))
    monkeypatch.setattr(chart_schema, "SCHEMA", path)

    chart_schema.main()

    assert json.loads(path.read_text()) == before
