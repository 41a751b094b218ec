"""Reads files in processes that may crash, run out of memory or hang without affecting other files.

Every process has its own pipe, so the parent knows which file each process reads, and only that file is lost. The
standard library's `ProcessPoolExecutor` fails every pending file when one process dies, and has no time limit.
"""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Any, Final, Generic, TypeVar

from music.errors import InvalidScoreError
from runtime.threads import read_cpu_budget
from training.corpus.sources import Source
from training.memory import available_memory, limit_memory, prefer_oom_kill

_FILES_PER_PROCESS: Final = 200  # music21 does not release memory, so processes are replaced
_USUAL_MEMORY: Final = 512 << 20
_MIN_MEMORY: Final = 256 << 20
_START_SECONDS: Final = 300.0  # start of a process on a busy machine
_MEMORY_SHARE: Final = 0.8
_MEBIBYTE: Final = 1 << 20

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file could not be read."""

    reason: str


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Limits of the reading processes."""

    workers: int
    """Number of processes."""
    seconds: float = 600.0
    """Time limit for one file."""
    memory_bytes: int | None = None
    """Memory limit of one process; None for no limit."""

    @classmethod
    def of_machine(cls, workers: int | None = None, *, seconds: float = 600.0) -> "ReadLimits":
        """One process per usable core; together the processes get four fifths of the available memory.

        Each process gets at least 512 MiB, so with little memory there are fewer processes than asked for. A single
        process always gets 256 MiB, which music21 needs to read anything.
        """
        workers = workers or usable_cores()
        available = available_memory()
        if available is None:
            return cls(workers, seconds)
        shared = int(available * _MEMORY_SHARE)
        workers = max(1, min(workers, shared // _USUAL_MEMORY))
        return cls(workers, seconds, max(shared // workers, _MIN_MEMORY))


def usable_cores() -> int:
    """Number of cores that this process may use, by its affinity and its control groups' quota; at least 1."""
    return max(1, int(read_cpu_budget().share))


def read_in_processes(
    sources: Sequence[Source], read: Callable[[Source], ResultT], limits: ReadLimits
) -> Iterator[tuple[Source, ResultT | Failure]]:
    """Yield each source with its result or the reason of its failure, in order of completion.

    A file whose process died is read once more at the end, alone, since another file may have used up the memory.

    Args:
        sources: files to read.
        read: a module-level function, since the processes import it by name. An exception fails only its file.
        limits: processes, time and memory.
    """
    died: list[Source] = []
    for source, outcome in _read_round(sources, read, limits):
        if isinstance(outcome, _Died):
            died.append(source)
        else:
            yield source, outcome
    for source in died:
        for _, outcome in _read_round([source], read, limits):
            yield source, Failure(outcome.reason) if isinstance(outcome, _Died) else outcome


@dataclass(frozen=True, slots=True)
class _Died:
    """How the process that read a file ended."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Ready:
    """A process has started and is ready to read."""


@dataclass(slots=True)
class _Worker(Generic[ResultT]):
    """A reading process and the file that it is reading."""

    process: Any
    connection: Connection
    source: Source | None = None
    deadline: float = 0.0
    files: int = 0

    @classmethod
    def start(
        cls, context: SpawnContext, read: Callable[[Source], ResultT], memory_bytes: int | None
    ) -> "_Worker[ResultT]":
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, read, memory_bytes), daemon=True)
        process.start()
        theirs.close()  # the pipe then closes when the process ends
        return cls(process, ours)

    def send(self, source: Source, seconds: float) -> None:
        self.source = source
        self.set_deadline(seconds)
        self.files += 1
        with suppress(OSError):  # the process has died; `take` reports it
            self.connection.send(source)

    def set_deadline(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def receive(self) -> ResultT | Failure | _Died | _Ready:
        """Receive the result, or how the process ended."""
        try:
            outcome: ResultT | Failure | _Ready = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return _Died(_in_words(self.process.exitcode))
        return outcome

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.connection.close()


def _read_round(
    sources: Sequence[Source], read: Callable[[Source], ResultT], limits: ReadLimits
) -> Iterator[tuple[Source, ResultT | Failure | _Died]]:
    context = multiprocessing.get_context("spawn")  # forking a process with threads is unsafe
    waiting = deque(sources)
    workers: list[_Worker[ResultT]] = []

    def remove(worker: _Worker[ResultT]) -> None:
        workers.remove(worker)
        worker.stop()

    try:
        while waiting or workers:
            while waiting and len(workers) < limits.workers:
                workers.append(_Worker[ResultT].start(context, read, limits.memory_bytes))
                workers[-1].send(waiting.popleft(), limits.seconds + _START_SECONDS)
            by_connection = {worker.connection: worker for worker in workers}
            timeout = min(worker.deadline for worker in workers) - time.monotonic()
            for connection in wait(list(by_connection), max(0.0, timeout)):
                worker = by_connection[connection]  # type: ignore[index]
                source = worker.source
                assert source is not None
                outcome = worker.receive()
                if isinstance(outcome, _Ready):
                    worker.set_deadline(limits.seconds)
                    continue
                if isinstance(outcome, _Died) or not waiting or worker.files >= _FILES_PER_PROCESS:
                    remove(worker)
                else:
                    worker.send(waiting.popleft(), limits.seconds)
                yield source, outcome
            expired = [worker for worker in workers if worker.deadline <= time.monotonic()]
            for worker in expired:
                if worker.connection.poll():
                    continue  # finished in the meantime
                assert worker.source is not None
                source = worker.source
                remove(worker)
                yield source, Failure(f"not read within {limits.seconds:g} seconds")
    finally:
        for worker in workers:
            worker.stop()


def _serve(connection: Connection, read: Callable[[Source], ResultT], memory_bytes: int | None) -> None:
    """Read the files that the parent sends, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too and stops this process
    prefer_oom_kill()  # not the parent, which holds all results
    if memory_bytes is not None:
        limit_memory(memory_bytes)
    with suppress(OSError):
        connection.send(_Ready())
    while True:
        try:
            source = connection.recv()
            connection.send(_outcome(read, source, memory_bytes))
        except (EOFError, OSError):  # the parent has ended
            return


def _outcome(read: Callable[[Source], ResultT], source: Source, memory_bytes: int | None) -> ResultT | Failure:
    try:
        return read(source)
    except Exception as error:  # parsers raise anything; only this file fails
        if _is_memory_error(error):
            bound = "" if memory_bytes is None else f" than {memory_bytes // _MEBIBYTE} MiB"
            return Failure(f"takes more memory{bound} to read")
        if isinstance(error, OSError):
            return Failure(error.strerror or str(error))
        return Failure(str(error) if isinstance(error, InvalidScoreError) else f"{type(error).__name__}: {error}")


def _is_memory_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__
    return False


def _in_words(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        killed = "; the system does so where memory is short" if -exit_code == getattr(signal, "SIGKILL", None) else ""
        name = signal.Signals(-exit_code).name if -exit_code in list(signal.Signals) else f"signal {-exit_code}"
        return f"the process that read it was ended by {name}{killed}"
    return f"the process that read it ended with code {exit_code}" if os.name != "nt" else "its process ended"
