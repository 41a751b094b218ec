"""The committed stubs are what the contract generates."""

import subprocess
import sys
from pathlib import Path

import pytest

PROTO = Path(__file__).resolve().parents[3] / "proto"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stubs")
    subprocess.run([sys.executable, str(PROTO / "generate.py"), str(out)], check=True, timeout=60)  # noqa: S603
    return out


def stubs(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*_pb2*.py*") if path.suffix != ".pyc"
    }


def test_every_stub_is_committed_as_generated(generated: Path) -> None:
    fresh = stubs(generated)

    assert len(fresh) == 4
    assert stubs(PROTO) == fresh, "the contract changed: run `make proto`"


def test_the_stubs_are_marked_as_typed() -> None:
    assert (PROTO / "fantasia" / "py.typed").exists()
