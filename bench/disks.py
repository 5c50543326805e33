"""What a disk gives: an append of 4 KB made durable, and a new file of 1 KB made durable."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.measure import Contender, Row, interleave


def place() -> str:
    """A directory on a real disk (not tmpfs) where fsync means something: $BENCH_DIR, else /var/tmp."""
    return os.environ.get("BENCH_DIR", "/var/tmp")


def figures(directory: str, rounds: int, count: int) -> Iterator[Row]:
    """A row for each; medians of `count` operations, in microseconds."""
    for name, operation in (("append of 4 KB, fsync", append), ("new file of 1 KB, fsync", new_file)):
        with tempfile.TemporaryDirectory(dir=directory) as top:
            contender = Contender("this disk", partial(median, partial(operation, Path(top)), count))
            interleave([contender], rounds)
            yield Row(name, "us", contender, None, None)


def median(operation: Callable[[], None], count: int) -> float:
    """Microseconds of one call."""
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        operation()
        taken.append((time.perf_counter() - start) * 1e6)
    return statistics.median(taken)


def append(top: Path) -> None:
    """To one growing file."""
    with (top / "log").open("ab", buffering=0) as file:
        file.write(bytes(4096))
        os.fsync(file.fileno())


def new_file(top: Path) -> None:
    """Create, write, make durable."""
    with (top / str(time.time_ns())).open("xb", buffering=0) as file:
        file.write(bytes(1024))
        os.fsync(file.fileno())
