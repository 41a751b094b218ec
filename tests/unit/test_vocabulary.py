"""The words of the first draft do not come back: CONTRIBUTING.md, "Names" and "English"."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).parents[2]

# What is forbidden, as a pattern of whole words, and what to write. Identifiers are split before the search, so
# `AdmitUsher`, `admit_usher` and "ushers" all count.
EVERYWHERE: Final = {
    "ushers?|ushered|entrants?|seated": "admission worker, admitted sequence",
    "openers?|opener s": "first-token runner, first step",
    "rotas?": "round robin",
    "dearest": "step-cost ratio",
    "told tokens?|tokens told": "forced tokens",
    "tickets?": "request handle",
    "ledgers?": "in-flight collector",
    "lanes?": "batch, batch size",
    "judges?|judged|judging|judgements?": "evaluation",
    "collapses?|collapsed": "repetition",
    "churn|churned": "determinism soak",
    "crowds?": "load, full batch",
    "stud(?:y|ies)": "ablation",
    "primer queue|primers queue": "prefill queue",
    "in hand": "running, concurrent",
    "take a step together|step together": "batch",
    "whoever|whomever|nobody|somebody|everybody|anybody|those who|who comes?": "name the subject",
}
# Words that are right elsewhere, such as the patience of early stopping.
IN_FOLDERS: Final = {
    "server": {"patience|paces?|paced": "chunk size, maximum chunk seconds", "spoke|mute|muted": "first token"},
    "runtime": {"clocks?": "position, position index", "hearing|told": "scoring, forced tokens"},
    "training": {"clocks?": "position, position index", "families": "groups"},
}

# Matches that are right, by path and word, and why.
ALLOWED: Final = {
    ("README.md", "study"): "name of a page",
    ("docs/comparison.md", "study"): "name of a page",
    ("docs/study.md", "study"): "name of a page",
    ("mkdocs.yml", "study"): "name of a page",
    ("training/config.py", "lanes"): "key of older configurations",
    ("tests/unit/training/loop/test_fingerprint.py", "lanes"): "key of older runs",
    ("tests/unit/training/test_config.py", "lanes"): "key of older configurations",
    ("training/graphs/decode.py", "clock"): "name of an input of the graph",
    ("training/graphs/prefill.py", "clock"): "name of an input of the graph",
    ("training/loop/checkpoint.py", "clock"): "name in older checkpoints",
}

# Files that are not ours to word, are data, or name the old words on purpose.
SKIPPED: Final = re.compile(
    r"^(CHANGELOG\.md|LICENSE|.*/LICENSE|requirements/.*\.txt|models/.*/(?!README\.md).*|tests/data/.*"
    r"|tests/unit/test_vocabulary\.py|.*\.(json|png|svg|mid|npz|onnx|bin|binpb|sf2|csv|tsv|jsonl)|.*_pb2.*)$"
)


def words_of(text: str) -> str:
    """The text in lower case, identifiers split into words, one space between words. Line breaks stay."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.sub(r"[^\S\n]+|[_'’-]", " ", split).lower()


@cache
def files() -> dict[str, str]:
    """The words of every tracked text file, by path. The path counts as its first line."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)  # noqa: S607
    found = {}
    for path in listed.stdout.splitlines():
        if not SKIPPED.match(path) and (REPOSITORY / path).is_file():
            found[path] = words_of(path + "\n" + (REPOSITORY / path).read_text(encoding="utf-8"))
    return found


def occurrences(words: dict[str, str], folder: str = "") -> Iterator[str]:
    """Each match below a folder that is not allowed, with what to write."""
    forbidden = re.compile(rf"\b(?:{'|'.join(words)})\b")
    for path, text in files().items():
        if path.startswith(folder):
            for match in forbidden.finditer(text):
                if (path, match[0]) not in ALLOWED:
                    line = text.count("\n", 0, match.start())
                    instead = next(instead for pattern, instead in words.items() if re.fullmatch(pattern, match[0]))
                    yield f"{path}:{line}: {match[0]} (write: {instead})"


def test_words_of_the_first_draft_are_gone() -> None:
    assert list(occurrences(EVERYWHERE)) == []


@pytest.mark.parametrize("folder", IN_FOLDERS)
def test_words_that_are_right_elsewhere_are_gone(folder: str) -> None:
    assert list(occurrences(IN_FOLDERS[folder], f"{folder}/")) == []


def test_every_exception_is_needed() -> None:
    assert [path for path, word in ALLOWED if word not in files().get(path, "")] == []


def test_identifiers_are_split() -> None:
    assert words_of("AdmitUsher admit_usher the usher's") == "admit usher admit usher the usher s"
