"""`python -m training evaluate`: what a bundle thinks of music, and what it writes itself."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from training.commands.output import OutputPath
from training.threads import usable_threads

_GATE_SAMPLES = 1000
_SWEEP_SAMPLES = 200


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--midi", type=click.Path(path_type=Path), help="Folder of MIDI files, a track for each voice.")
@click.option("--corpus", type=click.Path(path_type=Path), help="What `prepare` wrote.")
@click.option("--split", type=click.Choice(["train", "valid", "test"]), default="valid", help="Side of the corpus.")
@click.option(
    "--clock",
    type=click.Choice(["stated", "hidden", "mixture"]),
    help="What the network is told of the meter.  [default: mixture for MIDI, stated for a corpus]",
)
@click.option(
    "--samples",
    type=click.IntRange(0),
    help="Pieces to write and judge; 0 for the likelihood alone.  [default: 0, with --gate 1000, with --sweep 200]",
)
@click.option("--seed", type=click.IntRange(0, 2**32), default=0, help="Seed of the first piece.")
@click.option("--gate", is_flag=True, help="Fail, with a sentence each, where a threshold is missed.")
@click.option(
    "--thresholds",
    type=click.Path(path_type=Path),
    help="TOML file for --gate.  [default: training/gates/NAME.toml, or default.toml there]",
)
@click.option("--sweep", is_flag=True, help="Also try temperature x top-p x top-k against the validation pieces.")
@click.option(
    "--record",
    type=OutputPath(dir_okay=False, path_type=Path),
    help="Keep the judgement as JSON; a sampling study that is there stays, unless --sweep makes it anew.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "int8"]),
    help="Charge with the decode graphs of that arithmetic, token by token as they serve.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 for one a usable core.")
@click.option(
    "--baselines/--no-baselines",
    default=True,
    help="Compare the likelihood of held-out pieces of a corpus with copying and an 8-gram.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    bundle: Path,
    midi: Path | None,
    corpus: Path | None,
    split: str,
    clock: str | None,
    samples: int | None,
    seed: int,
    gate: bool,
    thresholds: Path | None,
    sweep: bool,
    record: Path | None,
    precision: Any,
    threads: int,
    baselines: bool,
    as_json: bool,
) -> None:
    """Charge a bundle for every token of music it has not written; with --samples, judge what it writes.

    \b
    evaluate models/x --corpus data/x.npz --split test                   likelihood
    evaluate models/x --corpus data/x.npz --split test --samples 1000    baselines, distances, faults, copying
    evaluate models/x --corpus data/x.npz --split test --gate            the same, and exit code 1 below the thresholds
    """  # noqa: D301  # click wants the character itself
    if (midi is None) == (corpus is None):
        raise click.UsageError("give either --midi or --corpus")
    threads = threads or usable_threads()
    if samples is None:
        samples = _GATE_SAMPLES if gate else _SWEEP_SAMPLES if sweep else 0
    if samples == 0:
        for option, given in (("--gate", gate), ("--sweep", sweep), ("--record", record), ("--thresholds", thresholds)):
            if given:
                raise click.UsageError(f"{option} needs --samples above 0")
        _charge(
            bundle,
            midi,
            corpus,
            split,
            clock,
            precision=precision,
            threads=threads,
            baselines=baselines,
            as_json=as_json,
        )
        return
    if precision is not None:
        raise click.UsageError("--precision goes without --samples: what is written is written as it is served")
    if corpus is None or split == "train":
        raise click.UsageError("--samples needs --corpus, and --split valid or test: they are held against real pieces")
    if clock not in (None, "stated"):
        raise click.UsageError("--samples goes with --clock stated")
    if thresholds and not gate:
        raise click.UsageError("--thresholds is for --gate")
    _judge(
        bundle,
        corpus,
        split,
        samples=samples,
        seed=seed,
        gate=gate,
        thresholds=thresholds,
        with_sweep=sweep,
        record=record,
        threads=threads,
        as_json=as_json,
    )


def _charge(
    path: Path,
    midi: Path | None,
    corpus: Path | None,
    split: str,
    clock: str | None,
    *,
    precision: Any,
    threads: int,
    baselines: bool,
    as_json: bool,
) -> None:
    """Likelihood alone, or beside that of baselines."""
    from music.bundle import load_bundle
    from training.corpus import Corpus, Split
    from training.evaluation import ClockMode, evaluate_folder, evaluate_split
    from training.judge.verdict import verdict

    compared = None
    mode = ClockMode(clock or ("mixture" if midi else "stated"))
    bundle = load_bundle(path)
    if midi is not None:
        result = evaluate_folder(bundle, midi, mode, threads=threads, precision=precision)
    else:
        assert corpus is not None
        side, music = Split[split.upper()], Corpus.load(corpus)
        result = evaluate_split(bundle, music, side, mode, threads=threads, precision=precision)
        if baselines and side is not Split.TRAIN:  # what an n-gram knows of the training pieces says nothing
            compared = verdict(bundle, music, side, result)
    if as_json:
        found = result.as_json() | ({} if compared is None else compared.as_json())
        _print_json({"model": bundle.name, "digest": bundle.digest, "clock": mode.value, **found})
        return
    for name, reason in sorted(result.skipped.items()):
        click.echo(f"skipped {name}: {reason}")
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(result.dropped.items())) or "none"
    click.echo(
        f"{result.pieces} pieces, {result.steps} steps, {result.tokens} tokens; notes dropped or moved: {dropped}"
    )
    onsets = "" if result.onset_accuracy is None else f", over onsets {result.onset_accuracy:.2%}"
    click.echo(
        f"{result.nats:.1f} nats, {result.nats_per_note_step:.4f} nats per note-step, "
        f"accuracy {result.accuracy:.2%}{onsets}"
    )
    if compared is not None:
        click.echo(compared.as_text(), nl=False)


def _judge(
    path: Path,
    corpus_path: Path,
    split: str,
    *,
    samples: int,
    seed: int,
    gate: bool,
    thresholds: Path | None,
    with_sweep: bool,
    record: Path | None,
    threads: int,
    as_json: bool,
) -> None:
    """Likelihood, baselines, and what the bundle writes."""
    from music.bundle import load_bundle
    from training.corpus import Corpus, Split
    from training.files import check_writable
    from training.judge.judge import judge
    from training.judge.judgement import load_judgement
    from training.judge.sweep import sweep
    from training.judge.table import as_text
    from training.judge.thresholds import load_thresholds

    bundle = load_bundle(path)
    # Bad files are told before the long work.
    if record:
        check_writable(record.parent)
    bounds = load_thresholds(bundle.name, thresholds) if gate else None
    study = load_judgement(record).sweep if record and record.exists() else None
    corpus = Corpus.load(corpus_path)
    judgement = judge(
        bundle, corpus, Split[split.upper()], samples=samples, seed=seed, threads=threads, progress=not as_json
    )
    if with_sweep:
        study = sweep(
            bundle, corpus, samples=min(samples, _SWEEP_SAMPLES), seed=seed, threads=threads, progress=not as_json
        )
    judgement = judgement.model_copy(update={"sweep": study})
    if record:
        judgement.save(record)
    failures = bounds.failures(judgement) if bounds else []
    if as_json:
        _print_json(judgement.model_dump(mode="json") | ({"failures": failures} if gate else {}))
    else:
        click.echo(as_text(judgement), nl=False)
    for failure in failures:
        click.echo(f"gate: {bundle.name}: {failure}", err=True)
    if failures:
        click.get_current_context().exit(1)
    if gate:
        click.echo(f"gate: {bundle.name} passes", err=True)


def _print_json(document: dict[str, Any]) -> None:
    json.dump(document, sys.stdout, indent=2)
    click.echo()
