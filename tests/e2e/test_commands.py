"""Every command that a page, a model card, a help text or a hint prints is run, or at least understood."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from fantasia_client import Client
from fantasia_client.cli import main as fantasia_main
from music.midi import write_midi
from server.settings import Settings
from tests.e2e.checks import IN_PART, ONLY_UNDERSTOOD, check, fantasia, plain
from tests.e2e.documented import (
    PAGES,
    ROOT,
    Command,
    in_hints,
    in_page,
    in_pages,
    in_source,
    in_sources,
    options_in_pages,
    variables_in_pages,
)
from tests.integration.serving import serving
from training.__main__ import main as training_main
from training.corpus import Corpus
from training.judge.__main__ import main as judge_main
from training.run import export_run

OTHERS_OPTIONS: Final = {"--": "ends torchrun's own options"}


def distinct(commands: Sequence[Command]) -> list[Any]:
    """Each text once, where it first stands."""
    first: dict[tuple[str, bool], Command] = {}
    for command in commands:
        first.setdefault((command.text.partition(" #")[0].strip(), command.inline), command)
    return [pytest.param(command, id=f"{command.where} {text}") for (text, _), command in first.items()]


@pytest.fixture(scope="module")
def server(small_corpus: Path, small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder as a reader of the pages has it, and the address of a server of its models and the shipped ones."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("data", "runs", "models", "served", "1", "docs/images", "my_midi", "folder_of_midi"):
        (folder / name).mkdir(parents=True)
    for name in ("mine", "chorales", "folk"):
        shutil.copy(small_corpus, folder / "data" / f"{name}.npz")
    shutil.copytree(small_run, folder / "runs" / "mine")
    (folder / "mine.toml").write_text("")
    export_run(folder / "runs" / "mine", folder / "models" / "mine", name="mine", corpus_path=small_corpus)
    for number, piece in enumerate(Corpus.load(small_corpus).pieces()):
        for scores in ("my_midi", "folder_of_midi"):
            (folder / scores / f"{number}.mid").write_bytes(write_midi(piece.score))
    for name in ("chorales", "folk"):
        (folder / "models" / name).symlink_to(ROOT / "models" / name)
        (folder / "served" / name).symlink_to(ROOT / "models" / name)
    shutil.copytree(folder / "models" / "mine", folder / "served" / "mine")
    with serving("--models", str(folder / "served")) as (address, _):
        yield folder, address


@pytest.fixture(autouse=True)
def address(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the server is; the test runs in the reader's folder, and no variable of ours is set."""
    folder, address = server
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("FANTASIA_")]:
        monkeypatch.delenv(name)
    return address


@pytest.mark.parametrize("command", distinct(in_pages()))
def test_a_command_of_a_page_works(command: Command, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(command, address, monkeypatch, run=True)


@pytest.mark.parametrize("command", distinct(in_sources()))
def test_a_command_of_a_help_text_or_a_hint_is_understood(
    command: Command, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(command, address, monkeypatch, run=False)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("model", ["chorales", "folk"])
def test_a_model_cards_command_writes_its_sample(model: str, number: int, address: str) -> None:
    card = ROOT / "models" / model / "README.md"
    commands = [command for command in in_page(card.read_text(), model) if command.words[0].endswith("fantasia")]
    assert len(commands) == 3
    result = fantasia(commands[number - 1].words[1:], address)
    assert result.exit_code == 0, result.output
    with Client(address) as client:
        precision = client.get_model(model).precision
    if f"runs in {precision}." not in " ".join(card.read_text().split()):
        pytest.skip(f"the card's samples were written in another precision than {precision}")
    sample = ROOT / "models" / model / "samples" / f"{number}.mid"
    assert Path(f"{number}.mid").read_bytes() == sample.read_bytes()


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "clients/python/README.md"], ids=["README", "client"])
def test_the_python_of_a_page_works(page: Path, address: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        code = block.replace("localhost:50051", address).replace("Client()", f'Client("{address}")')
        exec(compile(code, str(page), "exec"), {"__name__": "__main__"})  # noqa: S102 -- our own page
    assert Path("a.mid").read_bytes().startswith(b"MThd")


@pytest.mark.parametrize(
    "words",
    [
        ["export", "runs/mine", "--out", "models/mine"],
        ["prepare", "my_midi", "--out", "data/other.npz"],
    ],
    ids=lambda words: words[0],
)
def test_the_hints_of_a_command_that_ran_work(words: list[str], address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(training_main, words)
    assert result.exit_code == 0, result.output
    hints = list(in_hints(result.output, f"the output of {words[0]}"))
    assert hints or words[0] == "prepare"
    for hint in hints:
        check(hint, address, monkeypatch, run=True)


def test_the_demo_ends_with_files_and_with_commands_that_work(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, str(ROOT / "tools" / "demo.py")], capture_output=True, text=True, timeout=100, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    for path, start in (("out/demo.mid", b"MThd"), ("out/demo.png", b"\x89PNG"), ("out/server.log", b"")):
        assert path in ended.stdout
        assert Path(path).read_bytes().startswith(start)
    assert "fantasia_" not in ended.stdout
    hints = list(in_hints(ended.stdout, "the demo"))
    assert len(hints) == 5
    for hint in hints:
        check(hint, address, monkeypatch, run=True)


def test_every_option_that_a_page_names_exists() -> None:
    known = set(OTHERS_OPTIONS)
    for group in (fantasia_main, training_main, judge_main):
        for command in (group, *group.commands.values()):
            for parameter in command.params:
                known.update([*parameter.opts, *parameter.secondary_opts])
    known.update(f"--{name.replace('_', '-')}" for name in Settings.model_fields)
    assert [(where, option) for where, option in options_in_pages() if option not in known] == []


def test_every_variable_that_a_page_names_exists() -> None:
    known = {f"FANTASIA_{name.upper()}" for name in Settings.model_fields} | {"FANTASIA_SERVER"}
    links = re.compile(r"FANTASIA_(METRICS_)?(SERVICE_HOST|SERVICE_PORT)\w*")  # set by Kubernetes
    found = list(variables_in_pages())
    assert [(where, name) for where, name in found if name not in known and not links.fullmatch(name)] == []
    assert {name for _, name in found} >= {"FANTASIA_SERVER", "FANTASIA_PORT"}


def test_every_exception_is_needed() -> None:
    texts = [plain(command.words) for command in [*in_pages(), *in_sources()]]
    assert [pattern for pattern in ONLY_UNDERSTOOD if not any(re.match(pattern, text) for text in texts)] == []
    assert [text for text in IN_PART if text not in texts] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("make demmo", "No rule to make target"),
        ("make train MIDDI=x", "MIDDI is no variable"),
        (".venv/bin/fantasia generate --model chorales --bars 1", "-o FILE"),
        (".venv/bin/fantasia generate --model nemo --bars 1 -o a.mid", "no model is called"),
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
        ("torchrun --nproc-per-nodes 2 -m -- training train smoke --corpus data/mine.npz --run runs/x", "torchrun"),
        ("brew install fantasia", "no rule for brew"),
    ],
)
def test_a_command_that_does_not_work_is_found(
    text: str, words: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(pytest.fail.Exception, match=re.escape(words)):
        check(Command("here", text, inline=False), address, monkeypatch, run=True)


def test_a_renamed_command_is_found_in_every_kind_of_text() -> None:
    page = "Run `make demmo`, or `python -m training\nprepair x`.\n\n"
    page += "```sh\n$ fantasia compose \\\n    --bars 8  # eight\n```\n"
    assert [(command.where, command.words) for command in in_page(page, "page")] == [
        ("page:5", ["fantasia", "compose", "--bars", "8"]),
        ("page:1", ["make", "demmo"]),
        ("page:1", ["python", "-m", "training", "prepair", "x"]),
    ]
    source = 'def f(name):\n    """Do it: `make demmo`."""\n    print(f"next: fantasia compose --model {name}")\n'
    assert [(command.where, command.words) for command in in_source(source, "source")] == [
        ("source:2", ["make", "demmo"]),
        ("source:3", ["fantasia", "compose", "--model", "1"]),
    ]
    assert len(PAGES) >= 12
