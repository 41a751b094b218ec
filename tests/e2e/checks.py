"""How a command that is printed somewhere is checked: run it, or see that its own parser understands it."""

import importlib.util
import os
import re
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from typing import Any, Final

import click
import pytest
import torch.distributed.run
from click.testing import CliRunner, Result
from packaging.requirements import Requirement

import bench.churn.__main__
import bench.churn.elsewhere
import bench.options
import bench.training
from fantasia_client.cli import main as fantasia_main
from server.settings import Settings, parse_settings
from tests.e2e.documented import ROOT, Command
from training.__main__ import main as training_main
from training.commands.overrides import parsed
from training.config import load_config
from training.judge.__main__ import main as judge_main

ONLY_UNDERSTOOD: Final = {
    r"make\b": "installs, trains or measures; `make --dry-run` shows target and steps, and the steps are parsed",
    r"python -m server\b": "serves until it is stopped; the server of these tests is started with the same flags",
    r"python -m training train\b": "trains for minutes or hours",
    r"python -m training prepare (chorales|folk)\b": "reads music21's corpus for a minute",
    r"python -m training evaluate .*--(samples|gate)\b": "writes and judges 1,000 pieces",
    r"python -m training reproduce\b": "trains for hours, on files that are not in this repository",
    r"python -m bench(\.churn|\.churn\.elsewhere|\.training)?( |$)": "measures for a quarter of an hour",
    r"python -m bench\.peers\.": "needs servers that `make bench` starts with their arguments",
    r"torchrun\b": "trains, in several processes",
    r"tensorboard\b": "serves until it is stopped, and is not ours",
    r"qemu-x86_64\b": "needs an emulator",
    r"pip\b": "would change the environment that the tests run in",
    r"podman\b": "needs a container engine: deploy/test_image.sh does the same",
    r"kubectl\b": "needs a cluster",
    r"deploy/test_image\.sh$": "needs root and a container engine",
}
"""Commands that are not run, and why. All that match none of these really run."""
IN_PART: Final = {
    "fantasia --server HOST:PORT": "an option that stands before a command",
    "python -m training evaluate --precision int8": "one option of the command",
    "python -m training evaluate --record": "one option of the command",
    "python -m bench --render": "one option of the command, named as what wrote a page",
    "python -m training prepare chorales": "the corpus that the sentence is about",
    "python -m training prepare folk": "the corpus that the sentence is about",
}
"""Texts that name a command with some of its arguments: no one is asked to type them."""
PLACEHOLDERS: Final = {"NAME": "mine", "FILE": "answers.json", "HOST:PORT": "localhost:50051"}

PARSERS: Final[dict[str, Callable[[list[str]], object]]] = {
    "server": parse_settings,
    "bench": bench.options.parse_options,
    "bench.churn": bench.churn.__main__.parse_options,
    "bench.churn.elsewhere": bench.churn.elsewhere.parse_options,
    "bench.training": bench.training.parse_options,
}
GROUPS: Final[dict[str, click.Group]] = {"training": training_main, "training.judge": judge_main}


def plain(words: Sequence[str]) -> str:
    """The command without the folder of the environment's programs."""
    return " ".join([words[0].removeprefix(".venv/bin/"), *words[1:]])


def check(command: Command, address: str, monkeypatch: pytest.MonkeyPatch, *, run: bool) -> None:
    """Run a command, or parse it if it stands in `ONLY_UNDERSTOOD` or `run` is False; fail if that fails."""
    text = plain(command.words)
    words = [_filled(word) for word in command.words]
    words[0] = words[0].removeprefix(".venv/bin/")
    run = run and not any(re.match(pattern, text) for pattern in ONLY_UNDERSTOOD)
    part = text in IN_PART
    program = words[0]
    if program == "fantasia":
        problem = _fantasia(words[1:], address, part=part, run=run, inline=command.inline, monkeypatch=monkeypatch)
    elif program == "python":
        problem = _python(words, part=part, run=run, inline=command.inline, monkeypatch=monkeypatch)
    elif program in CHECKS:
        problem = CHECKS[program](words[1:], monkeypatch)
    else:
        problem = f"there is no rule for {program}: run it in a test, or say in ONLY_UNDERSTOOD why not"
    if problem:
        pytest.fail(f"{command.where}: `{command.text}`: {problem}")


def _filled(word: str) -> str:
    """The word, or what a reader would put in its place."""
    name, is_assignment, value = word.partition("=")
    return f"{name}={PLACEHOLDERS.get(value, value)}" if is_assignment else PLACEHOLDERS.get(word, word)


def fantasia(words: list[str], address: str) -> Result:
    """The client's command against the server at that address."""
    return CliRunner().invoke(fantasia_main, words, env={"FANTASIA_SERVER": address})


def _fantasia(
    words: list[str], address: str, *, part: bool, run: bool, inline: bool, monkeypatch: pytest.MonkeyPatch
) -> str:
    if inline and all(word in fantasia_main.commands for word in words):
        words = [*words, "--help"]
    if not run or part:
        return _parsed(fantasia_main, words, part=part, monkeypatch=monkeypatch)
    result = fantasia(words, address)
    return "" if result.exit_code == 0 else f"exit code {result.exit_code}: {result.output}"


def _python(words: list[str], *, part: bool, run: bool, inline: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    if words[1] != "-m":
        return f"{words[1]} is no file" if not (ROOT / words[1]).is_file() else ""
    module, arguments = words[2], words[3:]
    if module in PARSERS:
        if inline and not arguments:  # its name
            arguments = ["--help"]
        try:
            PARSERS[module](arguments)
        except SystemExit as error:
            return "" if error.code == 0 or part else f"{arguments} are not understood: {error}"
        except Exception as error:
            return str(error)
        return ""
    if module in GROUPS:
        group = GROUPS[module]
        if inline and all(word in group.commands for word in arguments):
            arguments = [*arguments, "--help"]
        if not run or part:
            return _parsed(group, arguments, part=part, monkeypatch=monkeypatch)
        result = CliRunner().invoke(group, arguments)
        return "" if result.exit_code == 0 else f"exit code {result.exit_code}: {result.output}"
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    return "" if found else f"there is no module {module}"


def _parsed(group: click.Group, words: list[str], *, part: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the real parser says of the words; nothing if it takes them. No command runs."""
    taken: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        for command in group.commands.values():
            patch.setattr(command, "callback", lambda *_, **options: taken.update(options))
        result = CliRunner().invoke(group, words)
    if part and result.exit_code == 2 and re.search(r"Missing |requires an argument", result.output):
        return ""
    if result.exit_code != 0:
        return f"exit code {result.exit_code}: {result.output}"
    if "overrides" in taken and taken.get("config") not in (None, "auto"):
        try:
            load_config(taken["config"], parsed(taken["overrides"]))
        except Exception as error:
            return str(error)
    return ""


def _make(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, is_variable, _ = word.partition("=")
        if is_variable and f"$({name})" not in makefile:
            return f"{name} is no variable of the Makefile"
        if not is_variable and not re.search(rf"^{re.escape(name)}:.*## ", makefile, re.MULTILINE):
            return f"No rule to make target {name!r} that `make help` lists"
    shown = subprocess.run(  # noqa: S603
        ["make", "--dry-run", "--no-print-directory", *words],  # noqa: S607
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    if shown.returncode:
        return shown.stderr
    for line in shown.stdout.replace("\\\n", " ").splitlines():
        if line.startswith(".venv/bin/python -m ") and "pip" not in line.split() and not re.search(r"[$;|&]", line):
            step = ["python", *Command("make", line, inline=False).words[1:]]
            if problem := _python(step, part=False, run=False, inline=False, monkeypatch=monkeypatch):
                return f"`{line}`: {problem}"
    return ""


def _pip(words: list[str], _: pytest.MonkeyPatch) -> str:
    server, client = (
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text()) for folder in (".", "clients/python")
    )
    named = [word for word in words[1:] if not word.startswith("-")]
    for word in named:
        if word.startswith("./"):
            folder, _bracket, extra = word.rstrip("]").partition("[")
            if not (ROOT / folder / "pyproject.toml").is_file():
                return f"{folder} is no distribution"
            if extra and extra not in client["project"]["optional-dependencies"]:
                return f"{folder} has no extra {extra}"
        elif words[0] == "uninstall":
            ours = {Requirement(text).name for text in server["project"]["dependencies"]}
            if word not in ours:
                return f"{word} is no dependency of the server"
        else:
            wanted = Requirement(word)
            if wanted.name == client["project"]["name"]:
                unknown = wanted.extras - set(client["project"]["optional-dependencies"])
                if unknown:
                    return f"{word} has no extra {', '.join(unknown)}"
    return "" if words[0] in ("install", "uninstall") and named else f"pip {words[0]} is not understood"


def _podman(words: list[str], _: pytest.MonkeyPatch) -> str:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = [word for word in words if word.startswith("fantasia:")]
    if images != [f"fantasia:{version}"]:
        return f"{images} is not the version {version}"
    if words[0] == "build":
        return "" if words[-1] == "." and (ROOT / "Dockerfile").is_file() else "nothing to build"
    ports = [words[number + 1] for number, word in enumerate(words) if word == "-p"]
    expected = [f"{port}:{port}" for port in (50051, 9464)]
    fields = Settings.model_fields
    assert [fields["port"].default, fields["metrics_port"].default] == [50051, 9464]
    return "" if words[0] == "run" and ports == expected else f"{ports} are not the server's ports"


def _kubectl(words: list[str], _: pytest.MonkeyPatch) -> str:
    if words[:2] != ["apply", "-k"] or len(words) != 3:
        return "is not understood"
    return "" if (ROOT / words[2] / "kustomization.yaml").is_file() else f"{words[2]} is no kustomization"


def _torchrun(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    try:
        options = torch.distributed.run.get_args_parser().parse_args(words)
    except SystemExit:
        return f"torchrun does not take {words}"
    inner = [word for word in [options.training_script, *options.training_script_args] if word != "--"]
    if not options.module or inner[0] not in GROUPS:
        return f"{inner[0]} is no module of ours"
    return _parsed(GROUPS[inner[0]], inner[1:], part=len(inner) <= 2, monkeypatch=monkeypatch)


def _tensorboard(words: list[str], _: pytest.MonkeyPatch) -> str:
    return "" if words == ["--logdir", "runs"] and importlib.util.find_spec("tensorboard") else "is not understood"


def _emulated(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    return _python(words[words.index("python") :], part=False, run=False, inline=False, monkeypatch=monkeypatch)


def _script(words: list[str], _: pytest.MonkeyPatch) -> str:
    script = ROOT / "deploy" / "test_image.sh"
    return "" if not words and os.access(script, os.X_OK) else f"{script} cannot be run"


CHECKS: Final[dict[str, Callable[[list[str], pytest.MonkeyPatch], str]]] = {
    "make": _make,
    "pip": _pip,
    "podman": _podman,
    "kubectl": _kubectl,
    "torchrun": _torchrun,
    "tensorboard": _tensorboard,
    "qemu-x86_64": _emulated,
    "deploy/test_image.sh": _script,
}
"""For what is never run: what there is to know of it. Each gives the problem, or nothing."""
