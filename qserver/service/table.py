"""All services of some directories, with what their processes use: the rows of svtop."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import psutil

from qserver.service import detail, fields, logtail, place, status
from qserver.service.logtail import Tail
from qserver.service.status import Status

LOG = "log"
NO_SUPERVISE, BAD_STATUS = "no supervise", "bad status"


class Row(NamedTuple):
    """One process of a service: what it is, and what it and its descendants use. None: nobody knows."""

    name: str
    state: str
    ready: bool | None
    seconds: int | None
    restarts: int | None
    pid: int
    tree: tuple[tuple[int, int, str], ...]
    """Depth, pid and name of each process, the service's own first."""
    cpu: float | None
    """Percent of one core since the last look."""
    memory: int | None
    """Bytes, what is shared counted in proportion (PSS)."""
    log_rate: float | None
    """Bytes a second."""
    last_line: bytes


class Processes:
    """One look at all processes of the host."""

    def __init__(self) -> None:
        self.when = time.monotonic()
        self._known: dict[int, psutil.Process] = {}
        self._children: dict[int, list[int]] = {}
        self._cpu: dict[int, float] = {}
        for process in psutil.process_iter(["ppid", "cpu_times"]):
            times = process.info["cpu_times"]
            self._known[process.pid] = process
            self._children.setdefault(process.info["ppid"], []).append(process.pid)
            self._cpu[process.pid] = times.user + times.system if times else 0.0

    def tree(self, pid: int, depth: int = 0) -> Iterator[tuple[int, int, str]]:
        """Depth, pid and name of a process and all below it."""
        if pid in self._known:
            try:
                yield depth, pid, self._known[pid].name()
            except psutil.Error:
                return
            for child in self._children.get(pid, []):
                yield from self.tree(child, depth + 1)

    def cpu(self, pids: list[int], before: Processes) -> float | None:
        """Percent of a core that these have used since an earlier look; None where time has stood still."""
        elapsed = self.when - before.when
        used = sum(self._cpu.get(pid, 0.0) - before._cpu.get(pid, self._cpu.get(pid, 0.0)) for pid in pids)
        return max(0.0, used / elapsed * 100) if elapsed > 0 else None

    def command(self, pid: int) -> list[str]:
        """The command line; nothing where it may not be seen."""
        try:
            return self._known[pid].cmdline()
        except (KeyError, psutil.Error):
            return []


class Table:
    """Looks again and again; a row's rates are those since the look before."""

    def __init__(self, directories: list[str], env: Mapping[str, str]) -> None:
        self._directories = directories
        self._env = env
        self._processes = Processes()
        self._tails: dict[str, Tail] = {}

    def look(self) -> list[Row]:
        """The rows as of now."""
        before, self._processes = self._processes, Processes()
        return [row for name, path in services(self._directories) for row in self._rows(name, path, before)]

    def _rows(self, name: str, path: str, before: Processes) -> Iterator[Row]:
        try:
            data = status.read(f"{place.of(path, self._env)}/status") if readable(path, self._env) else None
        except OSError:
            data = b""
        main_block = status.unpack(data[: status.SIZE]) if data is not None else None
        if data is None or main_block is None:
            yield Row(name, NO_SUPERVISE if data is None else BAD_STATUS, None, None, None, 0, (), None, None, None, b"")
            return
        log_block = status.unpack(data[status.SIZE :])
        tail = self._tail(path, log_block)
        yield self._row(name, main_block, detail.read(place.of(path, self._env)), before, tail)
        if log_block is not None:
            yield self._row(f"{name} {LOG}", log_block, None, before, None)

    def _row(self, name: str, told: Status, more: detail.Detail | None, before: Processes, tail: Tail | None) -> Row:
        tree = tuple(self._processes.tree(told.pid)) if told.pid else ()
        pids = [pid for _, pid, _ in tree]
        waits = fields.WAITS.get(more.waits, "") if more is not None else ""
        return Row(
            name,
            "paused" if told.paused and told.pid else waits or fields.state(told),
            told.ready,
            told.seconds(),
            None if more is None else max(0, more.starts - 1),
            told.pid,
            tree,
            self._processes.cpu(pids, before),
            memory(pids),
            None if tail is None else tail.rate,
            b"" if tail is None else _last_line(tail),
        )

    def _tail(self, path: str, log_block: Status | None) -> Tail | None:
        """The log of a service, measured."""
        logger = log_block or self._logger(f"{path}/{LOG}")
        if logger is None:
            return None
        where = logtail.directory_of(self._processes.command(logger.pid), path if log_block is not None else f"{path}/{LOG}")
        tail = self._tails.setdefault(where, Tail(where))
        try:
            tail.look()
        except OSError:
            return None
        return tail

    def _logger(self, path: str) -> Status | None:
        try:
            return status.unpack(status.read(f"{place.of(path, self._env)}/status")[: status.SIZE])
        except OSError:
            return None


def _last_line(tail: Tail) -> bytes:
    try:
        return tail.last_line()
    except OSError:
        return b""


def readable(path: str, env: Mapping[str, str]) -> bool:
    """Whether supervise runs there, as far as one may know."""
    try:
        return place.is_running(place.of(path, env))
    except FileNotFoundError:
        return False
    except PermissionError:
        return True


def memory(pids: list[int]) -> int | None:
    """Bytes of these processes, each shared page counted in proportion; None where none of them may be looked at."""
    known = [size for size in map(_proportional, pids) if size is not None]
    return sum(known) if known else None


def _proportional(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")), None)
    except OSError:
        return None


def services(directories: list[str]) -> Iterator[tuple[str, str]]:
    """Name and path of every service, and of its log where that has a directory: a directory of services is gone through."""
    for directory in directories:
        if _is_service(directory):
            yield from _with_log(directory, directory)
            continue
        try:
            names = sorted(name for name in os.listdir(directory) if name[:1] != ".")
        except OSError:
            continue
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isdir(path):
                yield from _with_log(name, path)


def _with_log(name: str, path: str) -> Iterator[tuple[str, str]]:
    yield name, path
    if os.path.isdir(f"{path}/{LOG}"):
        yield f"{name}/{LOG}", f"{path}/{LOG}"


def _is_service(path: str) -> bool:
    return any(os.path.lexists(f"{path}/{name}") for name in ("run", "supervise", "start"))
