"""Finds every command that the project prints: in pages, model cards, help texts and program output."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from training.__main__ import main

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted(
    [
        *(ROOT / folder / "README.md" for folder in (".", "clients/python", "examples")),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("models/*/README.md"),
    ]
)
SOURCES: Final = ("music", "server", "training", "bench", "tools", "clients/python/src")
TRAINING_COMMANDS: Final = frozenset(main.commands)
"""Names that mean `python -m training NAME` in help texts and pages."""

_PROGRAMS = r"make|fantasia|python|npm|node|pip|podman|docker|kubectl|helm|torchrun|tensorboard|qemu-x86_64"
_COMMAND = re.compile(rf"(?:\$ )?((?:\.venv/bin/)?(?:(?:{_PROGRAMS}) .+|(?:deploy|examples)/\S+\.sh(?: .+)?))")
_SHORT = re.compile(rf"(?:{'|'.join(sorted(TRAINING_COMMANDS))}) \S.*")
_HINT = re.compile(r"(?:^|: +)((?:\.venv/bin/)?(?:make|fantasia|python -m|pip install|torchrun) .*)$", re.MULTILINE)
_EXAMPLE = re.compile(rf"^ *((?:{'|'.join(sorted(TRAINING_COMMANDS))}) \S+ --.*?)(?:  .*)?$", re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELL = ("sh", "console", "")


@dataclass(frozen=True, slots=True)
class Command:
    """A command in a text."""

    where: str
    """File and line."""
    text: str
    inline: bool
    """Whether it is in a sentence, which may name only a part of it: `python -m training evaluate`."""

    @property
    def words(self) -> list[str]:
        """Its words as a shell splits them, without comments and redirections."""
        words = shlex.split(self.text, comments=True)
        return words[: words.index(">")] if ">" in words else words


@cache
def commands_in_pages() -> list[Command]:
    """The commands of all pages."""
    return [command for page in PAGES for command in commands_in_page(page.read_text(), str(page.relative_to(ROOT)))]


def commands_in_page(text: str, name: str) -> Iterator[Command]:
    """The commands in the shell blocks and in the sentences of a page."""
    for block in _FENCE.finditer(text):
        if block[1] not in _SHELL:
            continue
        first = _line(text, block.start(2))
        lines = block[2].replace("\\\n", "\\ ").splitlines()
        for number, line in enumerate(lines, first):
            command = line.replace("\\ ", " ").strip().removeprefix("$ ")
            # A block without a language may be a drawing.
            if command and (block[1] or _COMMAND.fullmatch(command)):
                yield Command(f"{name}:{number}", command, inline=False)
    blank = _FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    for span in _INLINE.finditer(blank):
        if (command := _inline(span[1])) is not None:
            yield Command(f"{name}:{_line(blank, span.start())}", command, inline=True)


@cache
def commands_in_sources() -> list[Command]:
    """The commands in docstrings, help texts, hints and errors of this project."""
    return [
        command
        for folder in SOURCES
        for path in sorted((ROOT / folder).rglob("*.py"))
        for command in commands_in_source(path.read_text(), str(path.relative_to(ROOT)))
    ]


def commands_in_source(source: str, name: str) -> Iterator[Command]:
    """The commands in the strings of one Python file. Values of f-strings are replaced by `1`."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        else:
            continue
        where = f"{name}:{node.lineno}"
        for span in _INLINE.finditer(text):
            if (command := _inline(span[1])) is not None:
                yield Command(where, command, inline=True)
        for example in _EXAMPLE.finditer(text):
            yield Command(where, f"python -m training {example[1]}", inline=False)
        yield from commands_in_output(text, where)


def commands_in_output(text: str, where: str) -> Iterator[Command]:
    """The commands that fill a line, or end a line after a colon: `next: make serve`."""
    for hint in _HINT.finditer(text):
        # These are not commands: a program's name before its error, and a sentence about a program.
        if not re.match(r"\S+(?: -m \S+)?:? (?:error:|lists\b)|python -m \S+: error:", hint[1]):
            text = hint[1].strip()
            yield Command(where, text.rstrip(". "), inline=text.endswith("...") or len(text.split()) <= 3)


def options_in_pages() -> Iterator[tuple[str, str]]:
    """Every option that a sentence of a page names, with its location."""
    for page in PAGES:
        text = _FENCE.sub(lambda block: "\n" * block[0].count("\n"), page.read_text())
        for span in re.finditer(r"`(--[a-z][a-z0-9-]*)[^`]*`", text):
            yield f"{page.relative_to(ROOT)}:{_line(text, span.start())}", span[1]


def variables_in_pages() -> Iterator[tuple[str, str]]:
    """Every `FANTASIA_` variable that a page names, with its location."""
    for page in PAGES:
        text = page.read_text()
        for name in re.finditer(r"\bFANTASIA_[A-Z_]+\b", text):
            yield f"{page.relative_to(ROOT)}:{_line(text, name.start())}", name[0]


def _inline(span: str) -> str | None:
    text = " ".join(span.split())
    if command := _COMMAND.fullmatch(text):
        return command[1]
    return f"python -m training {text}" if _SHORT.fullmatch(text) else None


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
