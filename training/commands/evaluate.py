"""`python -m training evaluate` and `quality`: how good a bundle is, and the page that shows it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.commands.options import OutputPath
from training.commands.rewriting import ParticleCounts, check_no_rewrite_options, check_rewrite_options, evaluate_parts
from training.loop.hardware import usable_threads

if TYPE_CHECKING:
    from music.bundle import Bundle

_GATE_SAMPLES = 1000
_SWEEP_SAMPLES = 200


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--midi", type=click.Path(path_type=Path), help="Folder of MIDI files, one track for each voice.")
@click.option("--corpus", type=click.Path(path_type=Path), help="Corpus that `prepare` wrote.")
@click.option("--split", type=click.Choice(["train", "valid", "test"]), default="valid", help="Split of the corpus.")
@click.option(
    "--meter",
    type=click.Choice(["given", "beats", "unknown"]),
    help="What the network knows about the meter.  [default: unknown for MIDI, given for a corpus]",
)
@click.option(
    "--samples",
    type=click.IntRange(0),
    help="Number of pieces to generate and compare with real music.  [default: 0, with --gate 1000, with --sweep 200]",
)
@click.option("--seed", type=click.IntRange(0, 2**32), default=0, help="Seed of the first sample.")
@click.option("--gate", is_flag=True, help="Exit with code 1 and a sentence for each threshold that is missed.")
@click.option(
    "--thresholds",
    type=click.Path(path_type=Path),
    help="TOML file for --gate.  [default: training/thresholds/NAME.toml, or default.toml there]",
)
@click.option("--sweep", is_flag=True, help="Also try temperature x top-p x top-k on the validation pieces.")
@click.option(
    "--record",
    type=OutputPath(dir_okay=False, path_type=Path),
    help="Write the evaluation as JSON. A sweep in the file is kept unless --sweep makes a new one.",
)
@click.option(
    "--skip-recorded", is_flag=True, help="Do nothing if the --record file already has an evaluation of this bundle."
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "int8"]),
    help="Score with the decode graphs of this precision, token by token as in serving.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 for the number of usable cores.")
@click.option(
    "--baselines/--no-baselines",
    default=True,
    help="Compare the likelihood of a held-out split with that of simple baselines.",
)
@click.option(
    "--rewrite",
    multiple=True,
    type=click.Choice(["soprano", "bass", "upper", "infill", "all"]),
    help="Give this part of each piece, write the rest with --particles, and measure the finished pieces. Repeatable.",
)
@click.option(
    "--particles",
    type=ParticleCounts(),
    default="1,4,16,64",
    show_default=True,
    help="Numbers of particles for --rewrite, with commas.",
)
@click.option(
    "--temperature", type=click.FloatRange(0, 2), default=1.0, show_default=True, help="Temperature for --rewrite."
)
@click.option("--top-k", type=click.IntRange(0), default=0, show_default=True, help="Top-k for --rewrite; 0 for none.")
@click.option(
    "--rank-by",
    type=click.Choice(["likelihood", "given"]),
    multiple=True,
    default=["given"],
    show_default=True,
    help="Particle that --rewrite measures: the likeliest one, or that with the likeliest given tokens. Repeatable.",
)
@click.option("--no-parallels", is_flag=True, help="Forbid parallel fifths and octaves with --rewrite.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def evaluate(
    bundle: Path,
    midi: Path | None,
    corpus: Path | None,
    split: str,
    meter: str | None,
    samples: int | None,
    seed: int,
    gate: bool,
    thresholds: Path | None,
    sweep: bool,
    record: Path | None,
    skip_recorded: bool,
    precision: Any,
    threads: int,
    baselines: bool,
    rewrite: tuple[str, ...],
    particles: tuple[int, ...],
    temperature: float,
    top_k: int,
    rank_by: tuple[str, ...],
    no_parallels: bool,
    as_json: bool,
) -> None:
    """Measure how well a bundle predicts music. With --samples, also compare generated music with real music.

    \b
    evaluate models/x --corpus data/x.npz --split test                   likelihood and baselines
    evaluate models/x --corpus data/x.npz --split test --samples 1000    also distances, faults, memorisation
    evaluate models/x --corpus data/x.npz --split test --gate            the same, checked against thresholds
    evaluate models/x --corpus data/x.npz --split test --rewrite all     harmonising and infilling
    """  # noqa: D301  # click wants the character itself
    from music.bundle import load_bundle

    if (midi is None) == (corpus is None):
        raise click.UsageError("give either --midi or --corpus")
    threads = threads or usable_threads()
    if skip_recorded and not record:
        raise click.UsageError("--skip-recorded needs --record")
    if rewrite:
        corpus = check_rewrite_options(corpus, split)
        from training.evaluation.record import Ranking, Sampling

        evaluate_parts(
            load_bundle(bundle),
            corpus,
            split,
            parts=rewrite,
            particles=particles,
            sampling=Sampling(temperature=temperature, top_k=top_k, top_p=1.0),
            rankings=[Ranking(name) for name in rank_by],
            no_parallels=no_parallels,
            seed=seed,
            record=record,
            skip_recorded=skip_recorded,
            threads=threads,
            as_json=as_json,
        )
        return
    check_no_rewrite_options()
    if samples is None:
        samples = _GATE_SAMPLES if gate else _SWEEP_SAMPLES if sweep else 0
    if samples == 0:
        for option, given in (("--gate", gate), ("--sweep", sweep), ("--record", record), ("--thresholds", thresholds)):
            if given:
                raise click.UsageError(f"{option} needs --samples above 0")
    elif precision is not None:
        raise click.UsageError("--precision cannot be used with --samples: samples use the precision of serving")
    elif corpus is None or split == "train":
        raise click.UsageError("--samples needs --corpus, and --split valid or test, for real pieces to compare with")
    elif meter not in (None, "given"):
        raise click.UsageError("--samples needs --meter given")
    if thresholds and not gate:
        raise click.UsageError("--thresholds needs --gate")
    loaded = load_bundle(bundle)
    if samples == 0 or corpus is None:
        _evaluate_likelihood(
            loaded,
            midi,
            corpus,
            split,
            meter,
            precision=precision,
            threads=threads,
            baselines=baselines,
            as_json=as_json,
        )
        return
    if skip_recorded and record and _is_recorded(loaded, record, with_sweep=sweep):
        click.echo(f"{loaded.name}: already evaluated in {record}")
        return
    _evaluate_samples(
        loaded,
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


@click.command()
@click.argument("page", type=click.Path(path_type=Path))
def quality(page: Path) -> None:
    """Write the recorded evaluations of the shipped bundles into PAGE, and draw their figures beside it."""
    from training.evaluation.page import write_page

    write_page(page)
    click.echo(f"wrote {page} and its figures")


def _is_recorded(bundle: "Bundle", record: Path, *, with_sweep: bool) -> bool:
    from training.evaluation.record import EvaluationRecord

    if not record.exists():
        return False
    recorded = EvaluationRecord.load(record)
    return recorded.digest == bundle.digest and (recorded.sweep is not None or not with_sweep)


def _evaluate_likelihood(
    bundle: "Bundle",
    midi: Path | None,
    corpus: Path | None,
    split: str,
    meter: str | None,
    *,
    precision: Any,
    threads: int,
    baselines: bool,
    as_json: bool,
) -> None:
    """Print the likelihood of a folder, or of a split beside that of the baselines."""
    from training.corpus.store import Corpus, Split
    from training.evaluation.baseline_comparison import compare_with_baselines
    from training.evaluation.likelihood import MeterMode, evaluate_folder, evaluate_split

    comparison = None
    mode = MeterMode(meter or ("unknown" if midi else "given"))
    if midi is not None:
        result = evaluate_folder(bundle, midi, mode, threads=threads, precision=precision)
    else:
        assert corpus is not None
        side, music = Split[split.upper()], Corpus.load(corpus)
        result = evaluate_split(bundle, music, side, mode, threads=threads, precision=precision)
        if baselines and side is not Split.TRAIN:  # the n-gram has counted the training pieces themselves
            comparison = compare_with_baselines(bundle, music, side, result)
    if as_json:
        values = result.as_json() | ({} if comparison is None else comparison.as_json())
        _print_json({"model": bundle.name, "digest": bundle.digest, "meter": mode.value, **values})
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
    if result.nats_per_note is not None and result.bits_per_second is not None:
        click.echo(
            f"{result.notes} notes, {result.seconds:.0f} seconds: {result.nats_per_note:.3f} nats per note, "
            f"{result.bits_per_second:.2f} bits per second"
        )
    if comparison is not None:
        click.echo(comparison.as_text(), nl=False)


def _evaluate_samples(
    bundle: "Bundle",
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
    """Print, record and check the whole evaluation."""
    from report import check_writable
    from training.corpus.store import Corpus, Split
    from training.evaluation.evaluator import evaluate_bundle
    from training.evaluation.record import EvaluationRecord
    from training.evaluation.sweep import run_sweep
    from training.evaluation.tables import as_text
    from training.evaluation.thresholds import load_thresholds

    # Files that cannot be read or written are refused before the long work.
    if record:
        check_writable(record.parent)
    bounds = load_thresholds(bundle.name, thresholds) if gate else None
    sweep = EvaluationRecord.load(record).sweep if record and record.exists() else None
    corpus = Corpus.load(corpus_path)
    progress = not as_json
    evaluation = evaluate_bundle(
        bundle, corpus, Split[split.upper()], samples=samples, seed=seed, threads=threads, progress=progress
    )
    if with_sweep:
        points = min(samples, _SWEEP_SAMPLES)
        sweep = run_sweep(bundle, corpus, samples=points, seed=seed, threads=threads, progress=progress)
    evaluation = evaluation.model_copy(update={"sweep": sweep})
    if record:
        evaluation.save(record)
    failures = bounds.failures(evaluation) if bounds else []
    if as_json:
        _print_json(evaluation.model_dump(mode="json") | ({"failures": failures} if gate else {}))
    else:
        click.echo(as_text(evaluation), nl=False)
    for failure in failures:
        click.echo(f"gate: {bundle.name}: {failure}", err=True)
    if failures:
        click.get_current_context().exit(1)
    if gate:
        click.echo(f"gate: {bundle.name} passes", err=True)


def _print_json(document: dict[str, Any]) -> None:
    json.dump(document, sys.stdout, indent=2)
    click.echo()
