import re
from pathlib import Path

import pytest

from fantasia.v1 import generation_pb2
from tools.api_reference import REGION, ContractError, contract, reference

ROOT = Path(__file__).resolve().parents[3]
PAGE = reference(contract())

# What grpcio itself sends, and what no caller sees.
NOT_AN_ERROR_OF_OURS = {"OK", "CANCELLED", "UNKNOWN"}

LATER = """\
syntax = "proto3";
package later.v1;
import "google/protobuf/duration.proto";
// Plays.
//
// Errors:
// - NOT_FOUND, UNAVAILABLE: Not there, or
//   not yet. Details: none. Do: wait; see
//   Outer.wait.
//
// After the list.
service Player {
  // Plays a | b.
  rpc Play(stream Outer) returns (stream Outer);
}
// The outer message.
message Outer {
  // The inner message.
  message Inner {
    // A pitch.
    int32 pitch = 1;
  }
  // How.
  enum Mode {
    // Not said.
    MODE_UNSPECIFIED = 0;
  }
  // Time to
  // wait.
  google.protobuf.Duration wait = 1;
  // By | name.
  map<string, Inner> inner = 2;
  // The mode.
  Mode mode = 3;
}
message Empty {}
"""


def later(folder: Path, text: str = LATER) -> str:
    (folder / "later.proto").write_text(text)
    return reference(contract(folder))


def test_the_committed_page_is_as_generated() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    assert page == REGION.replaced(page, PAGE), "the contract changed: run `make proto`"


def test_everything_in_the_contract_has_its_place() -> None:
    described = generation_pb2.DESCRIPTOR
    headings = set(re.findall(r"^##+ (\w+)$", PAGE, re.MULTILINE))
    methods = {method.name for service in described.services_by_name.values() for method in service.methods}
    assert headings == {
        *described.services_by_name,
        *methods,
        *described.message_types_by_name,
        *described.enum_types_by_name,
    }


def test_every_field_and_value_is_described() -> None:
    rows = re.findall(
        r"^\| `([a-z]\w*|[A-Z]+_\w+)` \| (?:.+?) \| (.*) \|$", PAGE.partition("\n## GenerateRequest")[2], re.MULTILINE
    )
    described = generation_pb2.DESCRIPTOR
    fields = [field.name for message in described.message_types_by_name.values() for field in message.fields]
    values = [value.name for enum in described.enum_types_by_name.values() for value in enum.values]
    assert [name for name, _ in rows] == fields + values
    assert [name for name, description in rows if not description] == []


def test_links_lead_to_headings() -> None:
    headings = {heading.lower() for heading in re.findall(r"^##+ (\w+)$", PAGE, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", PAGE)) <= headings


def test_types_are_written_as_in_the_contract() -> None:
    assert "| `temperature` | optional float | " in PAGE
    assert "| `notes` | repeated [Note](#note) | " in PAGE
    assert "| `metrics` | map of string to double | " in PAGE
    assert re.search(r"^`length` \(at most one of `bars`, `steps`, `seconds`.*\): \w", PAGE, re.MULTILINE)
    assert "[GenerateRequest](#generaterequest) → [GenerateResponse](#generateresponse)" in PAGE


def test_every_status_that_the_server_returns_has_its_row() -> None:
    # OpenTelemetry has status codes of its own.
    sources = [path.read_text() for path in (ROOT / "server").rglob("*.py") if path.parent.name != "tracing"]
    returned = {code for source in sources for code in re.findall(r"StatusCode\.([A-Z_]+)\b", source)}
    rows = re.findall(r"^\| (`[A-Z_]+` \(\d+\).*?) \| .+ \| .+ \| .+ \|$", PAGE, re.MULTILINE)
    assert returned - NOT_AN_ERROR_OF_OURS <= set(re.findall(r"`(\w+)`", "".join(rows)))
    assert "`INVALID_ARGUMENT` (3)" in rows


def test_a_later_contract_may_nest_and_import(tmp_path: Path) -> None:
    page = later(tmp_path)

    assert "| `wait` | `google.protobuf.Duration` | Time to wait. |" in page
    assert "| `inner` | map of string to [Outer.Inner](#outerinner) | By \\| name. |" in page
    assert "| `mode` | [Outer.Mode](#outermode) | The mode. |" in page
    fields = "| field | type | meaning |\n|---|---|---|\n| `pitch` | int32 | A pitch. |"
    assert f"## Outer.Inner\n\nThe inner message.\n\n{fields}" in page
    values = "| value | number | meaning |\n|---|---|---|\n| `MODE_UNSPECIFIED` | 0 | Not said. |"
    assert f"## Outer.Mode\n\nHow.\n\n{values}" in page
    assert "### Play\n\nstream [Outer](#outer) → stream [Outer](#outer)\n\nPlays a | b." in page
    assert "`/later.v1.Player/Play`" in page
    assert "## Empty\n" in page


def test_errors_become_a_table_between_the_rest_of_the_comment(tmp_path: Path) -> None:
    row = "| `NOT_FOUND` (5), `UNAVAILABLE` (14) | Not there, or not yet. | None. | Wait; see [Outer.wait](#outer). |"
    header = "| status | when | details | what to do |\n|---|---|---|---|"
    assert f"Plays.\n\nErrors:\n\n{header}\n{row}\n\nAfter the list.\n" in later(tmp_path)


def test_an_error_without_advice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"the comment on NOT_FOUND, UNAVAILABLE must have the form"):
        later(tmp_path, LATER.replace("Do: ", ""))


def test_a_contract_that_protoc_cannot_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="protoc cannot read"):
        later(tmp_path, "message {")
