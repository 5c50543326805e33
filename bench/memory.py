"""Memory of a server and all that it has started."""

from __future__ import annotations

from pathlib import Path

import psutil


def memory_of(pid: int) -> int:
    """PSS in KiB of a process and all below it."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except (OSError, psutil.Error):
            continue
    return total
