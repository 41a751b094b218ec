"""What `buf` refuses, and how the baseline of `buf breaking` moves."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final = Path(sys.executable).parent
BASELINE: Final = Path("proto", "baseline.binpb")
CONTRACT: Final = Path("proto", "fantasia", "v1", "generation.proto")
COPIED: Final = ("Makefile", "clients/python/pyproject.toml", "proto", "requirements")
STRING: Final = FieldDescriptorProto.TYPE_STRING


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what `make baseline` needs, in which the present contract is the baseline."""
    for name in COPIED:
        copy = tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    environment = tmp_path / ".venv"
    environment.mkdir()
    (environment / "bin").symlink_to(PROGRAMS)
    for stamp in ("base", "served", "developed"):
        (environment / stamp).touch()
    (tmp_path / BASELINE).unlink()
    assert make_baseline(tmp_path).returncode == 0
    return tmp_path


def command(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603


def make_baseline(folder: Path) -> subprocess.CompletedProcess[str]:
    return command(folder, "make", "--no-print-directory", "baseline")


def breaking(folder: Path) -> subprocess.CompletedProcess[str]:
    """The command of `make lint`."""
    return command(folder, PROGRAMS / "buf", "breaking", "proto", "--against", BASELINE)


def baseline(folder: Path) -> FileDescriptorProto:
    (file,) = FileDescriptorSet.FromString((folder / BASELINE).read_bytes()).file
    return file


def message_with_a_string(folder: Path) -> tuple[DescriptorProto, str]:
    """A message of the baseline, and the declaration of a field of it that is a string of its own."""
    for message in baseline(folder).message_type:
        for field in message.field:
            if (
                field.type == STRING
                and field.label == FieldDescriptorProto.LABEL_OPTIONAL
                and not field.proto3_optional
            ):
                return message, f"string {field.name} = {field.number};"
    raise AssertionError("no message of the contract has a string")


def edit(folder: Path, message: str, old: str, new: str) -> None:
    """Replace the first `old` within or after the message in the contract of the copy."""
    text = (folder / CONTRACT).read_text()
    head, opening, rest = text.partition(f"message {message} {{")
    assert old in rest
    (folder / CONTRACT).write_text(head + opening + rest.replace(old, new, 1))


@pytest.mark.parametrize(
    ("pattern", "replacement", "sentence"),
    [
        (r".*", "", "was deleted"),
        (r"^string", "bytes", 'changed type from "string" to "bytes"'),
        (r"^string", "repeated string", "changed cardinality"),
        (r"^string (\w+)", r"string \1_new", "changed name from"),
        (r"= \d+", "= 1000", "was deleted"),
    ],
)
def test_a_change_that_breaks_clients_is_refused(checkout: Path, pattern: str, replacement: str, sentence: str) -> None:
    message, field = message_with_a_string(checkout)
    edit(checkout, message.name, field, re.sub(pattern, replacement, field, count=1))
    before = (checkout / BASELINE).read_bytes()

    refused = breaking(checkout)
    moved = make_baseline(checkout)

    assert refused.returncode == 100
    assert sentence in refused.stdout
    assert moved.returncode == 2
    assert (checkout / BASELINE).read_bytes() == before


def test_a_removed_rpc_is_refused(checkout: Path) -> None:
    text = (checkout / CONTRACT).read_text()
    method = baseline(checkout).service[0].method[0].name
    changed, count = re.subn(rf"^  rpc {method}\(.*;\n", "", text, flags=re.MULTILINE)
    (checkout / CONTRACT).write_text(changed)

    refused = breaking(checkout)

    assert count == 1
    assert refused.returncode == 100
    assert f'"{method}"' in refused.stdout


def test_an_addition_is_allowed_and_then_guarded(checkout: Path) -> None:
    message, field = message_with_a_string(checkout)
    edit(checkout, message.name, field, f"{field} string added = 1000;")
    assert breaking(checkout).returncode == 0
    assert make_baseline(checkout).returncode == 0

    edit(checkout, message.name, " string added = 1000;", "")
    refused = breaking(checkout)

    assert refused.returncode == 100
    assert '"added"' in refused.stdout


def test_a_name_against_the_style_is_refused(checkout: Path) -> None:
    message, field = message_with_a_string(checkout)
    edit(checkout, message.name, field, f"{field} string addedField = 1000;")

    refused = command(checkout, PROGRAMS / "buf", "lint", "proto")

    assert refused.returncode == 100
    assert "added_field" in refused.stdout


def test_the_baseline_is_of_this_contract() -> None:
    assert baseline(ROOT).package == "fantasia.v1"
    assert baseline(ROOT).name == "fantasia/v1/generation.proto"
