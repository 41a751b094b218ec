import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.fuzz.caller import Slice, Tally
from bench.fuzz.facts import ModelFacts
from bench.fuzz.record import FUZZ_RESULTS, Fault, FuzzRecord
from bench.fuzz.run import FuzzOptions, run_fuzz
from bench.options import BenchError

OPTIONS = FuzzOptions("requests", calls=3500, seed=4, processes=1, server=("--slots=8",))


class IdleTarget:
    """A server that holds nothing."""

    address = "nowhere"
    is_running = True
    resident_bytes = 3
    max_resident_bytes = 4
    log: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        names = (
            "requests_received_total",
            "requests_finished_total",
            "requests_in_flight",
            "slots_used",
            "queue_length",
        )
        return dict.fromkeys((f"fantasia_{name}" for name in names), 0.0)


Run = Callable[[Callable[[Slice], Tally]], None]


@pytest.fixture
def sends(duet: ModelFacts, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Let runs give their slices to a function instead of a server."""

    @contextmanager
    def target(*_: object) -> Iterator[IdleTarget]:
        yield IdleTarget()

    async def probe(*_: object) -> tuple[Any, Any]:
        return (duet,), [(b"request", b"answer")]

    monkeypatch.setattr("bench.fuzz.run.fuzz_target", target)
    monkeypatch.setattr("bench.fuzz.run._probe", probe)
    monkeypatch.setattr("bench.fuzz.run.ProcessPoolExecutor", lambda processes, *_: ThreadPoolExecutor(processes))
    return lambda send: monkeypatch.setattr("bench.fuzz.run.run_slice", send)


def tally(part: Slice) -> Tally:
    fault = Fault(index=part.first, method="Generate", code="OK", problems=(str(part.first),), payload="")
    counts = Counter({("Generate", "OK"): part.count - 1, ("Evaluate", "OK"): 1})
    return Tally(counts, checked=part.count, compared=2, max_seconds=part.first, fault_count=1, faults=[fault])


def spans(record: FuzzRecord) -> list[tuple[int, int]]:
    return [(span.first, span.end) for span in record.cases]


def test_a_killed_run_is_continued_with_the_cases_that_are_left(sends: Run) -> None:
    def dies(part: Slice) -> Tally:
        if part.first == 2000:
            raise KeyboardInterrupt
        return tally(part)

    def continues(part: Slice) -> Tally:
        sent.append((part.first, part.count, part.seed))
        return tally(part)

    kept: list[FuzzRecord] = []
    sent: list[tuple[int, int, int]] = []
    sends(dies)
    with pytest.raises(KeyboardInterrupt):
        run_fuzz(OPTIONS, checkpoint=kept.append)
    sends(continues)
    found = run_fuzz(OPTIONS, kept[-1])

    assert [spans(each) for each in kept] == [[(0, 1000)], [(0, 2000)]]
    assert sent == [(2000, 1000, 4), (3000, 500, 4)]
    assert spans(found) == [(0, 3500)]
    assert {each.method: each.calls for each in found.calls} == {"Generate": 3496, "Evaluate": 4}
    assert (found.total, found.checked, found.compared, found.max_call_seconds) == (3500, 3500, 8, 3000)
    assert (found.fault_count, [each.index for each in found.faults]) == (4, [0, 1000])
    assert [(each.calls, each.fault_count, each.is_checked) for each in found.sittings] == [
        (2000, 2, False),
        (1500, 2, True),
    ]
    assert found.sittings[0] == kept[-1].sittings[0]
    assert found.sittings[1].server_flags == ("--slots=8",)
    assert [model.digest for model in found.sittings[1].models] == ["d" * 64]


def test_an_interrupted_run_counts_its_slices_and_ends_with_the_checks(sends: Run) -> None:
    def interrupted(part: Slice) -> Tally:
        if part.first == 1000:
            os.kill(os.getpid(), signal.SIGINT)
        return tally(part)

    sends(interrupted)
    found = run_fuzz(OPTIONS)

    assert spans(found) == [(0, 2000)]
    assert [(each.calls, each.probes, each.is_checked) for each in found.sittings] == [(2000, 1, True)]


def test_a_finished_record_starts_no_server(sends: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sends(tally)
    found = run_fuzz(OPTIONS)
    monkeypatch.delattr("bench.fuzz.run.fuzz_target")

    assert run_fuzz(OPTIONS, found) is found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (FuzzOptions("requests", calls=9000), "is of midi with seed 1, not of requests with seed 1"),
        (FuzzOptions("midi", calls=9000, seed=2), "is of midi with seed 1, not of midi with seed 2"),
        (FuzzOptions("midi", calls=9000), "does not say which cases were sent"),
    ],
)
def test_a_record_of_other_or_unknown_cases_is_not_continued(options: FuzzOptions, message: str) -> None:
    earlier = FuzzRecord.load(Path(FUZZ_RESULTS / "xeon-2-cores-midi.json"))

    with pytest.raises(BenchError, match=message):
        run_fuzz(options, earlier)
