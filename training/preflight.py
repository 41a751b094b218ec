"""Checks of a pipeline before its first step, which may take hours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from report import check_writable
from training.auto_config import AUTO, check_overrides
from training.bundle_targets import check_name, check_target, manifest_at
from training.config import load_config
from training.corpus.provenance import Origin
from training.corpus.sources import folder_sources
from training.corpus.store import read_metadata
from training.errors import CheckpointError, CorpusError, ExportError
from training.fine_tuning import check_start_folder, check_tuning_overrides, load_starting_point
from training.run import DIGEST, RUN_FILE, Run, StartingPoint

BUNDLED: Final = ("chorales", "folk")
"""Names of the corpora that come with music21, as `prepare` takes them."""


@dataclass(frozen=True, slots=True)
class Job:
    """A pipeline that makes one model: its scores, its configuration and its outputs."""

    name: str
    source: str | None
    """Folder or file of scores, or one of `BUNDLED`. None to use the existing corpus."""
    config: str
    """Named configuration, TOML file or `auto`. Not used with a `start`."""
    corpus: Path
    """File that `prepare` writes."""
    run: Path
    bundle: Path
    start: StartingPoint | None = None
    """The model that the training starts from."""

    @property
    def has_corpus(self) -> bool:
        """Whether the corpus exists."""
        return self.corpus.exists()


def plan_job(
    source: str | None, name: str, config: str | None, start: Path | None, *, data: Path, runs: Path, models: Path
) -> Job:
    """The job for the arguments of the `pipeline` command.

    The default configuration is `auto` for the user's own scores, and that of its name for a bundled corpus.

    Raises:
        ExportError: the name is not valid.
        CorpusError: the existing corpus is damaged, or there are no scores to tune a model on.
        StartingPointError: there is no model at `start`, or it would be replaced; see `load_starting_point`.
    """
    check_name(name)
    corpus = data / f"{name}.npz"
    if start is not None:
        if source is None and not corpus.exists():
            raise CorpusError(f"--from {start}: give the scores to tune it on (make train: MIDI=folder)")
        check_start_folder(start, models / name, runs / name)
        return Job(name, source, AUTO, corpus, runs / name, models / name, load_starting_point(start))
    if source is None and corpus.exists():
        own = read_metadata(corpus).origin is not None
        return Job(name, None, config or (AUTO if own else BUNDLED[0]), corpus, runs / name, models / name)
    if source is None:
        source = config if config in BUNDLED else BUNDLED[0]
    bundled = source in BUNDLED and not Path(source).exists()
    return Job(name, source, config or (source if bundled else AUTO), corpus, runs / name, models / name)


def check_job(job: Job, overrides: dict[str, str], *, replace: bool) -> str | None:
    """Check a job before its first step. Returns a note for the user, if there is one.

    Args:
        job: to check.
        overrides: of the configuration, as `load_config` takes them.
        replace: whether a bundle that was trained elsewhere may be replaced.

    Raises:
        ConfigurationError: the configuration is unknown or an override is out of range.
        CorpusError: there are no scores, or the corpus was read from other ones.
        CheckpointError: the run was started with other scores.
        ExportError: the bundle cannot be written, or holds another model.
        OSError: a folder cannot be written.
    """
    if job.start is not None:
        check_tuning_overrides(job.start, overrides)
    check_overrides(overrides) if job.config == AUTO else load_config(job.config, overrides)
    check_target(job.bundle, job.name)
    for folder in (job.corpus.parent, job.run if job.run.exists() else job.run.parent):
        check_writable(folder)
    has_run = (job.run / RUN_FILE).exists()
    may_replace = job.start is None and (job.source in BUNDLED or job.source is None)
    if not (has_run or replace or may_replace):
        manifest = manifest_at(job.bundle)
        if manifest is not None:
            raise ExportError(
                f"{job.bundle} holds a model that was trained elsewhere ({manifest.description}): choose another "
                "NAME, or replace it with REPLACE=1 (--replace)"
            )
    run = Run.load(job.run) if has_run else None
    if run is not None:
        _check_start(job, run)
    return _check_source(job, run)


def _check_start(job: Job, run: Run) -> None:
    """Check that a run that has begun started from the same model."""
    now = None if job.start is None else job.start.weights.digest
    before = None if run.started_from is None else run.started_from.get(DIGEST)
    if now != before:
        started = "random weights" if run.started_from is None else f"the model {run.started_from.get('name')}"
        raise CheckpointError(
            f"{job.run} was started from {started}"
            + ("" if job.start is None else f", not from {job.start.path} as it is now")
            + f": use the same --from (make train: FROM), remove {job.run}, or choose another NAME"
        )


def _check_source(job: Job, run: Run | None) -> str | None:
    """Compare the folder of scores with the origins of the corpus and the run."""
    if job.source is None or job.source in BUNDLED:
        return _reuse_note(job) if job.has_corpus else None
    now = Origin.of(Path(job.source), ((file.name, file.path) for file in folder_sources(Path(job.source)).sources))
    if job.has_corpus:
        origin = read_metadata(job.corpus).origin
        if origin is None:
            raise CorpusError(
                f"{job.corpus} does not say which folder it was read from. To read {now.path}, remove {job.corpus} "
                f"and {job.run}, or choose another NAME"
            )
        different = origin.difference(now)
        if different:
            raise CorpusError(
                f"{job.corpus} holds other music: {different}. To read the scores again, remove {job.corpus} and "
                f"{job.run}; to use the corpus as it is, leave out MIDI; or choose another NAME"
            )
        return _reuse_note(job)
    if run is not None and run.origin is not None and (different := run.origin.difference(now)):
        raise CheckpointError(
            f"{job.run} was started with other music: {different}. Remove {job.run}, or choose another NAME"
        )
    return None


def _reuse_note(job: Job) -> str:
    metadata = read_metadata(job.corpus)
    origin = metadata.source if metadata.origin is None else f"{metadata.source}, read from {metadata.origin.path}"
    return f"using the existing {job.corpus} ({origin}); to read the scores again, remove it and {job.run}"
