"""The record as the generated region of docs/reproduction.md, with its figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from report import PALETTE, Region, Table, figure, render_template
from research.reproduction.experiment import (
    CONCATENATED,
    HELD_OUT_PARTS,
    MILESTONES,
    TEST_SONGS,
    TRAINED_PARTS,
    VALID_SONGS,
    WHOLE_SONGS,
)
from research.reproduction.record import Curve, ReproductionRecord, Totals

REGION: Final = Region("results", command="make reproduce")
_IMAGES: Final = Path("images") / "reproduction"
IMAGES: Final = {name: _IMAGES / f"{name.replace('_', '-')}.png" for name in ("original", "by_song", "events")}
"""Figures by name, relative to the page."""
_TEMPLATE: Final = Path(__file__).with_name("reproduction.md.jinja")

_ORIGINAL_ACCURACY: Final = 0.9744
"""The highest training accuracy that the original reports."""
_PREDECESSOR: Final = {"files": 92, "tokens": 27_890, "distinct": 279, "perplexity": 101}
"""Counts in the encoding of the original's predecessor, over the same files."""
_PREDECESSOR_NGRAM: Final = (0.062, 4.60)
"""Accuracy and nats per token of its best n-gram, on the last fifth of all songs concatenated."""
_TRAINING: Final = "training (with dropout)"


def render(record: ReproductionRecord | None) -> str:
    """The Markdown of the results, or a sentence if there are none."""
    images = {name: path.as_posix() for name, path in IMAGES.items()}
    values = {} if record is None else _values(record)
    return render_template(_TEMPLATE, record=record, images=images, **values)


def draw(record: ReproductionRecord, docs: Path) -> None:
    """Draw every figure of the page into its place under the folder of the docs."""
    original, by_song = record.original, record.by_song
    held_out = {_TRAINING: original.training, "validation: last fifth of each song": original.curves[HELD_OUT_PARTS]}
    epochs = len(original.training.loss)
    lengths = [*(length for length in MILESTONES if length < epochs), epochs]
    columns = {
        f"{length} epochs": {name: _first_epochs(curve, length) for name, curve in held_out.items()}
        for length in lengths
    }
    _draw_curves(columns, docs / IMAGES["original"], original_accuracy=True)
    other_songs = "validation: held-out songs"
    columns = {
        "the original's network": held_out | {other_songs: original.curves[VALID_SONGS]},
        "a network for held-out songs": {_TRAINING: by_song.training, other_songs: by_song.curves[VALID_SONGS]},
    }
    _draw_curves(columns, docs / IMAGES["by_song"])
    if record.events is not None:
        run = record.events.run
        columns = {"events": {_TRAINING: run.training, other_songs: run.curves[VALID_SONGS]}}
        _draw_curves(columns, docs / IMAGES["events"])


def _values(record: ReproductionRecord) -> dict[str, Any]:
    """Names that the template uses."""
    run, by_song = record.original, record.by_song
    accuracy = run.training.accuracy
    validation = run.curves[HELD_OUT_PARTS].loss
    test = by_song.milestones[by_song.best_epoch][TEST_SONGS]
    return {
        "material": _material(record),
        "songs": ", ".join(f"{count} {split}" for split, count in record.songs.items()),
        "original": _original(record),
        "run": run,
        "last_epoch": max(run.milestones),
        "best": record.best_ngram(HELD_OUT_PARTS),
        "best_totals": _shown(record.best_ngram(HELD_OUT_PARTS).totals),
        "ninety": _reached(accuracy, 0.9, "passes 90 % in epoch {}", "never passes 90 %"),
        "reached": _reached(
            accuracy,
            _ORIGINAL_ACCURACY,
            f"and {_ORIGINAL_ACCURACY:.2%} in epoch {{}}",
            f"and never {_ORIGINAL_ACCURACY:.2%}",
        ),
        "highest": f"{max(accuracy):.2%}",
        "lowest_epoch": validation.index(min(validation)) + 1,
        "by_song": _by_song(record),
        "gain_over_predecessor": f"{test.accuracy / _PREDECESSOR_NGRAM[0]:.1f}",
        "predecessor_accuracy": f"{_PREDECESSOR_NGRAM[0]:.1%}",
        "gain_over_ngram": f"{test.accuracy / record.best_ngram(TEST_SONGS).totals.accuracy:.2f}",
        "fidelity": _fidelity(record),
        "events_totals": "" if record.events is None else _shown(record.events.test),
    }


def _material(record: ReproductionRecord) -> Table:
    original, notechord = record.tokens["original"], record.tokens["notechord"]
    best = record.best_ngram(CONCATENATED)
    accuracy, nats = _PREDECESSOR_NGRAM
    return Table(
        ("", "predecessor's encoding", "original's encoding, here", "`notechord`, all parts"),
        [
            ("files read", str(_PREDECESSOR["files"]), str(record.files), str(record.files)),
            ("tokens", f"{_PREDECESSOR['tokens']:,}", f"{original.tokens:,}", f"{notechord.tokens:,}"),
            ("distinct tokens", str(_PREDECESSOR["distinct"]), f"{original.distinct:,}", f"{notechord.distinct:,}"),
            (
                "unigram perplexity",
                str(_PREDECESSOR["perplexity"]),
                f"{original.unigram_perplexity:.0f}",
                f"{notechord.unigram_perplexity:.0f}",
            ),
            (
                "best n-gram, last fifth of all songs concatenated",
                f"{accuracy:.1%}, {nats:.2f}",
                f"{_shown(best.totals)} (order {best.order})",
                "",
            ),
        ],
    )


def _original(record: ReproductionRecord) -> Table:
    run = record.original
    epochs = sorted(run.milestones)
    milestones = [run.milestones[epoch] for epoch in epochs]
    return Table(
        ("accuracy, nats per token", *(f"{epoch} epochs" for epoch in epochs), "original report"),
        [
            (
                "training, running mean of the epoch with dropout (as in Keras)",
                *(_at(run.training, epoch) for epoch in epochs),
                f"{_ORIGINAL_ACCURACY:.2%} at most",
            ),
            (
                "training, the same bars after the epoch, without dropout",
                *(_shown(totals[TRAINED_PARTS]) for totals in milestones),
                "not reported",
            ),
            (
                "validation, last fifth of the same songs, without the bars before it",
                *(_at(run.curves[HELD_OUT_PARTS], epoch) for epoch in epochs),
                "flat after 20 epochs",
            ),
            (
                "validation, last fifth of the same songs, after the bars before it",
                *(_shown(totals[WHOLE_SONGS].without(totals[TRAINED_PARTS])) for totals in milestones),
                "not reported",
            ),
            (
                "held-out songs (validation)",
                *(_at(run.curves[VALID_SONGS], epoch) for epoch in epochs),
                "not reported",
            ),
            ("held-out songs (test)", *(_shown(totals[TEST_SONGS]) for totals in milestones), "not reported"),
        ],
    )


def _by_song(record: ReproductionRecord) -> Table:
    original, run = record.original, record.by_song
    last = original.milestones[max(original.milestones)]
    best = run.milestones[run.best_epoch]
    songs = (VALID_SONGS, TEST_SONGS)
    unigram = {item.songs: item.totals for item in record.ngrams if item.order == 1}
    ngram = {name: record.best_ngram(name) for name in songs}
    layers = f"{run.layers} LSTM layer of" if run.layers == 1 else f"{run.layers} LSTM layers of"
    return Table(
        ("accuracy, nats per token", "validation songs", "test songs"),
        [
            ("most frequent token", *(_shown(unigram[name]) for name in songs)),
            (
                "n-gram of the lowest loss",
                *(f"{_shown(ngram[name].totals)} (order {ngram[name].order})" for name in songs),
            ),
            (f"the original's network, {max(original.milestones)} epochs", *(_shown(last[name]) for name in songs)),
            (
                f"{layers} {run.hidden}, all keys, dropout, stopped early (epoch {run.best_epoch})",
                *(_shown(best[name]) for name in songs),
            ),
        ],
    )


def _fidelity(record: ReproductionRecord) -> Table:
    names = {"original": "original's encoding", "notechord": "`notechord`, all parts", "events": "`events`"}
    columns = [record.fidelity[name] for name in names]
    return Table(
        ("what remains of the files after encoding and decoding", *names.values()),
        [
            ("notes with their pitch", *(f"{item.notes:.1%}" for item in columns)),
            ("notes with pitch and onset", *(f"{item.onsets:.1%}" for item in columns)),
            ("notes with pitch, onset and duration", *(f"{item.durations:.1%}" for item in columns)),
            ("notes with pitch, onset and velocity", *(f"{item.velocities:.1%}" for item in columns)),
            ("silence inside the songs", *(f"{item.rests:.1%}" for item in columns)),
            (
                "distance between the distributions of inter-onset times (0 equal, 1 nothing in common)",
                *(f"{item.interval_distance:.3f}" for item in columns),
            ),
        ],
    )


def _reached(accuracy: list[float], threshold: float, reached: str, never: str) -> str:
    """`reached` with the first epoch of at least this accuracy, or `never`."""
    epoch = next((epoch for epoch, share in enumerate(accuracy, 1) if share >= threshold), None)
    return never if epoch is None else reached.format(epoch)


def _shown(totals: Totals) -> str:
    return f"{totals.accuracy:.2%}, {totals.loss:.2f}"


def _at(curve: Curve, epoch: int) -> str:
    return f"{curve.accuracy[epoch - 1]:.2%}, {curve.loss[epoch - 1]:.2f}"


def _first_epochs(curve: Curve, epochs: int) -> Curve:
    return Curve(loss=curve.loss[:epochs], accuracy=curve.accuracy[:epochs])


def _draw_curves(columns: Mapping[str, Mapping[str, Curve]], path: Path, *, original_accuracy: bool = False) -> None:
    """Accuracy above, loss below; a column for each network or length."""
    with figure(path, width=1 + 4.2 * len(columns), height=6.4) as drawing:
        grid = drawing.subplots(2, len(columns), sharey="row", squeeze=False)
        for column, (title, curves) in enumerate(columns.items()):
            above, below = grid[0][column], grid[1][column]
            above.set_title(title)
            for (name, curve), color in zip(curves.items(), PALETTE, strict=False):
                for axes, values in ((above, curve.accuracy), (below, curve.loss)):
                    axes.plot(range(1, len(values) + 1), values, color=color, label=name)
                    axes.set_ylim(bottom=0)
            if original_accuracy:
                label = f"original report: {_ORIGINAL_ACCURACY:.2%}"
                above.axhline(_ORIGINAL_ACCURACY, color="black", linewidth=0.8, linestyle=":", label=label)
            below.set_xlabel("epoch")
            above.legend()
        grid[0][0].set_ylabel("accuracy")
        grid[1][0].set_ylabel("loss (nats per token)")
