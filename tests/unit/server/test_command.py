import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import server.app
from server.app import LoadModels
from server.command import main
from server.errors import StartupError
from server.settings import Settings
from server.watchdog import Watchdog


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the log, the environment and the switch interval of the test process."""
    interval = sys.getswitchinterval()
    monkeypatch.setattr("server.command.log_to_stderr", lambda level, log_format: None)
    monkeypatch.setattr("server.command.share_malloc_arena", lambda: None)
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    yield
    sys.setswitchinterval(interval)


def test_threads_switch_after_half_a_millisecond(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[float] = []

    async def serve(settings: Settings, load: LoadModels, watchdog: Watchdog) -> None:
        assert settings.models == tmp_path
        seen.append(sys.getswitchinterval())

    monkeypatch.setattr(server.app, "serve", serve)
    assert main(["--models", str(tmp_path)]) == 0
    assert seen == [pytest.approx(0.0005)]


def test_a_second_signal_ends_with_code_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def serve(settings: Settings, load: LoadModels, watchdog: Watchdog) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(server.app, "serve", serve)
    assert main(["--models", str(tmp_path)]) == 130


def test_with_a_json_log_the_error_is_a_record(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def serve(settings: Settings, load: LoadModels, watchdog: Watchdog) -> None:
        raise StartupError("there is no bundle")

    monkeypatch.setattr(server.app, "serve", serve)
    assert main(["--models", str(tmp_path), "--log-format", "json"]) == 1
    assert capfd.readouterr().err == ""
    assert [(record.levelname, record.message) for record in caplog.records] == [("CRITICAL", "there is no bundle")]


@pytest.mark.parametrize("quoted", ["a\nb", "a\x1b[31mb", "a\u2028b"])
def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], quoted: str
) -> None:
    async def serve(settings: Settings, load: LoadModels, watchdog: Watchdog) -> None:
        raise StartupError(f"{quoted} is no bundle")

    monkeypatch.setattr(server.app, "serve", serve)
    assert main(["--models", str(tmp_path)]) == 1
    monkeypatch.setenv(f"FANTASIA_{quoted}", "1")
    assert main(["--models", str(tmp_path)]) == 2
    ended, wrong = capfd.readouterr().err.splitlines()
    shown = quoted.encode("unicode_escape").decode()
    assert ended == f"python -m server: error: {shown} is no bundle"
    assert wrong.startswith(f"python -m server: error: the variable FANTASIA_{shown} is not a setting of this server: ")
