"""The results as tables, put into a page between two marks, so that nobody types a number."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from training.errors import CorpusError
from training.pages import Region
from training.reproduce.experiment import BEGINNINGS, ENDINGS, STREAM, TEST, VALID, WHOLE
from training.reproduce.results import Curve, Events, Measure, Results, Run

BEGIN: Final = "<!-- results: written by `make reproduce`, not by hand -->"
END: Final = "<!-- end of results -->"
_REGION: Final = Region(BEGIN, END, "results", CorpusError)

_NOTHING: Final = "Nothing is recorded yet: run `make reproduce MIDI=folder`."
IMAGES: Final = Path("images") / "reproduction"
"""Folder of the figures, beside the page."""
ORIGINAL: Final = "original.png"
BY_SONG: Final = "by-song.png"
EVENTS: Final = "events.png"

ORIGINAL_ACCURACY: Final = 0.9744
"""The highest training accuracy that the original reports."""
ANCESTOR: Final = {"files": 92, "tokens": 27_890, "different": 279, "perplexity": 101}
"""What was counted in the encoding of the original's ancestor, over the same files."""
ANCESTOR_NGRAM: Final = (0.062, 4.60)
"""Accuracy and nats a token of the best n-gram there, over a contiguous held-out fifth."""


def rendered(page: str, results: Results | None) -> str:
    """The page with these results between its marks, or without any.

    Raises:
        CorpusError: the page has not both marks, in order.
    """
    tables = "\n\n".join(_sections(results)) if results else _NOTHING
    return _REGION.filled(page, f"{tables}\n")


def render(page: Path, results: Results | None) -> None:
    """Write the results into the page; its figures are those that `figures` draws beside it.

    Raises:
        CorpusError: the page cannot be read, or has no place for them.
    """
    page.write_text(rendered(_REGION.read(page), results))


def _sections(results: Results) -> Iterable[str]:
    yield "### The material"
    yield _material(results)
    yield "### As the original measured"
    yield _figure(ORIGINAL, "Accuracy and loss of training and validation over 40 and 100 epochs, side by side")
    yield _original(results)
    yield _verdict(results.original)
    yield "### Songs that were never heard"
    yield _figure(BY_SONG, "The same network, and one made for the purpose, on songs they were not trained on")
    yield _by_song(results)
    yield "### The same files through `events`"
    yield _kept(results)
    if results.events is None:
        yield "A network in `events` tokens has not been recorded."
        return
    yield _events(results.events)
    yield _figure(EVENTS, "Accuracy and loss in events tokens")


def _figure(name: str, words: str) -> str:
    return f"![{words}]({(IMAGES / name).as_posix()})"


def _material(results: Results) -> str:
    first, whole = results.tokens["first_part"], results.tokens["all_parts"]
    stream = results.best_baseline(STREAM)
    accuracy, nats = ANCESTOR_NGRAM
    table = _table(
        ("", "the ancestor's encoding", "here, as the original heard", "here, every part, chords with octaves"),
        (
            ("files read", str(ANCESTOR["files"]), str(results.files), str(results.files)),
            ("tokens", f"{ANCESTOR['tokens']:,}", f"{first.tokens:,}", f"{whole.tokens:,}"),
            ("different tokens", str(ANCESTOR["different"]), f"{first.different:,}", f"{whole.different:,}"),
            ("unigram perplexity", str(ANCESTOR["perplexity"]), f"{first.perplexity:.0f}", f"{whole.perplexity:.0f}"),
            (
                "best n-gram, last fifth of all songs end to end",
                f"{accuracy:.1%}, {nats:.2f} nats",
                f"{_shown(stream.measure)} (order {stream.order})",
                "",
            ),
        ),
    )
    songs = ", ".join(f"{count} {side}" for side, count in results.songs.items())
    return f"{table}\n\nSongs on each side of the split by song: {songs}."


def _original(results: Results) -> str:
    run = results.original
    epochs = sorted(run.milestones)
    last = epochs[-1]
    rows: list[Sequence[str]] = [
        (
            "training, running mean of the epoch with dropout (what Keras shows)",
            *(_at(run.training, epoch) for epoch in epochs),
            f"{ORIGINAL_ACCURACY:.2%} at most",
        ),
        (
            "training, the same bars after the epoch, without dropout",
            *(_shown(run.milestones[epoch][BEGINNINGS]) for epoch in epochs),
            "not reported",
        ),
        (
            "validation, the last fifth of the same songs, begun cold",
            *(_at(run.curves[ENDINGS], epoch) for epoch in epochs),
            "flat after 20 epochs",
        ),
        (
            "the same, the song before it heard",
            *(_shown(run.milestones[epoch][WHOLE].without(run.milestones[epoch][BEGINNINGS])) for epoch in epochs),
            "not reported",
        ),
        ("other songs (validation)", *(_at(run.curves[VALID], epoch) for epoch in epochs), "not reported"),
        ("other songs (test)", *(_shown(run.milestones[epoch][TEST]) for epoch in epochs), "not reported"),
    ]
    header = ("accuracy, nats a token", *(f"{epoch} epochs" for epoch in epochs), "the original")
    endings = results.best_baseline(ENDINGS)
    return (
        f"{_table(header, rows)}\n\n"
        f"{run.layers} LSTM layers of {run.hidden}, {run.parameters:,} parameters, {run.vocabulary} tokens, "
        f"{run.updates_per_epoch} updates an epoch, {last} epochs. "
        f"On the last fifths the best n-gram (order {endings.order}) has {_shown(endings.measure)}."
    )


def _verdict(run: Run) -> str:
    reached = [epoch for epoch, share in enumerate(run.training.accuracy, 1) if share >= ORIGINAL_ACCURACY]
    ninety = [epoch for epoch, share in enumerate(run.training.accuracy, 1) if share >= 0.9]
    best = max(run.training.accuracy)
    least = min(range(len(run.curves[ENDINGS].loss)), key=run.curves[ENDINGS].loss.__getitem__) + 1
    passed = f"passes 90 % in epoch {ninety[0]}" if ninety else "never passes 90 %"
    got = f"and {ORIGINAL_ACCURACY:.2%} in epoch {reached[0]}" if reached else f"and never {ORIGINAL_ACCURACY:.2%}"
    return (
        f"The training accuracy, dropout and all, {passed} {got}; its highest is {best:.2%}. "
        f"The validation loss is lowest in epoch {least}, and rises from then on."
    )


def _by_song(results: Results) -> str:
    original, run = results.original, results.by_song
    last = max(original.milestones)
    ngram = {side: results.best_baseline(side) for side in (VALID, TEST)}
    chosen = run.milestones[run.best_epoch]
    rows = (
        ("most frequent token", *(_shown(_order(results, side, 1)) for side in (VALID, TEST))),
        ("best n-gram by loss", *(f"{_shown(ngram[s].measure)} (order {ngram[s].order})" for s in (VALID, TEST))),
        (
            f"the original's network, {last} epochs",
            *(_shown(original.milestones[last][side]) for side in (VALID, TEST)),
        ),
        (
            f"{run.layers} LSTM layer of {run.hidden}, all keys, dropout, stopped early (epoch {run.best_epoch})"
            if run.layers == 1
            else f"{run.layers} x {run.hidden} LSTM, all keys, dropout, stopped early (epoch {run.best_epoch})",
            _shown(chosen[VALID]),
            _shown(chosen[TEST]),
        ),
    )
    table = _table(("accuracy, nats a token", "validation songs", "test songs"), rows)
    share, _ = ANCESTOR_NGRAM
    return (
        f"{table}\n\n"
        f"On the test songs the last line is {chosen[TEST].accuracy / share:.1f} times the {share:.1%} that the best "
        f"n-gram had over the ancestor's tokens, and {chosen[TEST].accuracy / ngram[TEST].measure.accuracy:.2f} times "
        "what the best n-gram has on the same songs."
    )


def _kept(results: Results) -> str:
    names = {
        "first_part": "as the original heard",
        "all_parts": "`notechord`, every part",
        "events": "`events`",
    }
    parts = [results.kept[name] for name in names]
    return _table(
        ("kept of the files, by encoding", *names.values()),
        (
            ("notes, by pitch", *(f"{part.notes:.1%}" for part in parts)),
            ("notes that begin where they began", *(f"{part.onsets:.1%}" for part in parts)),
            ("notes that also last as long", *(f"{part.durations:.1%}" for part in parts)),
            ("notes that begin there as loud", *(f"{part.velocities:.1%}" for part in parts)),
            ("silence inside the songs", *(f"{part.rests:.1%}" for part in parts)),
            (
                "distance between the times from onset to onset (0 the same, 1 nothing shared)",
                *(f"{part.interval_distance:.3f}" for part in parts),
            ),
        ),
    )


def _events(events: Events) -> str:
    run = events.run
    return (
        f"{run.layers} x {run.hidden} LSTM on {events.tokens:,} `events` tokens ({run.vocabulary} different), best "
        f"epoch {run.best_epoch} of {len(run.training.loss)}: on the test songs {_shown(events.test)}, or "
        f"{events.nats_per_note:.2f} nats a note for all that it is: when, how high, how long, how loud."
    )


def _order(results: Results, side: str, order: int) -> Measure:
    return next(item.measure for item in results.baselines if (item.side, item.order) == (side, order))


def _shown(measure: Measure) -> str:
    return f"{measure.accuracy:.2%}, {measure.loss:.2f}"


def _at(curve: Curve, epoch: int) -> str:
    return f"{curve.accuracy[epoch - 1]:.2%}, {curve.loss[epoch - 1]:.2f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
