"""What the files at the root promise."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import fantasia

REPOSITORY = Path(__file__).parents[2]
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

# Built by `make docs`.
NOT_IN_A_CHECKOUT = {"out/site"}


def parsed(path: str) -> Any:
    return yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))


def make_targets(text: str) -> set[str]:
    """The targets of the make commands in a text: code in backticks, and lines of their own."""
    return set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))


def test_every_path_in_contributing_exists() -> None:
    quoted = re.findall(r"`([\w./-]+)`", CONTRIBUTING)
    paths = {text for text in quoted if "/" in text and not text.startswith((".venv", "_"))}
    assert {path for path in paths - NOT_IN_A_CHECKOUT if not (REPOSITORY / path).exists()} == set()
    assert len(paths) > 60


def test_the_map_shows_every_folder() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout  # noqa: S607
    folders = {path.split("/")[0] for path in tracked.splitlines() if "/" in path and not path.startswith(".")}
    mapped = set(re.findall(r"^\| `(\w+)/", CONTRIBUTING, re.MULTILINE))
    assert mapped == folders - {"requirements"}


@pytest.mark.parametrize("path", ["CONTRIBUTING.md", "README.md", ".ci/run"])
def test_every_make_target_that_is_named_exists(path: str) -> None:
    known = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
    named = make_targets((REPOSITORY / path).read_text(encoding="utf-8"))
    assert named
    assert named <= known


def test_hooks_and_workflow_run_what_people_run() -> None:
    hooks = [hook for repository in parsed(".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]]
    assert {hook["id"]: hook["entry"] for hook in hooks} == {"lint": "make lint", "check": "make check"}
    workflow = parsed(".github/workflows/ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in steps if "uses" in step)


def test_the_citation_names_the_version() -> None:
    citation = parsed("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert str(citation["version"]) == fantasia.__version__


def test_lock_files_name_packages_and_no_place_to_get_them_from() -> None:
    for lock in (REPOSITORY / "requirements").glob("*.txt"):
        lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
        assert [line for line in lines if "/" in line or line.startswith("-")] == []
        assert any(re.fullmatch(r"[\w.-]+==\S+( \\)?", line) for line in lines)
    lock_file = REPOSITORY / "examples" / "node" / "package-lock.json"
    packages = json.loads(lock_file.read_text(encoding="utf-8"))["packages"]
    installed = {name: package for name, package in packages.items() if name}
    assert installed
    assert [name for name, package in installed.items() if "resolved" in package] == []
    assert [name for name, package in installed.items() if not package["integrity"].startswith("sha512-")] == []
