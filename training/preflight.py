"""What can be known before a model is made from scores, and is checked before the hours that it takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.auto import AUTO, check_overrides
from training.config import load_config
from training.corpus import read_about
from training.errors import CheckpointError, CorpusError, ExportError
from training.files import check_writable
from training.origin import Origin
from training.run import ABOUT, Run
from training.sources import folder_sources
from training.targets import check_name, check_target, manifest_at

BUNDLED: Final = ("chorales", "folk")
"""Corpora that come with music21, by the names that `prepare` knows them by."""


@dataclass(frozen=True, slots=True)
class Job:
    """One model to make: where its scores, its run and its bundle are, and how it is configured."""

    name: str
    source: str | None
    """Folder or file of scores, or one of `BUNDLED`; None where the corpus is there and is taken as it is."""
    config: str
    """Named configuration, TOML file or `auto`."""
    corpus: Path
    """What `prepare` writes."""
    run: Path
    bundle: Path

    @property
    def has_corpus(self) -> bool:
        """Whether the scores were read before."""
        return self.corpus.exists()


def planned(source: str | None, name: str, config: str | None, *, data: Path, runs: Path, models: Path) -> Job:
    """Where everything of a model is, and which configuration it gets if none is named.

    Scores of one's own, given now or read before, get `auto`; the corpora that come with music21 get the configuration
    of their name.

    Raises:
        ExportError: no model can be called so.
        CorpusError: the corpus that is there is damaged.
    """
    check_name(name)
    corpus = data / f"{name}.npz"
    if source is None and corpus.exists():
        own = read_about(corpus).origin is not None
        return Job(name, None, config or (AUTO if own else BUNDLED[0]), corpus, runs / name, models / name)
    if source is None:
        source = config if config in BUNDLED else BUNDLED[0]
    bundled = source in BUNDLED and not Path(source).exists()
    return Job(name, source, config or (source if bundled else AUTO), corpus, runs / name, models / name)


def check(job: Job, overrides: dict[str, str], *, replace: bool) -> str | None:
    """Check all of a job that can be known before it begins; what is worth saying of it.

    Args:
        job: what is to be made.
        overrides: changes of the configuration, as `load_config` takes them.
        replace: whether a bundle that is there and came from elsewhere may be replaced.

    Raises:
        ConfigurationError: the configuration is unknown or a change out of range.
        CorpusError: there are no scores, or the corpus was read from others.
        CheckpointError: the run was begun with others.
        ExportError: the bundle cannot be written, or holds another model.
        OSError: a folder cannot be written.
    """
    check_overrides(overrides) if job.config == AUTO else load_config(job.config, overrides)
    check_target(job.bundle, job.name)
    for folder in (job.corpus.parent, job.run if job.run.exists() else job.run.parent):
        check_writable(folder)
    begun = (job.run / ABOUT).exists()
    if not (begun or replace or job.source in BUNDLED or job.source is None):
        manifest = manifest_at(job.bundle)
        if manifest is not None:
            raise ExportError(
                f"{job.bundle} holds a model that was trained elsewhere ({manifest.description}): choose another "
                "NAME, or replace it with REPLACE=1 (--replace)"
            )
    return _check_source(job, Run.load(job.run) if begun else None)


def _check_source(job: Job, begun: Run | None) -> str | None:
    """Hold the folder of scores against what the corpus and the run remember of theirs."""
    if job.source is None or job.source in BUNDLED:
        return _as_it_is(job) if job.has_corpus else None
    now = Origin.of(Path(job.source), ((file.name, file.path) for file in folder_sources(Path(job.source)).sources))
    if job.has_corpus:
        origin = read_about(job.corpus).origin
        if origin is None:
            raise CorpusError(
                f"{job.corpus} does not say which folder it was read from. To read {now.path}, remove {job.corpus} "
                f"and {job.run}, or choose another NAME"
            )
        different = origin.difference(now)
        if different:
            raise CorpusError(
                f"{job.corpus} holds other music: {different}. To read it anew, remove {job.corpus} and {job.run}; to "
                "go on with what was read, leave MIDI out; or choose another NAME"
            )
        return _as_it_is(job)
    if begun is not None and begun.origin is not None and (different := begun.origin.difference(now)):
        raise CheckpointError(
            f"{job.run} was begun with other music: {different}. Remove {job.run}, or choose another NAME"
        )
    return None


def _as_it_is(job: Job) -> str:
    about = read_about(job.corpus)
    read = about.source if about.origin is None else f"{about.source}, read from {about.origin.path}"
    return f"{job.corpus} is used as it is ({read}); to read the scores anew, remove it and {job.run}"
