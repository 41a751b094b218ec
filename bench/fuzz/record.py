"""What the runs of a fuzzer found, as kept in `bench/results/fuzz/NAME.json`."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from bench.fuzz.spans import Span
from bench.machine import Machine
from bench.record import RESULTS
from report import Record

FUZZ_RESULTS: Final = RESULTS / "fuzz"
"""Folder of the recorded runs."""
_FAULTS_OF_A_KIND: Final = 2
_MAX_FAULTS: Final = 100
_KIND_CHARACTERS: Final = 60
_VALUES: Final = re.compile(r"'[^']*'|\d+")
_SITTING_FIELDS: Final = ("date", "machine", "models", "seconds", "server", "probes", "probes_changed", "log")
"""Of records of version 1."""


class CallCount(Record):
    """Calls of one method that ended with one code."""

    method: str
    code: str
    calls: int


class Fault(Record):
    """A call that did not end as the contract says."""

    index: int
    method: str
    code: str
    problems: tuple[str, ...]
    payload: str
    """The request, serialized, in base64; cut if it is very long."""
    is_cancelled: bool = False
    """Whether the caller ended the call."""


def some_of_each_kind(faults: Iterable[Fault]) -> list[Fault]:
    """The first faults of each kind; faults that differ in numbers and quoted values only are of one kind."""
    kept: list[Fault] = []
    counts: Counter[tuple[str, ...]] = Counter()
    for fault in faults:
        problem = _VALUES.sub("", fault.problems[0] if fault.problems else "")[:_KIND_CHARACTERS]
        kind = (fault.method, fault.code, problem)
        counts[kind] += 1
        if counts[kind] <= _FAULTS_OF_A_KIND and len(kept) < _MAX_FAULTS:
            kept.append(fault)
    return kept


class ModelRecord(Record):
    """A model that was fuzzed."""

    name: str
    digest: str
    precision: str


class ServerState(Record):
    """What the server's metrics say when all calls have ended."""

    resident_bytes_start: int
    """Resident memory before the first case, after the probes."""
    resident_bytes_end: int
    resident_bytes_max: int
    received: int
    """Requests."""
    finished: int
    in_flight: int
    slots_used: int
    queued: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing is held, and every request that was received has finished."""
        return self.received == self.finished and not (self.in_flight or self.slots_used or self.queued)


class Sitting(Record):
    """One run of a server, which sent some of the cases of a record."""

    date: str
    """When it began, UTC, ISO 8601."""
    machine: Machine
    models: tuple[ModelRecord, ...]
    server_flags: tuple[str, ...] | None = None
    """Further flags of the server; None in older records, which do not say."""
    calls: int
    seconds: float
    server: ServerState
    probes: int
    """Requests that were sent before and after all others."""
    probes_changed: int
    """Those of them that got other bytes."""
    fault_count: int
    log: tuple[str, ...]
    """The first lines of the server's log: warnings and errors."""
    is_checked: bool = True
    """Whether it came to its end, where the server must hold nothing and the probes are repeated. If not, the run was
    killed, and `server` is what the metrics said after the last calls that are counted."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong, as far as it was checked."""
        return not (self.fault_count or self.probes_changed or self.log) and (
            self.server.is_clean or not self.is_checked
        )


class FuzzRecord(Record):
    """The calls of one workload, sent in one sitting or in several. Without `sittings`, everything is a sum."""

    format_version: Literal[2] = 2
    workload: str
    seed: int
    cases: tuple[Span, ...]
    """Cases that were sent and are counted; empty in older records, which do not say."""
    calls: tuple[CallCount, ...]
    checked: int
    """Answers that were compared with their requests."""
    compared: int
    """Answers that were compared with an equal or uninterrupted piece."""
    max_call_seconds: float
    fault_count: int
    faults: tuple[Fault, ...]
    """The first of them."""
    sittings: tuple[Sitting, ...] = Field(min_length=1)
    """In order."""

    @model_validator(mode="before")
    @classmethod
    def _read_version_1(cls, data: Any) -> Any:
        """Records of version 1 have one sitting, without its flags, and its fields are beside the others."""
        if not isinstance(data, dict) or data.get("format_version") != 1:
            return data
        moved = {name: data[name] for name in _SITTING_FIELDS if name in data}
        rest = {name: value for name, value in data.items() if name not in moved}
        try:
            calls = sum(each["calls"] for each in data["calls"])
        except (KeyError, TypeError) as error:
            raise ValueError("the calls are not counted") from error
        sitting = moved | {"calls": calls, "fault_count": data.get("fault_count")}
        return rest | {"format_version": 2, "cases": (), "sittings": (sitting,)}

    @property
    def total(self) -> int:
        """Number of calls, over all sittings."""
        return sum(each.calls for each in self.calls)

    @property
    def seconds(self) -> float:
        """Of all sittings."""
        return sum(each.seconds for each in self.sittings)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong in any sitting."""
        return not self.fault_count and all(each.is_clean for each in self.sittings)


class ReadingRecord(Record):
    """One run of the MIDI reader over mutated files, in process."""

    format_version: Literal[1] = 1
    date: str
    machine: Machine
    seed: int
    files: int
    read: int
    """Files that were read."""
    refused: int
    """Files that were refused with an error of ours."""
    fault_count: int
    faults: tuple[Fault, ...]
    """Files that ended otherwise."""
    max_cpu_seconds: float
    """Of a file."""
    slowest: int
    """Index of the file that took it."""
    max_traced_bytes: int
    """Maximum memory that Python allocated for a file, of every `traced_every`th."""
    traced_every: int
    resident_bytes_start: int
    """Resident memory of a process before a few thousand files, at most."""
    resident_bytes_max: int
    """Resident memory of a process, at most."""
    seconds: float


def fuzz_lines(record: FuzzRecord) -> list[str]:
    """The record as text, one fact per line: totals, the sittings, and what is wrong."""
    return [
        *total_lines(record),
        *(line for each in record.sittings for line in _sitting_lines(each)),
        *(f"{each.method} {each.code} {each.calls:,}" for each in record.calls),
        *(f"fault {each.index} {each.method} {each.code}: {'; '.join(each.problems)}" for each in record.faults),
        *(f"log: {line[:500]}" for each in record.sittings for line in each.log),
    ]


def total_lines(record: FuzzRecord) -> list[str]:
    """The totals of a record over its sittings."""
    codes: dict[str, int] = {}
    for each in record.calls:
        codes[each.code] = codes.get(each.code, 0) + each.calls
    listed = sorted(codes.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{code} {calls:,} ({calls / max(record.total, 1):.1%})" for code, calls in listed)
    sittings = record.sittings
    repeated = [each for each in sittings if each.is_checked]
    changed, probes = (sum(getattr(each, field) for each in repeated) for field in ("probes_changed", "probes"))
    revisions = (each.machine.revision for each in sittings)
    return [
        f"{record.workload}, seed {record.seed}, {_cases(record)}, {_counted(len(sittings), 'sitting')}",
        f"{record.total:,} calls in {record.seconds:,.0f} s: {shares}",
        f"{record.checked:,} answers compared with their requests, {record.compared:,} with an equal or uninterrupted "
        f"piece; the longest call took {record.max_call_seconds:.1f} s",
        f"{record.fault_count:,} faults; {changed} of {probes} repeated requests changed; "
        f"{sum(len(each.log) for each in sittings)} warnings or errors in the log",
        f"at most {_mebibytes(max(each.server.resident_bytes_max for each in sittings))} of resident memory; "
        f"begun {_days(sittings)}, code {', '.join(dict.fromkeys(revisions))}",
    ]


def _days(sittings: Sequence[Sitting]) -> str:
    first, last = (each.date[:10] for each in (sittings[0], sittings[-1]))
    return first if first == last else f"{first} to {last}"


def _cases(record: FuzzRecord) -> str:
    listed = ", ".join(f"{span.first:,} to {span.end - 1:,}" for span in record.cases)
    return f"cases {listed}" if listed else "cases not recorded" if record.total else "no cases"


def _sitting_lines(sitting: Sitting) -> list[str]:
    models = ", ".join(f"{model.name} {model.digest[:12]} in {model.precision}" for model in sitting.models)
    flags = "unknown" if sitting.server_flags is None else " ".join(sitting.server_flags) or "none"
    server = sitting.server
    return [
        f"sitting of {sitting.date}: {sitting.calls:,} calls in {sitting.seconds:,.0f} s, "
        f"{_counted(sitting.fault_count, 'fault')}; {models}; {sitting.machine.processor}, code "
        f"{sitting.machine.revision}; flags of the server: {flags}",
        f"resident memory {_mebibytes(server.resident_bytes_start)} at the start, "
        f"{_mebibytes(server.resident_bytes_end)} at the end, {_mebibytes(server.resident_bytes_max)} at most",
        f"{server.received:,} received, {server.finished:,} finished, {server.in_flight} in flight, {server.queued} "
        f"queued, {server.slots_used} slots used"
        if sitting.is_checked
        else "killed before the check of what the server holds at the end",
    ]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def reading_lines(record: ReadingRecord) -> list[str]:
    """The record as text, one fact per line."""
    return [
        f"{record.files:,} mutated MIDI files, seed {record.seed}, {record.date}; {record.machine.processor}, code "
        f"{record.machine.revision}",
        f"{record.read:,} read, {record.refused:,} refused, {record.fault_count:,} faults, {record.seconds:,.0f} s",
        f"at most {record.max_cpu_seconds:.3f} s of CPU a file (file {record.slowest}), and "
        f"{_mebibytes(record.max_traced_bytes)} (every {record.traced_every}th file traced)",
        f"resident memory of a process {_mebibytes(record.resident_bytes_max)} at most",
        *(f"fault {each.index}: {'; '.join(each.problems)}" for each in record.faults),
    ]


def recorded_lines(folder: Path = FUZZ_RESULTS) -> dict[str, list[str]]:
    """All recorded runs of a folder as text, by name: without sittings and faults.

    Raises:
        RecordError: a file is not a record.
    """
    return {path.stem: _recorded(path) for path in sorted(folder.glob("*.json"))}


def _recorded(path: Path) -> list[str]:
    if b'"files"' in path.read_bytes():
        return reading_lines(ReadingRecord.load(path))
    return total_lines(FuzzRecord.load(path))


def result_path(name: str) -> Path:
    """Where a record with this name is kept."""
    return FUZZ_RESULTS / f"{name}.json"


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
