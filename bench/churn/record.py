"""What a run of the crowd found."""

from pathlib import Path
from typing import Final, Literal

from bench.comparison import Table
from bench.errors import BenchError
from bench.machine import Machine
from bench.places import RESULTS

RECORDS: Final = RESULTS / "churn"


class Episode(Table):
    """One life of an engine, in a process of its own."""

    slots: int
    width: int
    """Rows that a run could have; where there were more slots, those in hand took turns."""
    threads: int
    chunk_sizes: tuple[int, ...]
    """Steps that a run could take."""
    requests: int
    """Those that were answered, each compared with what it wrote alone."""
    cancelled: int
    """Those that were given up while they waited or ran; they come on top."""
    tokens: int
    """Of the answers."""
    mismatches: int
    """Answers that differed from what the request wrote alone."""
    widest: int
    """Rows of the widest run."""


class Mismatch(Table):
    """One answer that differed."""

    request: str
    """The request, in words."""
    episode: int
    """Index of the episode."""
    place: int
    """First token that differed; the length of the shorter where one is the beginning of the other."""


class Difference(Table):
    """How often another arithmetic writes something else."""

    precision: str
    different: int
    """Requests whose answer is another one."""
    requests: int
    mean_place: float
    """First token that differs, on average over those."""


class ChurnReport(Table):
    """One run."""

    format_version: Literal[1] = 1
    date: str
    """When it began, UTC, ISO 8601."""
    machine: Machine
    bundle: str
    digest: str
    provider: str
    precision: str
    distinct: int
    """Requests in the pool."""
    forced: int
    """Those of them that have forced tokens."""
    ended: int
    """Those of them that end with their end token."""
    answers: str = ""
    """sha256 of what the distinct requests wrote alone; empty in records that are older than this."""
    seed: int
    """Of the pool and of the crowds."""
    seconds: float
    """What all of it took."""
    episodes: tuple[Episode, ...]
    first_mismatches: tuple[Mismatch, ...]
    """A few, to look at."""
    differences: tuple[Difference, ...]

    @property
    def requests(self) -> int:
        """Answers that were compared."""
        return sum(episode.requests for episode in self.episodes)

    @property
    def mismatches(self) -> int:
        """Answers that differed."""
        return sum(episode.mismatches for episode in self.episodes)

    @property
    def cancelled(self) -> int:
        """Requests that were given up."""
        return sum(episode.cancelled for episode in self.episodes)

    @property
    def tokens(self) -> int:
        """Of all answers."""
        return sum(episode.tokens for episode in self.episodes)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=2) + "\n")


def recorded(folder: Path = RECORDS) -> dict[str, ChurnReport]:
    """Every recorded run by its name, the newest first.

    Raises:
        BenchError: a file is no such record.
    """
    reports = {}
    for path in sorted(folder.glob("*.json")):
        try:
            reports[path.stem] = ChurnReport.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise BenchError(f"{path} is not a recorded run: {error}") from error
    return dict(sorted(reports.items(), key=lambda item: item[1].date, reverse=True))


def as_text(report: ChurnReport) -> str:
    """The run in a few lines."""
    slots = sorted({episode.slots for episode in report.episodes})
    widths = sorted({episode.width for episode in report.episodes})
    threads = sorted({episode.threads for episode in report.episodes})
    chunks = sorted({episode.chunk_sizes for episode in report.episodes})
    lines = [
        f"{report.bundle} {report.digest[:12]}, {report.precision} on {report.provider}, {report.date}; "
        f"{report.machine.processor}, ONNX Runtime {report.machine.onnxruntime}, code {report.machine.revision}",
        f"{report.requests:,} requests compared with what each of {report.distinct:,} distinct ones wrote alone: "
        f"{report.mismatches:,} mismatches",
        f"{report.tokens:,} tokens, {report.cancelled:,} more requests cancelled, {len(report.episodes)} engines in "
        f"processes of their own, {report.seconds:,.0f} s",
        f"slots {_listed(slots)}, rows of a run at most {_listed(widths)}; threads {_listed(threads)}; steps a run "
        f"{' or '.join(_listed(sizes) for sizes in chunks)}; up to "
        f"{max(episode.widest for episode in report.episodes)} side by side",
    ]
    lines.append(
        f"of the distinct ones {report.forced:,} begin with forced tokens and {report.ended:,} end with their end token"
    )
    if report.answers:
        lines.append(f"what they wrote alone: sha256 {report.answers}")
    lines += [
        f"{difference.precision} instead of {report.precision}: {difference.different:,} of "
        f"{difference.requests:,} requests write something else "
        f"({difference.different / difference.requests:.1%})"
        + (f", from token {difference.mean_place:.0f} on, on average" if difference.different else "")
        for difference in report.differences
    ]
    lines += [
        f"mismatch in engine {mismatch.episode} at token {mismatch.place}: {mismatch.request}"
        for mismatch in report.first_mismatches
    ]
    return "\n".join(lines) + "\n"


def as_markdown(report: ChurnReport) -> str:
    """The run as a list."""
    return "".join(f"- {line}\n" for line in as_text(report).splitlines())


def _listed(numbers: "list[int] | tuple[int, ...]") -> str:
    return ", ".join(map(str, numbers))
