"""The model card: a page beside a bundle that describes it.

Its sections follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019). The text comes from a small TOML
file, the numbers from the bundle's manifest and from the recorded evaluation, if there is one.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from music.bundle import Bundle
from music.errors import problems
from report import Table, render_template
from runtime.precision import choose_precision
from training.errors import CardError
from training.evaluation.features import FEATURES
from training.evaluation.record import EvaluationRecord
from training.evaluation.tables import FORM_LABELS

CARD: Final = "README.md"
SAMPLES: Final = "samples"
SOUND_SUFFIX: Final = ".ogg"
SAMPLE_SUFFIXES: Final = (".mid", ".png", SOUND_SUFFIX)
"""Of the files in the folder of samples."""
TUNED_FROM: Final = "tuned_from"
"""Key of a bundle's provenance: the model that it was tuned from, as `training.run.StartingPoint.entry`."""
MARK: Final = "<!-- Written by `python -m training card`. -->"
"""First line of every card. A page without it was written by hand."""

_TEMPLATE: Final = Path(__file__).with_name("model_card.md.jinja")
_CURVES: Final = "curves.png"
_SPLITS: Final = ("train", "valid", "test")
_MIN_SAMPLES: Final = 3
_MAX_SAMPLES: Final = 12
_NAMED_FEATURES: Final = 2
_NOTICE_SECTIONS: Final = ("## The model", "## Data")

_Text = Annotated[str, StringConstraints(strip_whitespace=True)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SampleRequest(_Entry):
    """Arguments of `fantasia generate` for a sample. None leaves the choice to the model."""

    seed: int = Field(ge=0, lt=2**63)
    bars: int = Field(ge=1, le=64)
    meter: str | None = Field(default=None, pattern=r"^\d+/\d+$")
    tempo_bpm: float | None = Field(default=None, ge=20, le=300)

    def command(self, model: str, output: str) -> str:
        """The command that writes the same bytes to the file `output`, in a checkout."""
        more = f" --meter {self.meter}" if self.meter else ""
        more += f" --tempo {self.tempo_bpm:g}" if self.tempo_bpm else ""
        return f".venv/bin/fantasia generate --model {model} --bars {self.bars}{more} --seed {self.seed} -o {output}"


class CardText(_Entry):
    """The text of a card that no manifest has. Each entry is a paragraph of Markdown."""

    licence: _Text
    intended_use: _Text
    data: _Text
    split: _Text
    limits: tuple[_Text, ...] = Field(min_length=1)
    samples: tuple[SampleRequest, ...] = Field(min_length=_MIN_SAMPLES, max_length=_MAX_SAMPLES)
    sound: bool = False
    """Whether the samples are rendered as sound as well."""


@dataclass(frozen=True, slots=True)
class CardSample:
    """A sample as the card shows it."""

    request: SampleRequest
    meter: str
    bars: float
    notes: int


def card_files(bundle: Path) -> set[str]:
    """Names in a bundle's folder that the `card` command wrote: the card and its samples, or none.

    A page that was written by hand, and a samples folder with other files, are not among them.
    """
    card, samples = bundle / CARD, bundle / SAMPLES
    try:
        with card.open(encoding="utf-8") as file:
            found = {CARD} if file.readline().rstrip() == MARK else set()
    except (OSError, UnicodeDecodeError):
        return set()
    if found and samples.is_dir() and all(path.suffix in SAMPLE_SUFFIXES for path in samples.iterdir()):
        found.add(SAMPLES)
    return found


def card_notices(bundle: Path) -> str | None:
    """The paragraphs on licence and data of a bundle's card, in Markdown. None without a card of this command.

    They are those of the sections *The model* and *Data*, without tables and figures.
    """
    if CARD not in card_files(bundle):
        return None
    section, kept = "", list[str]()
    for line in (bundle / CARD).read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line
        elif section in _NOTICE_SECTIONS and not line.startswith(("|", "![")):
            kept.append(line)
    paragraphs = [part.strip() for part in "\n".join(kept).split("\n\n")]
    return "\n\n".join(filter(None, paragraphs)) or None


def load_card_text(name: str, path: Path | None = None) -> CardText:
    """The text for the card of a bundle.

    Args:
        name: of the bundle.
        path: TOML file. By default `NAME.toml` in `training/model_cards`, or `default.toml` there.

    Raises:
        CardError: the file cannot be read, or an entry is missing or unknown.
    """
    try:
        if path is not None:
            content = path.read_text(encoding="utf-8")
        else:
            folder = resources.files("training").joinpath("model_cards")
            own = folder.joinpath(f"{name}.toml")
            content = (own if own.is_file() else folder.joinpath("default.toml")).read_text(encoding="utf-8")
        return CardText.model_validate(tomllib.loads(content))
    except ValidationError as error:
        raise CardError(f"the text for the card of {name}: {problems(error)}") from error
    except (OSError, ValueError) as error:
        raise CardError(f"the text for the card of {name} cannot be read: {error}") from error


def render_card(
    bundle: Bundle, text: CardText, samples: Sequence[CardSample], evaluation: EvaluationRecord | None = None
) -> str:
    """The card in Markdown. Links to files of the bundle are relative to its folder."""
    corpus = bundle.manifest.provenance.get("corpus", {})
    return render_template(
        _TEMPLATE,
        mark=MARK,
        bundle=bundle,
        text=text,
        model=_model_table(bundle).as_markdown(),
        curves=_CURVES if _CURVES in bundle.manifest.files else None,
        pieces=_pieces_table(corpus.get("pieces", {})),
        notes=f"{corpus['notes']:,}" if "notes" in corpus else None,
        ancestors=list(_ancestors(bundle.manifest.provenance)),
        metrics=_metrics_table(bundle),
        evaluation=evaluation,
        **({} if evaluation is None else _evaluation_values(evaluation)),
        first_seeds=[sample.request.seed for sample in samples] == list(range(1, len(samples) + 1)),
        unit="tokens" if bundle.tokenizer.name == "events" else "voices × steps",
        precision=choose_precision(bundle, "auto", cpu=True),
        samples=samples,
        sound=SOUND_SUFFIX if text.sound else None,
        folder=SAMPLES,
    )


def _ancestors(provenance: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The model that a bundle was tuned from, the model that this one was tuned from, and so on."""
    entry = provenance.get(TUNED_FROM)
    while isinstance(entry, dict):
        corpus = entry.get("corpus")
        source = corpus.get("source") if isinstance(corpus, dict) else None
        yield {key: entry.get(key) for key in ("name", "description", "digest", "notices")} | {"source": source}
        entry = entry.get(TUNED_FROM)


def _model_table(bundle: Bundle) -> Table:
    network, tokenizer = bundle.network, bundle.manifest.tokenizer
    provenance = bundle.manifest.provenance
    parameters = ", ".join(f"{key} {_format_parameter(value)}" for key, value in sorted(tokenizer.parameters.items()))
    rows = [
        ("network", f"LSTM, {network.layers} × {network.hidden}, {network.parameters:,} parameters"),
        ("tokenizer", f"`{tokenizer.name}` version {tokenizer.version}, {network.vocabulary} tokens"),
    ]
    if parameters:
        rows.append(("tokenizer parameters", parameters))
    rows += [("maximum length", f"{bundle.max_steps} steps"), ("digest", f"`{bundle.digest}`")]
    if "epoch" in provenance:
        seed = provenance.get("config", {}).get("training", {}).get("seed")
        rows.append(("training", f"{provenance['epoch']} epochs" + (f", seed {seed}" if seed is not None else "")))
    if versions := provenance.get("versions"):
        rows.append(("made with", ", ".join(f"{package} {number}" for package, number in sorted(versions.items()))))
    return Table(("", ""), rows, text_columns=2)


def _pieces_table(pieces: dict[str, int]) -> str | None:
    rows = [(split, f"{pieces[split]:,}") for split in _SPLITS if split in pieces]
    return Table(("split", "pieces"), rows).as_markdown() if rows else None


def _metrics_table(bundle: Bundle) -> str | None:
    rows = [
        (split, f"{bundle.metrics[f'{split}_nats_per_note_step']:.3f}", f"{bundle.metrics[f'{split}_accuracy']:.1%}")
        for split in _SPLITS
        if f"{split}_nats_per_note_step" in bundle.metrics
    ]
    return Table(("split", "nats per note-step", "accuracy"), rows).as_markdown() if rows else None


def _evaluation_values(evaluation: EvaluationRecord) -> dict[str, Any]:
    """The values of the template that come from an evaluation."""
    rows = [
        (row.name, "" if row.nats_per_note_step is None else f"{row.nats_per_note_step:.3f}", f"{row.accuracy:.1%}")
        for row in evaluation.baselines
    ]
    labels = {feature.name: feature.label for feature in FEATURES}
    furthest = sorted(evaluation.ratios, key=lambda row: -row.ratio)[:_NAMED_FEATURES]
    return {
        "baselines": Table(("baseline", "nats per note-step", "accuracy"), rows).as_markdown(),
        "memorised": f"{max((row.share_above for row in evaluation.memorisation), default=0.0):.1%}",
        "repeated": f"{evaluation.repetition.share_above:.1%}",
        "two_sample": _two_sample_line(evaluation),
        "form": [
            f"{FORM_LABELS[row.measure].capitalize()}: {row.generated:.1%} (real pieces {row.held_out:.1%})."
            for row in evaluation.form
        ],
        "endings": _ending_lines(evaluation),
        "rates": _rates_line(evaluation),
        "furthest": " and ".join(f"{labels.get(row.feature, row.feature)} ({row.ratio:.1f})" for row in furthest),
    }


def _two_sample_line(evaluation: EvaluationRecord) -> str | None:
    test = evaluation.two_sample
    if test is None:
        return None
    return (
        f"A random forest tells real held-out pieces from them with an accuracy of {mean(test.generated):.1%}, and "
        f"from real training pieces with {mean(test.training):.1%}. Guessing has 50%."
    )


def _rates_line(evaluation: EvaluationRecord) -> str | None:
    likelihood = evaluation.likelihood
    if likelihood.nats_per_note is None or likelihood.bits_per_second is None:
        return None
    return (
        f"The {evaluation.split} pieces have {likelihood.nats_per_note:.2f} nats per note, and "
        f"{likelihood.bits_per_second:.1f} bits per second of music."
    )


def _ending_lines(evaluation: EvaluationRecord) -> list[str]:
    measured = evaluation.endings
    if measured is None:
        return []
    by_bars = ", ".join(f"{share:.0%} at {bars} bars" for bars, share in measured.by_bars.items())
    return [
        f"They close, of a requested length: {by_bars}; of the model's own length {measured.open_length:.0%}; real "
        f"pieces {measured.held_out:.0%}."
    ]


def _format_parameter(value: Any) -> str:
    """A tokenizer parameter in one cell: the items of a list with spaces between them, a pair of bounds as `57–81`."""
    if not isinstance(value, list):
        return str(value)
    return " ".join("–".join(map(str, item)) if isinstance(item, list) else str(item) for item in value)
