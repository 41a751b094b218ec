"""Processes that read files, each file at its own risk.

A file may kill the process that reads it, fill its memory or never end. Every process has a pipe of its own, so it is
always known which file it holds, and that file alone is lost. The standard library's `ProcessPoolExecutor` gives up
every file when one process dies, and has no time limit.
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
from server.engine.threads import read_cpu
from training.memory import available_memory, bound_memory, offer_to_be_killed
from training.sources import Source

_FILES_PER_PROCESS: Final = 200  # music21 never gives its memory back, so processes are renewed
_ORDINARY_MEMORY: Final = 512 << 20
_LEAST_MEMORY: Final = 256 << 20
_START_SECONDS: Final = 300.0  # a process on a busy machine
_MEMORY_SHARE: Final = 0.8
_MEBIBYTE: Final = 1 << 20

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file gave nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What the reading may take."""

    workers: int
    """Reading processes."""
    seconds: float = 600.0
    """Longest time for one file."""
    memory_bytes: int | None = None
    """Most memory that one process takes for its files; None for no bound."""

    @classmethod
    def of_machine(cls, workers: int | None = None, *, seconds: float = 600.0) -> "ReadLimits":
        """As many processes as this process may use cores for, and four fifths of the free memory among them.

        A process has 512 MiB at least, so where there is little memory there are fewer processes than asked for. A
        single one has 256 MiB in any case, without which music21 reads nothing.
        """
        workers = workers or usable_cores()
        available = available_memory()
        if available is None:
            return cls(workers, seconds)
        shared = int(available * _MEMORY_SHARE)
        workers = max(1, min(workers, shared // _ORDINARY_MEMORY))
        return cls(workers, seconds, max(shared // workers, _LEAST_MEMORY))


def usable_cores() -> int:
    """Cores' worth of time that this process may take, by its affinity and the quota of its control groups."""
    return max(1, int(read_cpu().share))


def read_in_processes(
    sources: Sequence[Source], read: Callable[[Source], ResultT], limits: ReadLimits
) -> Iterator[tuple[Source, ResultT | Failure]]:
    """What each source gave, in the order in which they are done, or why it gave nothing.

    A file whose process died is read once more, alone, at the end: where memory was short, another file may have
    been the cause.

    Args:
        sources: files to read.
        read: a function of a module, since the processes must find it by name. What it raises fails its file alone.
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
    """How the process ended that held a file."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Ready:
    """A process has started; from now on it reads."""


@dataclass(slots=True)
class _Worker(Generic[ResultT]):
    """A reading process, and the file that it holds."""

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
        theirs.close()  # so that the pipe ends when the process does
        return cls(process, ours)

    def give(self, source: Source, seconds: float) -> None:
        self.source = source
        self.allow(seconds)
        self.files += 1
        with suppress(OSError):  # a process that is dead already: its pipe says so when it is read
            self.connection.send(source)

    def allow(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def take(self) -> ResultT | Failure | _Died | _Ready:
        """What the process sent, or how it ended."""
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
    context = multiprocessing.get_context("spawn")  # forking a process that has threads is asking for trouble
    waiting = deque(sources)
    workers: list[_Worker[ResultT]] = []

    def remove(worker: _Worker[ResultT]) -> None:
        workers.remove(worker)
        worker.stop()

    try:
        while waiting or workers:
            while waiting and len(workers) < limits.workers:
                workers.append(_Worker[ResultT].start(context, read, limits.memory_bytes))
                workers[-1].give(waiting.popleft(), limits.seconds + _START_SECONDS)
            by_connection = {worker.connection: worker for worker in workers}
            patience = min(worker.deadline for worker in workers) - time.monotonic()
            for connection in wait(list(by_connection), max(0.0, patience)):
                worker = by_connection[connection]  # type: ignore[index]
                source = worker.source
                assert source is not None
                outcome = worker.take()
                if isinstance(outcome, _Ready):
                    worker.allow(limits.seconds)
                    continue
                if isinstance(outcome, _Died) or not waiting or worker.files >= _FILES_PER_PROCESS:
                    remove(worker)
                else:
                    worker.give(waiting.popleft(), limits.seconds)
                yield source, outcome
            late = [worker for worker in workers if worker.deadline <= time.monotonic()]
            for worker in late:
                if worker.connection.poll():
                    continue  # done in the meantime
                assert worker.source is not None
                source = worker.source
                remove(worker)
                yield source, Failure(f"not read within {limits.seconds:g} seconds")
    finally:
        for worker in workers:
            worker.stop()


def _serve(connection: Connection, read: Callable[[Source], ResultT], memory_bytes: int | None) -> None:
    """Read what comes down the pipe until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    offer_to_be_killed()  # the parent has what all the others have read
    if memory_bytes is not None:
        bound_memory(memory_bytes)
    with suppress(OSError):
        connection.send(_Ready())
    while True:
        try:
            source = connection.recv()
            connection.send(_outcome(read, source, memory_bytes))
        except (EOFError, OSError):  # the parent is gone
            return


def _outcome(read: Callable[[Source], ResultT], source: Source, memory_bytes: int | None) -> ResultT | Failure:
    try:
        return read(source)
    except Exception as error:  # whatever a parser meets: it costs this file alone
        if _of_memory(error):
            bound = "" if memory_bytes is None else f" than {memory_bytes // _MEBIBYTE} MiB"
            return Failure(f"takes more memory{bound} to read")
        if isinstance(error, OSError):
            return Failure(error.strerror or str(error))
        return Failure(str(error) if isinstance(error, InvalidScoreError) else f"{type(error).__name__}: {error}")


def _of_memory(error: BaseException | None) -> bool:
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
