"""The records as tables, for a terminal and for docs/scaling.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.scale.record import SCALE_RESULTS, ScaleRecord
from report import Region, Table

REGION: Final = Region("results", command="make scale-test RECORD=NAME")
_SPREAD_BY: Final = {"client": "client, over a DNS name", "envoy": "Envoy"}


def as_text(record: ScaleRecord) -> str:
    """The record for a terminal."""
    return "\n\n".join(["\n".join(description(record)), *(table.as_text() for table in tables(record))])


def description(record: ScaleRecord) -> list[str]:
    """The bundle, the machine and the versions, one line each."""
    return [
        f"{record.bundle} {record.digest[:12]}, {record.precision}, {record.date}",
        *record.machine.lines("replicas and callers"),
    ]


def tables(record: ScaleRecord) -> list[Table]:
    """Throughput, join, and what callers saw."""
    throughput = [
        (
            _SPREAD_BY[result.balancer],
            str(row.replicas),
            f"{row.comparison.ratio:.2f}",
            "{:.2f} to {:.2f}".format(*row.comparison.quartiles),
            f"{row.comparison.rate:,.0f}",
            f"{row.comparison.reference_rate:,.0f}",
        )
        for result in record.results
        for row in result.throughput
    ]
    joins = [
        (_SPREAD_BY[result.balancer], ", ".join(map(str, result.join.calls)), f"{result.join.skew:.1%}")
        for result in record.results
    ]
    disturbances = [
        (
            _SPREAD_BY[result.balancer],
            _what(found.kind, found.replicas),
            *map(str, (found.calls, found.failed, found.different, found.retried, found.resumed)),
            f"{found.max_seconds:.1f} s",
        )
        for result in record.results
        for found in result.disturbances
    ]
    return [
        Table(
            ("calls spread by", "replicas", "ratio", "quartiles", "tok/s", "one replica tok/s"),
            throughput,
            title="Throughput / throughput of one replica: 64 calls at a time, in turn",
        ),
        Table(
            ("calls spread by", "calls of each replica, the new one last", "largest deviation"),
            joins,
            title=f"One connection age ({record.connection_age_seconds:g} s) after a replica joined {record.replicas}",
        ),
        Table(
            (
                *("calls spread by", "what happened", "calls", "failed", "different", "tried again", "resumed"),
                "longest call",
            ),
            disturbances,
            title=f"At {record.calls_per_second:g} calls a second",
            text_columns=2,
        ),
    ]


def results_markdown(records: Mapping[str, ScaleRecord]) -> str:
    """The text between the marks of the page, the newest record first."""
    parts = []
    for name, record in sorted(records.items(), key=lambda item: item[1].date, reverse=True):
        parts += [f"### {name}", "  \n".join(description(record)), *(table.as_markdown() for table in tables(record))]
    return "\n\n".join(parts) or "No results are recorded yet."


def write_page(page: Path, folder: Path = SCALE_RESULTS) -> None:
    """Write all records of a folder into the page.

    Raises:
        RecordError: a file is not a record.
        PageError: the page cannot be read, or has no region for the results.
    """
    REGION.write(page, results_markdown(ScaleRecord.load_folder(folder)))


def _what(kind: str, replicas: int) -> str:
    return f"{replicas} replicas replaced one by one" if kind == "rollout" else f"one of {replicas} replicas killed"
