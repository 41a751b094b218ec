"""Prometheus and its `promtool`, from the machine or from Debian's package."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest

_STORE: Final = Path(os.environ.get("PROMETHEUS_STORE", "/var/tmp/fantasia-prometheus"))  # noqa: S108
"""Keeps the unpacked package between runs."""
_SECONDS: Final = 90


def prometheus_tool(name: str) -> Path:
    """The program `prometheus` or `promtool`. The test is skipped with a reason where it is not to be had."""
    if found := shutil.which(name):
        return Path(found)
    unpacked = _STORE / "usr" / "bin" / name
    if not unpacked.exists() and (reason := _unpack()):
        pytest.skip(f"needs {name}: {reason}")
    return unpacked


@cache
def _unpack() -> str:
    """Download Debian's package and unpack it, without installing its service. Return why that is not possible."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return "install Prometheus, since this system is not Debian"
    folder = _STORE.with_name(f"{_STORE.name}-{os.getpid()}")
    folder.mkdir(parents=True)
    try:
        _run(["apt-get", "download", "prometheus"], folder)
        if not list(folder.glob("*.deb")):  # the list of packages is missing or old
            _run(["apt-get", "update", "-qq"], folder)
            _run(["apt-get", "download", "prometheus"], folder)
        packages = list(folder.glob("prometheus_*.deb"))
        if not packages:
            return "install Prometheus, since apt cannot download it"
        _run(["dpkg-deb", "-x", packages[0].name, "unpacked"], folder)
        if not _STORE.exists():
            (folder / "unpacked").rename(_STORE)
        return ""
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"install Prometheus, since its package is not to be had ({error})"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603
