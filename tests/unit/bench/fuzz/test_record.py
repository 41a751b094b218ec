import json
from pathlib import Path

import pytest

from bench.fuzz.record import (
    FUZZ_RESULTS,
    CallCount,
    Fault,
    FuzzRecord,
    ModelRecord,
    ReadingRecord,
    ServerState,
    Sitting,
    fuzz_lines,
    reading_lines,
    recorded_lines,
    some_of_each_kind,
)
from bench.fuzz.spans import Span
from report import RecordError
from tests.unit.bench.records import machine


def fault(index: int, problem: str) -> Fault:
    return Fault(index=index, method="Generate", code="OK", problems=(problem,), payload="")


def sitting(**changes: object) -> Sitting:
    state = ServerState(
        resident_bytes_start=200 << 20,
        resident_bytes_end=210 << 20,
        resident_bytes_max=250 << 20,
        received=105,
        finished=105,
        in_flight=0,
        slots_used=0,
        queued=0,
    )
    return Sitting(
        date="2030-01-02T03:04:05+00:00",
        machine=machine(),
        models=(ModelRecord(name="chorales", digest="d" * 64, precision="int8"),),
        server_flags=("--slots=8", "--threads=1"),
        calls=100,
        seconds=60.0,
        server=state,
        probes=20,
        probes_changed=0,
        fault_count=0,
        log=(),
    ).model_copy(update=changes)


def record(*sittings: Sitting, **changes: object) -> FuzzRecord:
    return FuzzRecord(
        workload="requests",
        seed=1,
        cases=(Span(first=0, end=90), Span(first=110, end=120)),
        calls=(
            CallCount(method="Evaluate", code="OK", calls=20),
            CallCount(method="Generate", code="INVALID_ARGUMENT", calls=60),
            CallCount(method="Generate", code="OK", calls=20),
        ),
        checked=40,
        compared=3,
        max_call_seconds=1.25,
        fault_count=0,
        faults=(),
        sittings=sittings or (sitting(),),
    ).model_copy(update=changes)


def test_the_lines_say_what_was_sent_and_what_is_held() -> None:
    lines = fuzz_lines(record())

    assert lines[:2] == [
        "requests, seed 1, cases 0 to 89, 110 to 119, 1 sitting",
        "100 calls in 60 s: INVALID_ARGUMENT 60 (60.0%), OK 40 (40.0%)",
    ]
    assert lines[5].startswith(
        "sitting of 2030-01-02T03:04:05+00:00: 100 calls in 60 s, 0 faults; chorales dddddddddddd"
    )
    assert lines[5].endswith("flags of the server: --slots=8 --threads=1")
    assert "resident memory 200 MiB at the start, 210 MiB at the end, 250 MiB at most" in lines
    assert "105 received, 105 finished, 0 in flight, 0 queued, 0 slots used" in lines
    assert lines[4].startswith("at most 250 MiB of resident memory; begun 2030-01-02, code ")
    assert "Generate INVALID_ARGUMENT 60" in lines
    assert fuzz_lines(record(cases=(), calls=()))[0] == "requests, seed 1, no cases, 1 sitting"


def test_the_lines_have_sums_over_sittings_and_each_sitting() -> None:
    killed = sitting(date="2030-01-01", seconds=40.0, is_checked=False, log=("level=error",))
    lines = fuzz_lines(record(killed, sitting(probes_changed=2)))

    assert lines[0].endswith("2 sittings")
    assert lines[1].startswith("100 calls in 100 s: ")
    assert lines[3] == "0 faults; 2 of 20 repeated requests changed; 1 warnings or errors in the log"
    assert [line[:21] for line in lines if line.startswith("sitting of")] == [
        "sitting of 2030-01-01",
        "sitting of 2030-01-02",
    ]
    assert sum(line.startswith("killed before ") for line in lines) == 1
    assert lines[-1] == "log: level=error"


def test_faults_changes_log_lines_and_held_slots_are_not_clean() -> None:
    assert record().is_clean
    assert not record(fault_count=1, faults=(fault(3, "x"),)).is_clean
    wrong: list[dict[str, object]] = [{"probes_changed": 1}, {"fault_count": 1}, {"log": ("level=error",)}]
    held: list[dict[str, object]] = [{"slots_used": 1}, {"in_flight": 1}, {"queued": 1}, {"finished": 104}]
    wrong += [{"server": sitting().server.model_copy(update=state)} for state in held]
    for changes in wrong:
        assert not record(sitting(), sitting(**changes)).is_clean
    assert not record(sitting(is_checked=False, **wrong[0])).is_clean
    assert record(sitting(is_checked=False, **wrong[-1])).is_clean


def test_a_record_of_version_1_is_one_sitting() -> None:
    found = FuzzRecord.load(FUZZ_RESULTS / "xeon-2-cores-midi.json")

    assert (found.workload, found.total, found.cases, found.is_clean) == ("midi", 5000, (), True)
    assert [(each.calls, each.server_flags, each.probes) for each in found.sittings] == [(5000, None, 20)]
    assert fuzz_lines(found)[0] == "midi, seed 1, cases not recorded, 1 sitting"
    assert FuzzRecord.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("changes", [{"calls": None}, {"calls": [3]}, {"date": 3}, {"extra": 1}])
def test_a_wrong_record_of_version_1_is_an_error(changes: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(json.loads((FUZZ_RESULTS / "xeon-2-cores-midi.json").read_text()) | changes))

    with pytest.raises(RecordError, match="is not a valid FuzzRecord"):
        FuzzRecord.load(path)


def test_recorded_runs_of_both_kinds_are_listed() -> None:
    found = recorded_lines()

    assert found["xeon-2-cores-midi"][0] == "midi, seed 1, cases not recorded, 1 sitting"
    assert found["xeon-2-cores-read"][0].startswith("100,000 mutated MIDI files, seed 1, ")


def test_some_faults_of_each_kind_are_kept() -> None:
    faults = [fault(index, f"'{index}' has {index} ticks") for index in range(5)] + [fault(9, "another")]

    assert [each.index for each in some_of_each_kind(faults)] == [0, 1, 9]


def test_the_lines_of_read_files() -> None:
    lines = reading_lines(
        ReadingRecord(
            date="2030-01-02T03:04:05+00:00",
            machine=machine(),
            seed=1,
            files=1000,
            read=200,
            refused=799,
            fault_count=1,
            faults=(fault(7, "IndexError()"),),
            max_cpu_seconds=0.25,
            slowest=84,
            max_traced_bytes=3 << 20,
            traced_every=50,
            resident_bytes_start=50 << 20,
            resident_bytes_max=70 << 20,
            seconds=10.0,
        )
    )

    assert lines[1] == "200 read, 799 refused, 1 faults, 10 s"
    assert "at most 0.250 s of CPU a file (file 84), and 3 MiB (every 50th file traced)" in lines
    assert lines[-1] == "fault 7: IndexError()"
