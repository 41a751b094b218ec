import multiprocessing
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from runtime.threads import CpuBudget
from tests.unit.training.corpus.reading_functions import MEBIBYTE, kill_once, process_id, read_text, sources_of
from training.corpus import reading_pool
from training.corpus.reading_pool import Failure, ReadLimits, read_in_processes, usable_cores
from training.corpus.sources import Source

KILLED = "the process that read it was ended by SIGKILL; the system does so where memory is short"


def outcomes(folder: Path, contents: dict[str, str], limits: ReadLimits) -> dict[str, str | Failure]:
    found = list(read_in_processes(sources_of(folder, contents), read_text, limits))
    assert len(found) == len(contents), "every file once"
    assert not multiprocessing.active_children()
    return {source.name: outcome for source, outcome in found}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_costs_itself_alone(tmp_path: Path, workers: int) -> None:
    good = {f"good{index}": f"text {index}" for index in range(12)}
    bad = {"a": "kill", "good2a": "exit", "good5a": "fail", "good6a": "defect", "z": "kill"}
    found = outcomes(tmp_path, dict(sorted((good | bad).items())), ReadLimits(workers))
    assert {name: found[name] for name in good} == good
    assert {name: found[name] for name in bad} == {
        "a": Failure(KILLED),
        "good2a": Failure("the process that read it ended with code 0"),
        "good5a": Failure("no note in it"),
        "good6a": Failure("KeyError: 'pitch'"),
        "z": Failure(KILLED),
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no bound on memory elsewhere")
def test_memory_of_a_process_is_bounded(tmp_path: Path) -> None:
    contents = {"a": "one", "b": "fill", "c": "two", "d": "hog", "e": "three"}
    found = outcomes(tmp_path, contents, ReadLimits(1, memory_bytes=300 * MEBIBYTE))
    refused = Failure("takes more memory than 300 MiB to read")
    assert found == {"a": "one", "b": refused, "c": "two", "d": refused, "e": "three"}


@pytest.mark.skipif(sys.platform != "linux", reason="no such order elsewhere")
def test_the_kernel_ends_a_reading_process_before_others(tmp_path: Path) -> None:
    (tmp_path / "order").symlink_to("/proc/self/oom_score_adj")
    found = list(read_in_processes([Source("order", tmp_path / "order")], read_text, ReadLimits(1)))
    assert [outcome for _, outcome in found] == ["1000\n"]


@pytest.mark.slow
def test_a_reader_that_never_ends_is_ended(tmp_path: Path) -> None:
    contents = {"a": "one", "b": "sleep", "c": "two", "d": "sleep"}
    found = outcomes(tmp_path, contents, ReadLimits(2, seconds=2.0))
    late = Failure("not read within 2 seconds")
    assert found == {"a": "one", "b": late, "c": "two", "d": late}


@pytest.mark.slow
def test_a_file_whose_process_was_killed_for_the_sake_of_another_is_read_again(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, {"first": "", "unlucky": "", "last": ""})
    assert [outcome for _, outcome in read_in_processes(sources, kill_once, ReadLimits(1))] == [
        "first", "last", "unlucky",
    ]  # fmt: skip


@pytest.mark.slow
def test_processes_are_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_pool, "_FILES_PER_PROCESS", 3)
    sources = sources_of(tmp_path, {str(index): "" for index in range(7)})
    readers = Counter(outcome for _, outcome in read_in_processes(sources, process_id, ReadLimits(1)))
    assert sorted(readers.values()) == [1, 3, 3]
    assert os.getpid() not in readers


@pytest.mark.slow
def test_no_process_outlives_an_abandoned_reading(tmp_path: Path) -> None:
    reading = read_in_processes(sources_of(tmp_path, {"a": "one", "b": "sleep"}), read_text, ReadLimits(2))
    assert next(reading)[1] == "one"
    assert multiprocessing.active_children()
    reading.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("cpu", "cores"), [(CpuBudget(64, 2.5), 2), (CpuBudget(3), 3), (CpuBudget(64, 0.5), 1)])
def test_as_many_processes_as_the_limits_give(monkeypatch: pytest.MonkeyPatch, cpu: CpuBudget, cores: int) -> None:
    monkeypatch.setattr(reading_pool, "read_cpu_budget", lambda: cpu)
    monkeypatch.setattr(reading_pool, "available_memory", lambda: None)
    assert usable_cores() == cores
    assert ReadLimits.of_machine() == ReadLimits(cores)
    assert ReadLimits.of_machine(5, seconds=7) == ReadLimits(5, 7)


@pytest.mark.parametrize(
    ("mebibytes", "workers", "each"),
    [(10_240, 4, 2048), (1_280, 2, 512), (600, 1, 480), (100, 1, 256)],
)
def test_memory_is_divided_among_the_processes(
    monkeypatch: pytest.MonkeyPatch, mebibytes: int, workers: int, each: int
) -> None:
    monkeypatch.setattr(reading_pool, "available_memory", lambda: mebibytes * MEBIBYTE)
    assert ReadLimits.of_machine(4) == ReadLimits(workers, 600.0, each * MEBIBYTE)
