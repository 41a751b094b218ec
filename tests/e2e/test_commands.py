"""Every command that a page, a model card, a help text or a hint prints runs, or can be parsed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from click.testing import CliRunner

from bench.fuzz.__main__ import main as fuzz_main
from fantasia_client import Client
from fantasia_client.cli import main as fantasia_main
from music.midi import write_midi
from research.__main__ import main as research_main
from server.settings import CLIENT_VARIABLES, Settings
from tests.e2e.command_checks import PARSE_ONLY, PARTIAL, check, fantasia, without_venv
from tests.e2e.printed_commands import (
    PAGES,
    ROOT,
    Command,
    commands_in_output,
    commands_in_page,
    commands_in_pages,
    commands_in_source,
    commands_in_sources,
    options_in_pages,
    variables_in_pages,
)
from tests.integration.serving import serving
from training.__main__ import main as training_main
from training.corpus.store import Corpus
from training.export import export_run

SHIPPED: Final = ("chorales", "folk", "piano")
OTHER_OPTIONS: Final = {
    "--": "ends the options of torchrun",
    "--device": "podman",
    "--install": "helm",
    "--namespace": "helm and kubectl",
    "--nnodes": "torchrun",
    "--prefix": "npm",
    "--require-hashes": "pip",
    "--set": "helm",
    "--values": "helm",
}


def distinct(commands: Sequence[Command]) -> list[Any]:
    """Each text once, at its first location."""
    first: dict[tuple[str, bool], Command] = {}
    for command in commands:
        first.setdefault((command.text.partition(" #")[0].strip(), command.inline), command)
    return [pytest.param(command, id=f"{command.where} {text}") for (text, _), command in first.items()]


@pytest.fixture(scope="module")
def server(small_corpus: Path, small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with the files that the pages name, and the address of a server with all models."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("data", "runs", "models", "served", "1", "docs/images", "my_midi", "folder_of_midi"):
        (folder / name).mkdir(parents=True)
    for name in ("mine", *SHIPPED):
        shutil.copy(small_corpus, folder / "data" / f"{name}.npz")
    shutil.copytree(small_run, folder / "runs" / "mine")
    (folder / "mine.toml").write_text("")
    (folder / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    (folder / "token").write_text("secret")
    export_run(folder / "runs" / "mine", folder / "models" / "mine", name="mine", corpus_path=small_corpus)
    for number, piece in enumerate(Corpus.load(small_corpus).pieces()):
        for scores in ("my_midi", "folder_of_midi"):
            (folder / scores / f"{number}.mid").write_bytes(write_midi(piece.score))
    for clone in ("humdrum-chopin-first-editions", "humdrum-polish-scores"):
        (folder / clone).mkdir()
    song = next(iter(Corpus.load(small_corpus).pieces())).score
    (folder / "song.mid").write_bytes(write_midi(song))
    soprano = tuple(note for note in song.notes if note.voice == 0)
    (folder / "melody.mid").write_bytes(write_midi(replace(song, notes=soprano, programs=())))
    for name in SHIPPED:
        (folder / "models" / name).symlink_to(ROOT / "models" / name)
        (folder / "served" / name).symlink_to(ROOT / "models" / name)
    shutil.copytree(folder / "models" / "mine", folder / "served" / "mine")
    with serving("--models", str(folder / "served")) as (address, _):
        yield folder, address


@pytest.fixture(autouse=True)
def address(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's address. The test runs in that folder, without `FANTASIA_` variables."""
    folder, address = server
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("FANTASIA_")]:
        monkeypatch.delenv(name)
    return address


@pytest.mark.parametrize("command", distinct(commands_in_pages()))
def test_a_command_of_a_page_works(command: Command, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(command, address, monkeypatch, run=True)


@pytest.mark.parametrize("command", distinct(commands_in_sources()))
def test_a_command_of_a_help_text_or_a_hint_can_be_parsed(
    command: Command, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(command, address, monkeypatch, run=False)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("model", ["chorales", "folk"])
def test_the_commands_of_a_model_card_write_its_samples(model: str, number: int, address: str) -> None:
    card = ROOT / "models" / model / "README.md"
    commands = [
        command for command in commands_in_page(card.read_text(), model) if command.words[0].endswith("fantasia")
    ]
    assert len(commands) == 3
    result = fantasia(commands[number - 1].words[1:], address)
    assert result.exit_code == 0, result.output
    with Client(address) as client:
        precision = client.get_model(model).precision
    if f"runs in {precision}." not in " ".join(card.read_text().split()):
        pytest.skip(f"the card's samples were written in another precision than {precision}")
    sample = ROOT / "models" / model / "samples" / f"{number}.mid"
    assert Path(f"{number}.mid").read_bytes() == sample.read_bytes()


@pytest.mark.parametrize("name", ["README.md", "clients/python/README.md", "docs/requests.md"])
def test_the_python_code_of_a_page_works(name: str, address: str) -> None:
    page = ROOT / name
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    names: dict[str, Any] = {"__name__": "__main__"}  # of all blocks: a block may use what one above it defines
    for block in blocks:
        code = block.replace("localhost:50051", address).replace("Client()", f'Client("{address}")')
        exec(compile(code, str(page), "exec"), names)  # noqa: S102 -- our own page
    assert Path("a.mid").read_bytes().startswith(b"MThd")


@pytest.mark.parametrize(
    "words",
    [
        ["export", "runs/mine", "--out", "models/mine"],
        ["prepare", "my_midi", "--out", "data/other.npz"],
    ],
    ids=lambda words: words[0],
)
def test_the_hints_in_an_output_work(words: list[str], address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(training_main, words)
    assert result.exit_code == 0, result.output
    hints = list(commands_in_output(result.output, f"the output of {words[0]}"))
    assert hints or words[0] == "prepare"
    for hint in hints:
        check(hint, address, monkeypatch, run=True)


def test_the_demo_writes_files_and_prints_commands_that_work(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, str(ROOT / "tools" / "demo.py")], capture_output=True, text=True, timeout=100, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    for path, start in (("out/demo.mid", b"MThd"), ("out/demo.png", b"\x89PNG"), ("out/server.log", b"")):
        assert path in ended.stdout
        assert Path(path).read_bytes().startswith(start)
    assert "fantasia_" not in ended.stdout
    hints = list(commands_in_output(ended.stdout, "the demo"))
    assert len(hints) == 6
    for hint in hints:
        check(hint, address, monkeypatch, run=True)


def test_every_option_that_a_page_names_exists() -> None:
    known = set(OTHER_OPTIONS)
    for group in (fantasia_main, training_main, research_main, fuzz_main):
        for command in (group, *group.commands.values()):
            for parameter in command.params:
                known.update([*parameter.opts, *parameter.secondary_opts])
    known.update(f"--{name.replace('_', '-')}" for name in Settings.model_fields)
    assert [(where, option) for where, option in options_in_pages() if option not in known] == []


def test_every_variable_that_a_page_names_exists() -> None:
    known = {f"FANTASIA_{name.upper()}" for name in Settings.model_fields} | CLIENT_VARIABLES
    links = re.compile(r"FANTASIA_(METRICS_)?(SERVICE_HOST|SERVICE_PORT)\w*")  # Kubernetes sets them
    found = list(variables_in_pages())
    assert [(where, name) for where, name in found if name not in known and not links.fullmatch(name)] == []
    assert {name for _, name in found} >= {"FANTASIA_SERVER", "FANTASIA_PORT"}


def test_every_exception_is_used() -> None:
    texts = [without_venv(command.words) for command in [*commands_in_pages(), *commands_in_sources()]]
    assert [pattern for pattern in PARSE_ONLY if not any(re.match(pattern, text) for text in texts)] == []
    assert [text for text in PARTIAL if text not in texts] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("make demmo", "No rule to make target"),
        ("make train MIDDI=x", "MIDDI is not a variable"),
        (".venv/bin/fantasia generate --model chorales --bars 1", "-o FILE"),
        (".venv/bin/fantasia generate --model nemo --bars 1 -o a.mid", "model 'nemo' is not loaded"),
        ("fantasia generate --bar 8 -o a.mid", "No such option"),
        ("fantasia compose", "No such command"),
        ("python -m training prepare my_midi", "Missing option '--out'"),
        ("python -m training prepair my_midi/ --out data/mine.npz", "No such command"),
        ("python -m training train chorale --corpus data/mine.npz --run runs/x", "chorale"),
        ("python -m training train smoke --corpus data/mine.npz --run runs/x --set network.hiden=3", "hiden"),
        ("python -m training evaluate models/none --corpus data/mine.npz", "models/none"),
        ("python -m server --modles models", "--modles"),
        ("python -m bench --record", "--record"),
        ("python -m bench.nothing", "no module"),
        ("podman build -t fantasia:0.0.9 .", "0.0.9"),
        ("pip install ./clients/pyton", "clients/pyton"),
        ("pip install './clients/python[plots]'", "plots"),
        ("kubectl apply -k deploy/bases", "deploy/bases"),
        ("kubectl create secret generic fantasia-key --from-file=key=resume.key", "no pod reads"),
        ("helm install fantasia deploy/chart --values deploy/chart/values-none.yaml", "values-none.yaml"),
        ("torchrun --nproc-per-nodes 2 -m -- training train smoke --corpus data/mine.npz --run runs/x", "torchrun"),
        ("brew install fantasia", "no check for brew"),
    ],
)
def test_a_wrong_command_is_found(text: str, words: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.fail.Exception, match=re.escape(words)):
        check(Command("here", text, inline=False), address, monkeypatch, run=True)


def test_commands_are_found_in_pages_and_sources() -> None:
    page = "Run `make demmo`, or `python -m training\nprepair x`.\n\n"
    page += "```sh\n$ fantasia compose \\\n    --bars 8  # eight\n```\n"
    assert [(command.where, command.words) for command in commands_in_page(page, "page")] == [
        ("page:5", ["fantasia", "compose", "--bars", "8"]),
        ("page:1", ["make", "demmo"]),
        ("page:1", ["python", "-m", "training", "prepair", "x"]),
    ]
    source = 'def f(name):\n    """Do it: `make demmo`."""\n    print(f"next: fantasia compose --model {name}")\n'
    assert [(command.where, command.words) for command in commands_in_source(source, "source")] == [
        ("source:2", ["make", "demmo"]),
        ("source:3", ["fantasia", "compose", "--model", "1"]),
    ]
    assert len(PAGES) >= 12
