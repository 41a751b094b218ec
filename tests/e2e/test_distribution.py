"""The wheels of the stubs and the client, built and installed without the checkout, and the version of everything."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from email import message_from_string
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fantasia
import fantasia_client
from tests.integration.serving import serving

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECTS: Final = {"fantasia_proto": ROOT / "proto", "fantasia_client": ROOT / "clients" / "python"}
ENVIRONMENT: Final = {
    name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("FANTASIA_")
}
PROGRAM: Final = """
import sys
import fantasia, fantasia_client
from fantasia_client import Client

assert all(module.__file__.startswith(sys.prefix) for module in (fantasia, fantasia_client))
with Client(sys.argv[1]) as client:
    sys.stdout.buffer.write(client.generate(model="chorales", bars=1, seed=7).midi)
"""


def run(*command: str | Path) -> "subprocess.CompletedProcess[bytes]":
    """Run a program outside the checkout, without its variables."""
    ended = subprocess.run(command, capture_output=True, env=ENVIRONMENT, cwd="/", timeout=100, check=False)  # noqa: S603
    assert ended.returncode == 0, ended.stderr.decode()
    return ended


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels by name, each built from its source archive in a separate folder."""
    built = {}
    for name, project in PROJECTS.items():
        out = tmp_path_factory.mktemp(name)
        # Without a target, `build` makes the source archive and then the wheel from the unpacked archive.
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, project)
        (built[name],) = out.glob("*.whl")
        assert len(list(out.glob("*.tar.gz"))) == 1
    return built


def wheel_files(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def wheel_metadata(wheel: Path) -> Message:
    """METADATA of the wheel."""
    (path,) = (name for name in wheel_files(wheel) if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        return message_from_string(archive.read(path).decode())


def active_requirements(texts: Iterable[str] | None) -> list[Requirement]:
    """The requirements of this platform, without extras."""
    parsed = map(Requirement, texts or ())
    return [
        requirement for requirement in parsed if not requirement.marker or requirement.marker.evaluate({"extra": ""})
    ]


@pytest.fixture(scope="module")
def environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment with both wheels and their dependencies only."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", *wheels.values())
    (packages,) = folder.glob("lib/python*/site-packages")
    pending = [
        requirement
        for wheel in wheels.values()
        for requirement in active_requirements(wheel_metadata(wheel).get_all("Requires-Dist"))
    ]
    linked = {canonicalize_name(name) for name in PROJECTS}
    while pending:
        name = canonicalize_name(pending.pop().name)
        if name in linked:
            continue
        linked.add(name)
        distribution = metadata.distribution(name)
        pending += active_requirements(distribution.requires)
        for file in distribution.files or ():
            if ".." not in file.parts:  # not a program in bin/
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                (packages / file).symlink_to(file.locate())
    return folder / "bin"


def test_the_root_builds_no_wheel(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module in ROOT.glob("*/__init__.py"):
        (tmp_path / module.parent.name).mkdir()
        shutil.copy(module, tmp_path / module.parent.name)
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check", tmp_path],
        capture_output=True, env=ENVIRONMENT, cwd="/", timeout=60, check=False,
    )  # fmt: skip

    assert not {"build-system", "project"} & tomllib.loads((ROOT / "pyproject.toml").read_text()).keys()
    assert ended.returncode != 0
    assert b"Multiple top-level packages" in ended.stderr
    assert list(tmp_path.rglob("*.whl")) == []


def test_no_two_wheels_own_the_same_file(wheels: dict[str, Path]) -> None:
    owned = {name: {path.split("/")[0] for path in wheel_files(wheel)} for name, wheel in wheels.items()}
    version = fantasia.__version__

    assert owned == {
        "fantasia_proto": {"fantasia", f"fantasia_proto-{version}.dist-info"},
        "fantasia_client": {"fantasia_client", "fantasia_command.py", f"fantasia_client-{version}.dist-info"},
    }


@pytest.mark.parametrize(("name", "package"), [("fantasia_proto", "fantasia"), ("fantasia_client", "fantasia_client")])
def test_a_wheel_contains_types_and_the_licence(wheels: dict[str, Path], name: str, package: str) -> None:
    assert f"{package}/py.typed" in wheel_files(wheels[name])
    (licence,) = (path for path in wheel_files(wheels[name]) if path.endswith("/LICENSE"))
    with zipfile.ZipFile(wheels[name]) as archive:
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()


def test_the_client_contains_its_soundfont(wheels: dict[str, Path]) -> None:
    # The wheel is built from the source archive, so both have the file.
    path = "fantasia_client/soundfont/fantasia.sf2"
    with zipfile.ZipFile(wheels["fantasia_client"]) as archive:
        assert archive.read(path) == (PROJECTS["fantasia_client"] / "src" / path).read_bytes()
        assert archive.getinfo(path).compress_size < 2_000_000
        assert b"CC0 1.0" in archive.read("fantasia_client/soundfont/NOTICE.txt")


def test_the_installed_client_calls_a_server(environment: Path) -> None:
    with serving("--models", str(ROOT / "models")) as (address, _):
        midi = run(environment / "python", "-c", PROGRAM, address).stdout

    assert midi.startswith(b"MThd")


def test_the_installed_command_answers(environment: Path) -> None:
    assert run(environment / "fantasia", "--version").stdout.decode().split()[-1] == fantasia.__version__
    assert b"generate" in run(environment / "fantasia", "--help").stdout


def test_all_versions_are_equal(wheels: dict[str, Path]) -> None:
    version = fantasia.__version__
    dockerfile = (ROOT / "Dockerfile").read_text()
    server = subprocess.check_output([sys.executable, "-m", "server", "--version"], cwd=ROOT, text=True)

    assert server.split()[-1] == version
    assert fantasia_client.__version__ == version
    assert {wheel_metadata(wheel)["Version"] for wheel in wheels.values()} == {version}
    assert f"fantasia-proto=={version}" in wheel_metadata(wheels["fantasia_client"]).get_all("Requires-Dist", [])
    assert set(re.findall(r"^ARG VERSION=(.*)$", dockerfile, re.MULTILINE)) == {version}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
