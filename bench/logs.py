"""multilog, tai64n and tai64nlocal against Debian's."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench import disks, servers
from bench.plan import Figures, Plan, compare
from qserver.base.tai64n import label

FOUR_PATTERNS = ("-*", "+* status *", "-* * line number 4*", "+* others line number 1*")
"""They select about half of the lines."""
DIRECTORY = ("s1000000", "n10", "./dir")
MEMORY = "/dev/shm"


def pipe_rate(argv: list[str], source: Path, size: int, cwd: str, zone: dict[str, str]) -> float:
    """MB/s of a filter that reads `source`."""
    with source.open("rb") as file:
        start = time.perf_counter()
        subprocess.run(argv, stdin=file, stdout=subprocess.DEVNULL, cwd=cwd, env=servers.environment(**zone), check=True)
        return size / 1e6 / (time.perf_counter() - start)


def text_lines(path: Path, count: int, stamped: bool = False) -> int:
    """`count` lines of 100 bytes; with a TAI64N label in front if `stamped`. Returns the size."""
    with path.open("wb") as file:
        for number in range(count):
            ns = (1_700_000_000 + number // 100) * 10**9 + number
            stamp = label(ns) + b" " if stamped else b""
            word = b"status" if number % 4 == 0 else b"others"
            file.write((stamp + b"%s line number %d " % (word, number)).ljust(99, b"x") + b"\n")
    return path.stat().st_size


def figures(plan: Plan) -> Figures:
    """multilog to a tmpfs and to a disk, tai64n, tai64nlocal; 100-byte lines from a file."""
    with ExitStack() as stack:
        disk, memory, sources = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(dir=where))) for where in (disks.place(), MEMORY, None)
        )
        plain, stamped = sources / "plain", sources / "stamped"
        size = text_lines(plain, plan.count(400_000))
        stamped_size = text_lines(stamped, plan.count(400_000), stamped=True)
        rotating, patterns = ["multilog", "t", *DIRECTORY], ["multilog", "t", *FOUR_PATTERNS, *DIRECTORY]
        for name, words, source, n, top, goal in (
            ("multilog t s1000000 n10, tmpfs", rotating, plain, size, memory, 3.0),
            ("multilog t s1000000 n10, disk", rotating, plain, size, disk, None),
            ("multilog with four patterns, tmpfs", patterns, plain, size, memory, 1.0),
            ("multilog with four patterns, disk", patterns, plain, size, disk, None),
            ("tai64n", ["tai64n"], plain, size, disk, 1.5),
            ("tai64nlocal", ["tai64nlocal"], stamped, stamped_size, disk, 1.2),
            ("tai64nlocal with TZ", ["tai64nlocal"], stamped, stamped_size, disk, None),
        ):
            zone = {"TZ": "Europe/Berlin"} if name.endswith(" TZ") else {}
            with _places(top) as (here, there):
                yield compare(
                    plan,
                    f"{name}, 100-byte lines",
                    "MB/s",
                    partial(pipe_rate, [str(servers.BIN / words[0]), *words[1:]], source, n, str(here), zone),
                    f"{words[0]} (C)",
                    partial(pipe_rate, [servers.peer(words[0]), *words[1:]], source, n, str(there), zone),
                    goal,
                )


@contextmanager
def _places(top: Path) -> Iterator[tuple[Path, Path]]:
    """A directory for each side, new for each row."""
    with tempfile.TemporaryDirectory(dir=top) as ours, tempfile.TemporaryDirectory(dir=top) as theirs:
        yield Path(ours), Path(theirs)
