"""The model card: what a bundle is, in words and numbers, beside the bundle.

Its sections follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019). The words come from a small TOML
file, the numbers from the bundle's manifest and, where there is one, from the judge's record.
"""

import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from music.bundle import Bundle
from music.invalid import problems
from server.engine.precision import chosen_precision
from training.errors import CardError
from training.judge.features import FEATURES
from training.judge.judgement import Judgement

CARD: Final = "README.md"
SAMPLES: Final = "samples"
MARK: Final = "<!-- Written by `python -m training card`. -->"
"""First line of every card: what tells it from a page that somebody wrote."""

_SIDES: Final = ("train", "valid", "test")
_SAMPLES_SHOWN: Final = 3
_WIDTH: Final = 120


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SampleRequest(_Table):
    """What is asked for, as of `fantasia generate`; None leaves it to the model."""

    seed: int = Field(ge=0, lt=2**63)
    bars: int = Field(ge=1, le=64)
    meter: str | None = Field(default=None, pattern=r"^\d+/\d+$")

    def command(self, model: str, output: str) -> str:
        """The command line that writes the same bytes to the file `output`, in a checkout."""
        meter = f" --meter {self.meter}" if self.meter else ""
        return f".venv/bin/fantasia generate --model {model} --bars {self.bars}{meter} --seed {self.seed} -o {output}"


class Prose(_Table):
    """What no manifest knows; each text is a paragraph of Markdown."""

    licence: str
    intended_use: str
    data: str
    split: str
    limits: tuple[str, ...] = Field(min_length=1)
    samples: tuple[SampleRequest, ...] = Field(min_length=_SAMPLES_SHOWN, max_length=_SAMPLES_SHOWN)


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample as the card tells of it."""

    request: SampleRequest
    meter: str
    bars: float
    notes: int


def card_files(bundle: Path) -> set[str]:
    """Names in a bundle's folder that a card put there: itself and its samples, or nothing.

    A page of somebody's own, and a folder that holds more than samples, are not among them.
    """
    card, samples = bundle / CARD, bundle / SAMPLES
    try:
        with card.open(encoding="utf-8") as file:
            found = {CARD} if file.readline().rstrip() == MARK else set()
    except (OSError, UnicodeDecodeError):
        return set()
    if found and samples.is_dir() and all(path.suffix in (".mid", ".png") for path in samples.iterdir()):
        found.add(SAMPLES)
    return found


def load_prose(name: str, path: Path | None = None) -> Prose:
    """The words for the bundle called `name`: from `path`, or from `training/cards`, where `default` serves the rest.

    Raises:
        CardError: the file cannot be read, or a text is missing or unknown.
    """
    try:
        if path is not None:
            text = path.read_text(encoding="utf-8")
        else:
            folder = resources.files("training").joinpath("cards")
            own = folder.joinpath(f"{name}.toml")
            text = (own if own.is_file() else folder.joinpath("default.toml")).read_text(encoding="utf-8")
        return Prose.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise CardError(f"the words for the card of {name}: {problems(error)}") from error
    except (OSError, ValueError) as error:
        raise CardError(f"the words for the card of {name} cannot be read: {error}") from error


def render_card(bundle: Bundle, prose: Prose, samples: Sequence[Sample], judgement: Judgement | None = None) -> str:
    """The card in Markdown; files of the bundle and of the card are named relative to its folder."""
    sections = [
        MARK,
        f"# {bundle.name}",
        f"{bundle.description}.",
        _details(bundle, prose),
        f"## Intended use\n\n{prose.intended_use.strip()}",
        _data(bundle, prose),
        _numbers(bundle, judgement),
        "## Limits\n\n" + "\n".join(f"* {limit.strip()}" for limit in prose.limits),
        _samples(bundle, samples),
        "The shape of this page follows Mitchell et al., *Model Cards for Model Reporting* (2019).",
    ]
    return "\n\n".join(sections) + "\n"


def _details(bundle: Bundle, prose: Prose) -> str:
    network, tokenizer = bundle.network, bundle.manifest.tokenizer
    provenance = bundle.manifest.provenance
    parameters = ", ".join(f"{key} {_value(value)}" for key, value in sorted(tokenizer.parameters.items()))
    versions = provenance.get("versions", {})
    rows = [
        ("network", f"LSTM, {network.layers} × {network.hidden}, {network.parameters:,} parameters"),
        ("tokens", f"`{tokenizer.name}` version {tokenizer.version}, {network.vocabulary} of them"),
        ("", parameters),
        ("longest piece", f"{bundle.max_steps} steps"),
        ("digest", f"`{bundle.digest}`"),
    ]
    if "epoch" in provenance:
        seed = provenance.get("config", {}).get("training", {}).get("seed")
        rows.append(("trained", f"{provenance['epoch']} epochs" + (f", seed {seed}" if seed is not None else "")))
    if versions:
        rows.append(("made with", ", ".join(f"{package} {number}" for package, number in sorted(versions.items()))))
    rows = [row for row in rows if row[1]]
    curves = "\n\n![Loss and accuracy by epoch](curves.png)" if "curves.png" in bundle.manifest.files else ""
    return f"## The model\n\n{_table(('', ''), rows)}\n\n{prose.licence.strip()}{curves}"


def _data(bundle: Bundle, prose: Prose) -> str:
    corpus = bundle.manifest.provenance.get("corpus", {})
    pieces = corpus.get("pieces", {})
    rows = [(side, f"{pieces[side]:,}") for side in _SIDES if side in pieces]
    table = _table(("side", "pieces"), rows) if rows else ""
    notes = f"{corpus['notes']:,} notes in all." if "notes" in corpus else ""
    parts = ("## Data", prose.data.strip(), prose.split.strip(), table, notes)
    return "\n\n".join(part for part in parts if part)


def _numbers(bundle: Bundle, judgement: Judgement | None) -> str:
    measured = [
        (side, f"{bundle.metrics[f'{side}_nats_per_note_step']:.3f}", f"{bundle.metrics[f'{side}_accuracy']:.1%}")
        for side in _SIDES
        if f"{side}_nats_per_note_step" in bundle.metrics
    ]
    parts = [
        "## Numbers",
        _paragraph(
            "On pieces that it never saw, every token charged: rests, holds, the first step and the end, with the "
            "notated meter and pickup told. *Nats per note-step* is the total divided by voices × steps."
        ),
        _table(("held out", "nats per note-step", "accuracy"), measured) if measured else "Nothing was measured.",
    ]
    if judgement is not None:
        parts += _judged(judgement)
    return "\n\n".join(parts)


def _judged(judgement: Judgement) -> list[str]:
    rows = [
        (row.name, "" if row.nats_per_note_step is None else f"{row.nats_per_note_step:.3f}", f"{row.accuracy:.1%}")
        for row in judgement.baselines
    ]
    words = {feature.name: feature.words for feature in FEATURES}
    worst = sorted(judgement.ratios, key=lambda row: -row.ratio)[:2]
    far = " and ".join(f"{words.get(row.feature, row.feature)} ({row.ratio:.1f})" for row in worst)
    copied = max((row.share for row in judgement.copying), default=0.0)
    return [
        f"Baselines on the same {judgement.likelihood.pieces} {judgement.split} pieces:",
        _table(("", "nats per note-step", "accuracy"), rows),
        _paragraph(
            f"Of {judgement.samples} samples at {judgement.sampling}: {copied:.1%} hold a longer match with the "
            "training music than real unseen pieces do (99th percentile); over all temperatures tried, "
            f"{judgement.collapse.share:.1%} get stuck on one token. Held against real pieces, feature by feature, it "
            f"is furthest off in {far}, where 1 is as far as real music is from real music. "
            "[How this is measured](../../docs/quality.md)."
        ),
    ]


def _samples(bundle: Bundle, samples: Sequence[Sample]) -> str:
    first = [sample.request.seed for sample in samples] == list(range(1, len(samples) + 1))
    chosen = "The first seeds there are, not chosen. " if first else ""
    precision = chosen_precision(bundle, "auto", cpu=True)
    intro = (
        f"{chosen}In a checkout, with `make serve` running, each command writes the same bytes again where the model "
        f"runs in {precision}."
    )
    parts = ["## Samples", _paragraph(intro)]
    for number, sample in enumerate(samples, 1):
        parts.append(
            f"**{number}.** [MIDI]({SAMPLES}/{number}.mid), {sample.bars:g} bars of {sample.meter}, "
            f"{sample.notes} notes: `{sample.request.command(bundle.name, f'{number}.mid')}`"
        )
        parts.append(f"![Piano roll of sample {number}]({SAMPLES}/{number}.png)")
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
