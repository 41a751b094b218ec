"""Reads mutated MIDI files in process, and measures time and memory of each."""

import base64
import random
import resource
import sys
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import psutil

from bench.fuzz.midi_files import hostile_file, seeds
from bench.fuzz.record import Fault, ReadingRecord
from bench.machine import describe_machine
from music.errors import FantasiaError
from music.midi import MidiLimits, read_midi
from music.note_counts import NoteCounts

TRACED_EVERY: Final = 50
_SLICE: Final = 2000
_MAX_FAULTS: Final = 10
_MAX_PAYLOAD: Final = 64 << 10
_LIMITS: Final = MidiLimits(max_bytes=1 << 19, max_tracks=64, max_notes=20_000, max_length_ticks=1024 * 16 * 480)
"""As the server limits given files."""


@dataclass(slots=True)
class Reading:
    """What a slice of files found."""

    files: int = 0
    read: int = 0
    refused: int = 0
    fault_count: int = 0
    faults: list[Fault] = field(default_factory=list)
    max_seconds: float = 0.0
    slowest: int = 0
    max_traced_bytes: int = 0
    resident_bytes_start: int = 0
    resident_bytes_max: int = 0

    def add(self, other: "Reading") -> None:
        """Add what others found."""
        self.files += other.files
        self.read += other.read
        self.refused += other.refused
        self.fault_count += other.fault_count
        self.faults = (self.faults + other.faults)[:_MAX_FAULTS]
        if other.max_seconds > self.max_seconds:
            self.max_seconds, self.slowest = other.max_seconds, other.slowest
        self.max_traced_bytes = max(self.max_traced_bytes, other.max_traced_bytes)
        self.resident_bytes_start = max(self.resident_bytes_start, other.resident_bytes_start)
        self.resident_bytes_max = max(self.resident_bytes_max, other.resident_bytes_max)


def run_reading(files: int, models: Path, seed: int, processes: int) -> ReadingRecord:
    """Read mutated files in several processes; progress goes to stderr.

    Args:
        files: number of files.
        models: folder of bundles, whose samples are mutated.
        seed: of all files.
        processes: number of processes.
    """
    began, date = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    total = Reading()
    with ProcessPoolExecutor(processes, get_context("spawn")) as executor:
        starts = range(0, files, _SLICE)
        futures = [executor.submit(read_slice, models, seed, first, min(_SLICE, files - first)) for first in starts]
        for future in as_completed(futures):
            total.add(future.result())
            sys.stderr.write(f"{total.files:,} of {files:,} files, {total.fault_count} faults\n")
    return ReadingRecord(
        date=date,
        machine=describe_machine(),
        seed=seed,
        files=total.files,
        read=total.read,
        refused=total.refused,
        fault_count=total.fault_count,
        faults=tuple(total.faults),
        max_cpu_seconds=total.max_seconds,
        slowest=total.slowest,
        max_traced_bytes=total.max_traced_bytes,
        traced_every=TRACED_EVERY,
        resident_bytes_start=total.resident_bytes_start,
        resident_bytes_max=total.resident_bytes_max,
        seconds=time.monotonic() - began,
    )


def read_slice(models: Path, seed: int, first: int, count: int) -> Reading:
    """Read the files with these indices."""
    others = seeds(models)
    found = Reading(resident_bytes_start=int(psutil.Process().memory_info().rss))
    for index in range(first, first + count):
        data = hostile_file(random.Random(f"{seed} {index}"), others)
        is_traced = index % TRACED_EVERY == 0
        if is_traced:
            tracemalloc.start()
        began = time.thread_time()
        try:
            read_midi(data, NoteCounts(), _LIMITS)
        except FantasiaError:
            found.refused += 1
        except Exception as error:  # any other error is a fault
            found.fault_count += 1
            if len(found.faults) < _MAX_FAULTS:
                payload = base64.b64encode(data[:_MAX_PAYLOAD]).decode()
                found.faults.append(
                    Fault(index=index, method="read_midi", code="", problems=(repr(error)[:500],), payload=payload)
                )
        else:
            found.read += 1
        seconds = time.thread_time() - began
        if is_traced:
            found.max_traced_bytes = max(found.max_traced_bytes, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        elif seconds > found.max_seconds:
            found.max_seconds, found.slowest = seconds, index
        found.files += 1
    found.resident_bytes_max = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found
