"""A file system that loses power: replays a system-call trace and tells every state the disk may be in afterwards.

The model is the strict reading of POSIX. What survives for sure is the data of a file as of its last fsync, and the entries
of a directory as of its last fsync; a file's fsync says nothing of its name. Everything since then may or may not have
reached the disk: of a directory's operations any subset; of a file's data any number of its writes in order, the last of
them perhaps half, or blocks of zeros where it should be. A state of the disk is a choice for every directory and file.
"""

from __future__ import annotations

import itertools
import math
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

MOST_STATES = 50_000
"""More states than this for one instant: the trace syncs too little to be enumerated."""


@dataclass(frozen=True)
class Call:
    """One successful system call that matters: `name` as below, absolute paths, `fd` -1 where it has none."""

    name: str
    """create, open, write, truncate, fsync, close, link, unlink, rename or ack"""
    path: str = ""
    target: str = ""
    fd: int = -1
    data: bytes = b""


Disk = dict[str, bytes]
"""What is found after the power came back: path → contents, directories left out."""


@dataclass
class _File:
    """Contents: what is safe, and what was done since (bytes appended, or None for a truncation to nothing)."""

    safe: bytes = b""
    pending: list[bytes | None] = field(default_factory=list)

    def contents(self) -> bytes:
        return self._after(self.pending)

    def _after(self, changes: Sequence[bytes | None]) -> bytes:
        contents = self.safe
        for change in changes:
            contents = b"" if change is None else contents + change
        return contents

    def possible(self) -> list[bytes]:
        """What the disk may hold of it."""
        found = [self.safe]
        for count, change in enumerate(self.pending, 1):
            whole = self._after(self.pending[:count])
            found.append(whole)
            if change:
                found += [whole[: len(whole) - (len(change) + 1) // 2], whole[: -len(change)] + bytes(len(change))]
        return list(dict.fromkeys(found))

    def sync(self) -> None:
        self.safe, self.pending = self.contents(), []


Change = dict[str, int | None]
"""One operation on a directory: entry → number of the file, or None for an entry that goes."""


@dataclass
class _Directory:
    safe: dict[str, int] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def entries(self, changes: Sequence[Change] | None = None) -> dict[str, int]:
        found: dict[str, int | None] = dict(self.safe)
        for change in self.pending if changes is None else changes:
            found |= change
        return {name: number for name, number in found.items() if number is not None}

    def possible(self) -> list[dict[str, int]]:
        """Its entries after every subset of what was done since the last fsync, in order."""
        found: list[dict[str, int]] = []
        for kept in itertools.product((True, False), repeat=len(self.pending)):
            entries = self.entries([change for change, keep in zip(self.pending, kept, strict=True) if keep])
            if entries not in found:
                found.append(entries)
        return found

    def sync(self) -> None:
        self.safe, self.pending = self.entries(), []


class Machine:
    """The running system: `do` what a trace did, ask for the `disks` that a power cut would leave behind now."""

    def __init__(self) -> None:
        self._files: list[_File] = []
        self._directories: dict[str, _Directory] = {}
        self._fds: dict[int, _File | _Directory] = {}
        self.acknowledged = False
        self._calls: dict[str, Callable[[Call], None]] = {
            "create": self._create,
            "open": self._open,
            "write": self._write,
            "truncate": self._truncate,
            "fsync": self._fsync,
            "close": self._close,
            "link": self._link,
            "unlink": self._unlink,
            "rename": self._rename,
            "ack": self._acknowledge,
        }

    def found(self, data: bytes, *paths: str) -> None:
        """A file that was there, safely and under these names, before the trace began."""
        self._files.append(_File(data))
        for path in paths:
            self._directory(posixpath.dirname(path)).safe[posixpath.basename(path)] = len(self._files) - 1

    def do(self, call: Call) -> None:
        """One call of the trace."""
        self._calls[call.name](call)

    def _acknowledge(self, _call: Call) -> None:
        self.acknowledged = True

    def _create(self, call: Call) -> None:
        self._files.append(_File())
        self._set(call.path, len(self._files) - 1)
        self._fds[call.fd] = self._files[-1]

    def _open(self, call: Call) -> None:
        self._fds[call.fd] = self._at(call.path)

    def _write(self, call: Call) -> None:
        file = self._fds.get(call.fd)
        if isinstance(file, _File):
            file.pending.append(call.data)

    def _truncate(self, call: Call) -> None:
        file = self._at(call.path)
        assert isinstance(file, _File), call
        file.pending.append(None)

    def _fsync(self, call: Call) -> None:
        self._fds[call.fd].sync()

    def _close(self, call: Call) -> None:
        self._fds.pop(call.fd, None)

    def _link(self, call: Call) -> None:
        number = self._lookup(call.path)
        assert number is not None, call
        self._set(call.target, number)

    def _unlink(self, call: Call) -> None:
        self._set(call.path, None)

    def _rename(self, call: Call) -> None:
        number = self._lookup(call.path)
        assert number is not None, call
        if posixpath.dirname(call.path) == posixpath.dirname(call.target):
            change: Change = {posixpath.basename(call.path): None, posixpath.basename(call.target): number}
            self._directory(posixpath.dirname(call.path)).pending.append(change)
        else:
            self._set(call.target, number)
            self._set(call.path, None)

    def _at(self, path: str) -> _File | _Directory:
        number = self._lookup(path)
        return self._directory(path) if number is None else self._files[number]

    def _directory(self, path: str) -> _Directory:
        return self._directories.setdefault(path, _Directory())

    def _lookup(self, path: str) -> int | None:
        return self._directory(posixpath.dirname(path)).entries().get(posixpath.basename(path))

    def _set(self, path: str, number: int | None) -> None:
        self._directory(posixpath.dirname(path)).pending.append({posixpath.basename(path): number})

    def now(self) -> Disk:
        """What a process sees now."""
        entries = [directory.entries() for directory in self._directories.values()]
        return self._disk(entries, [file.contents() for file in self._files])

    def disks(self) -> Iterator[Disk]:
        """Every state of the disk that a power cut at this instant may leave."""
        entries = [directory.possible() for directory in self._directories.values()]
        contents = [file.possible() for file in self._files]
        count = math.prod([len(choices) for choices in entries] + [len(choices) for choices in contents])
        assert count <= MOST_STATES, f"{count} states: nothing is ever synced"
        for chosen in itertools.product(*entries):
            for data in itertools.product(*contents):
                yield self._disk(chosen, data)

    def _disk(self, entries: Sequence[dict[str, int]], contents: Sequence[bytes]) -> Disk:
        return {
            f"{path}/{name}": contents[number]
            for path, found in zip(self._directories, entries, strict=True)
            for name, number in found.items()
        }
