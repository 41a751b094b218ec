"""Checks a command that the project prints: runs it, or parses it with its own parser."""

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

from bench.__main__ import main as bench_main
from bench.soak.__main__ import main as soak_main
from bench.soak.cross_machine import main as cross_machine_main
from fantasia import __version__
from fantasia_client.cli import main as fantasia_main
from research.__main__ import main as research_main
from server.settings import Settings, parse_settings
from server.tokens import main as tokens_main
from tests.e2e.printed_commands import ROOT, Command
from training.__main__ import main as training_main
from training.commands.options import parse_overrides
from training.config import load_config

PARSE_ONLY: Final = {
    r"make\b": "installs, trains or measures; `make --dry-run` shows target and steps, and the steps are parsed",
    r"python -m server\b": "runs until it is stopped; these tests start a server with the same options",
    r"python -m training train\b": "trains for minutes or hours",
    r"python -m training prepare (chorales|folk)\b": "reads music21's corpus for a minute",
    r"python -m training prepare piano\b": "reads repositories that are not in this one",
    r"python -m training evaluate .*--(samples|gate)\b": "generates and evaluates 1,000 pieces",
    r"python -m research reproduction\b": "trains for hours on files that are not in this repository",
    r"python -m bench(\.soak|\.soak\.cross_machine)?( |$)": "measures for a quarter of an hour",
    r"python -m bench\.peers\.": "needs servers that `make bench` starts with their arguments",
    r"torchrun\b": "trains, in several processes",
    r"tensorboard\b": "runs until it is stopped, and belongs to another project",
    r"qemu-x86_64\b": "needs an emulator",
    r"pip\b": "would change the environment of the tests",
    r"podman\b": "needs a container engine: make image-test does the same",
    r"python -m server\.tokens hash\b": "reads standard input",
    r"fantasia .*--ca\b": "needs a server with TLS; tests/integration/test_service_tls.py runs the same options",
    r"head\b": "writes random bytes",
    r"kubectl\b": "needs a cluster",
    r"helm\b": "needs a cluster; tests/e2e/test_chart.py renders the chart",
    r"npm\b": "downloads packages; tests/e2e/test_examples.py runs it",
    r"node\b": "needs those packages; tests/e2e/test_examples.py runs it",
    r"examples/.*\.sh\b": "trains a model; tests/e2e/test_examples.py runs it",
}
"""Patterns of commands that are not run, and the reason. All other commands run."""
PARTIAL: Final = {
    "python -m training evaluate --precision int8": "one option of the command",
    "python -m training evaluate --record": "one option of the command",
    "python -m training prepare folk": "the corpus that the sentence is about",
    "python -m training prepare piano": "the corpus that the sentence is about",
}
"""Texts that name a command with only some of its arguments."""
PLACEHOLDERS: Final = {"NAME": "mine", "FILE": "answers.json", "HOST:PORT": "localhost:50051"}


def _parse_only(command: click.Command) -> Callable[[list[str]], object]:
    """A parser for the arguments of a command. It does not run the command."""

    def parse(arguments: list[str]) -> None:
        try:
            command.make_context(command.name, arguments)
        except click.exceptions.Exit:  # it has printed its help
            return
        except click.UsageError as error:
            raise SystemExit(error.format_message()) from error

    return parse


PARSERS: Final[dict[str, Callable[[list[str]], object]]] = {
    "server": parse_settings,
    "bench": _parse_only(bench_main),
    "bench.soak": _parse_only(soak_main),
    "bench.soak.cross_machine": _parse_only(cross_machine_main),
}
GROUPS: Final[dict[str, click.Group]] = {
    "training": training_main,
    "research": research_main,
    "server.tokens": tokens_main,
}


def without_venv(words: Sequence[str]) -> str:
    """The command without `.venv/bin/`."""
    return " ".join([words[0].removeprefix(".venv/bin/"), *words[1:]])


def check(command: Command, address: str, monkeypatch: pytest.MonkeyPatch, *, run: bool) -> None:
    """Run a command, or parse it if it matches `PARSE_ONLY` or `run` is False.

    The test fails if the command or its parser fails.
    """
    text = without_venv(command.words)
    words = [_fill_placeholders(word) for word in command.words]
    words[0] = words[0].removeprefix(".venv/bin/")
    run = run and not any(re.match(pattern, text) for pattern in PARSE_ONLY)
    part = text in PARTIAL
    program = words[0]
    if program == "fantasia":
        problem = _fantasia(words[1:], address, part=part, run=run, inline=command.inline, monkeypatch=monkeypatch)
    elif program == "python":
        problem = _python(words, part=part, run=run, inline=command.inline, monkeypatch=monkeypatch)
    elif program in CHECKS:
        problem = CHECKS[program](words[1:], monkeypatch)
    else:
        problem = f"there is no check for {program}: add one, or add a reason to PARSE_ONLY"
    if problem:
        pytest.fail(f"{command.where}: `{command.text}`: {problem}")


def _fill_placeholders(word: str) -> str:
    """The word, with a placeholder replaced by a value."""
    name, is_assignment, value = word.partition("=")
    return f"{name}={PLACEHOLDERS.get(value, value)}" if is_assignment else PLACEHOLDERS.get(word, word)


def fantasia(words: list[str], address: str) -> Result:
    """Run the `fantasia` command with the server at that address."""
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
        return f"{words[1]} does not exist" if not (ROOT / words[1]).is_file() else ""
    module, arguments = words[2], words[3:]
    if module in PARSERS:
        if inline and not arguments:  # its name
            arguments = ["--help"]
        try:
            PARSERS[module](arguments)
        except SystemExit as error:
            return "" if error.code == 0 or part else f"cannot parse {arguments}: {error}"
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
    """The error of the real parser, or an empty string. No command runs."""
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
            load_config(taken["config"], parse_overrides(taken["overrides"]))
        except Exception as error:
            return str(error)
    return ""


def _make(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, is_variable, _ = word.partition("=")
        if is_variable and f"$({name})" not in makefile:
            return f"{name} is not a variable of the Makefile"
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
    client = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())
    named = [word for word in words[1:] if not word.startswith("-")]
    for word in named:
        if word.startswith("./"):
            folder, _bracket, extras = word.rstrip("]").partition("[")
            if not (ROOT / folder / "pyproject.toml").is_file():
                return f"{folder} is not a distribution"
            for extra in filter(None, extras.split(",")):
                if extra not in client["project"]["optional-dependencies"]:
                    return f"{folder} has no extra {extra}"
        elif word.startswith("requirements/"):
            if not (ROOT / word).is_file():
                return f"{word} does not exist"
        else:
            wanted = Requirement(word)
            if wanted.name == client["project"]["name"]:
                unknown = wanted.extras - set(client["project"]["optional-dependencies"])
                if unknown:
                    return f"{word} has no extra {', '.join(unknown)}"
    return "" if words[0] == "install" and named else f"cannot check pip {words[0]}"


def _podman(words: list[str], _: pytest.MonkeyPatch) -> str:
    images = [word.removesuffix("-gpu") for word in words if word.startswith("fantasia:")]
    if images != [f"fantasia:{__version__}"]:
        return f"{images} does not have the version {__version__}"
    if words[0] == "build":
        return "" if words[-1] == "." and (ROOT / "Dockerfile").is_file() else "the last argument must be ."
    ports = [words[number + 1] for number, word in enumerate(words) if word == "-p"]
    expected = [f"{port}:{port}" for port in (50051, 9464)]
    fields = Settings.model_fields
    assert [fields["port"].default, fields["metrics_port"].default] == [50051, 9464]
    return "" if words[0] == "run" and ports == expected else f"{ports} must be the server's ports"


def _kubectl(words: list[str], _: pytest.MonkeyPatch) -> str:
    words = _without_namespace(words)
    if words[:3] == ["create", "secret", "generic"]:
        manifests = " ".join(path.read_text() for path in (ROOT / "deploy").rglob("*.yaml"))
        name, source = words[3], words[4].removeprefix("--from-file=").partition("=")[0]
        known = f"secretName: {name}\n" in manifests and f"/{source}\n" in manifests
        return "" if known and len(words) == 5 else f"no pod reads the item {source} of the secret {name}"
    if words == ["create", "secret", "tls", "fantasia-tls", "--cert=tls.crt", "--key=tls.key"]:
        return ""
    if words[:2] == ["create", "namespace"] and len(words) == 3:
        return ""
    if words in (
        ["rollout", "status", "deployment/fantasia"],
        ["rollout", "restart", "deployment/fantasia"],
        ["port-forward", "deployment/fantasia", "50051"],
    ):
        return ""
    if words[:2] != ["apply", "-k"] or len(words) != 3:
        return "cannot be parsed"
    return "" if (ROOT / words[2] / "kustomization.yaml").is_file() else f"{words[2]} is not a kustomization"


def _without_namespace(words: list[str]) -> list[str]:
    if "--namespace" not in words:
        return words
    place = words.index("--namespace")
    return words[:place] + words[place + 2 :]


def _helm(words: list[str], _: pytest.MonkeyPatch) -> str:
    words = _without_namespace([word for word in words if word not in ("install", "upgrade", "--install")])
    if words[:2] != ["fantasia", "deploy/chart"] or words[2::2] != ["--values"] * len(words[3::2]):
        return "cannot be parsed"
    missing = [file for file in words[3::2] if not (ROOT / file).is_file()]
    return f"{missing} do not exist" if missing else ""


def _torchrun(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    try:
        options = torch.distributed.run.get_args_parser().parse_args(words)
    except SystemExit:
        return f"torchrun cannot parse {words}"
    inner = [word for word in [options.training_script, *options.training_script_args] if word != "--"]
    if not options.module or inner[0] not in GROUPS:
        return f"{inner[0]} is not a module of this project"
    return _parsed(GROUPS[inner[0]], inner[1:], part=len(inner) <= 2, monkeypatch=monkeypatch)


def _tensorboard(words: list[str], _: pytest.MonkeyPatch) -> str:
    return "" if words == ["--logdir", "runs"] and importlib.util.find_spec("tensorboard") else "cannot be parsed"


def _qemu(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    return _python(words[words.index("python") :], part=False, run=False, inline=False, monkeypatch=monkeypatch)


def _npm(words: list[str], _: pytest.MonkeyPatch) -> str:
    if len(words) != 3 or words[0] != "--prefix" or words[2] != "ci":
        return "cannot be parsed"
    return "" if (ROOT / words[1] / "package-lock.json").is_file() else f"{words[1]} has no package-lock.json"


def _node(words: list[str], _: pytest.MonkeyPatch) -> str:
    return "" if (ROOT / words[0]).is_file() else f"{words[0]} does not exist"


def _script(program: str) -> Callable[[list[str], pytest.MonkeyPatch], str]:
    """The check of a script in the repository."""
    return lambda *_: "" if os.access(ROOT / program, os.X_OK) else f"{program} cannot be run"


def _head(words: list[str], _: pytest.MonkeyPatch) -> str:
    return "" if re.fullmatch(r"-c \d+ /dev/urandom", " ".join(words)) else "it must read bytes of /dev/urandom"


CHECKS: Final[dict[str, Callable[[list[str], pytest.MonkeyPatch], str]]] = {
    "head": _head,
    "make": _make,
    "pip": _pip,
    "podman": _podman,
    "kubectl": _kubectl,
    "helm": _helm,
    "torchrun": _torchrun,
    "tensorboard": _tensorboard,
    "qemu-x86_64": _qemu,
    "npm": _npm,
    "node": _node,
    "examples/train/train.sh": _script("examples/train/train.sh"),
}
"""Checks of programs that these tests never run. Each returns the problem, or an empty string."""
