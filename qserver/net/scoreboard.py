"""Who serves whom: one cell for each session that the limit allows, in memory shared by the master and its workers.

A cell is FREE, IDLE (a worker stands ready to accept a connection for it) or BUSY (a session). As nobody accepts without
a cell, there are never more sessions than cells. A cell's state is one octet, written by the worker that has the cell, by
the master while the worker does not exist; so counting needs no lock. What must be exact among processes (the order
of status lines, sessions of an address, claiming a free cell) is done under `lock`, a record lock: the kernel gives it
back when its holder dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FREE, IDLE, BUSY = b"\0", b"I", b"B"
NOWHERE = -1
"""Instead of a cell: none is free."""
RECORD = Struct("@iiQ")
"""pid of the worker that has the cell, pid of the program, number of the session in the order of accepting."""
ADDRESS_SIZE = 48
"""An address as text between a newline and NULs, so that a search finds whole addresses only."""
COUNTER = Struct("@Q")
MOST_CELLS = 65536
"""More sessions than that one server does not have, whatever it may."""


class Lock:
    """Mutual exclusion between processes, each with one descriptor inherited from the same open file."""

    __slots__ = ("_fd",)

    def __init__(self) -> None:
        self._fd = os.memfd_create("scoreboard", os.MFD_CLOEXEC)

    def __enter__(self) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """In the only process that has it."""
        os.close(self._fd)


class Scoreboard:
    """`limit` cells. Methods marked (locked) are called with `lock` held where others do the same."""

    __slots__ = ("_addresses", "_memory", "_records", "limit", "lock")

    def __init__(self, limit: int) -> None:
        limit = min(limit, MOST_CELLS)
        self.limit = limit
        self.lock = Lock()
        self._records = COUNTER.size + -(-limit // 8) * 8
        self._addresses = self._records + limit * RECORD.size
        self._memory = mmap.mmap(-1, self._addresses + limit * ADDRESS_SIZE)

    def close(self) -> None:
        """In the only process that has it."""
        self.lock.close()
        self._memory.close()

    def states(self) -> bytes:
        """All states, as one octet a cell."""
        return self._memory[COUNTER.size : COUNTER.size + self.limit]

    def set_state(self, cell: int, state: bytes) -> None:
        """For the one who has the cell."""
        self._memory[COUNTER.size + cell] = state[0]

    def is_busy(self, cell: int) -> bool:
        """Whether there is a session in the cell."""
        return self._memory[COUNTER.size + cell] == BUSY[0]

    def sessions(self) -> int:
        """How many there are now."""
        return self.states().count(BUSY)

    def claim(self, owner: int) -> int:
        """Take a free cell for the worker `owner`; NOWHERE if there is none (locked)."""
        cell = self.states().find(FREE)
        if cell >= 0:
            self.assign(cell, owner)
            self.set_state(cell, IDLE)
        return cell

    def assign(self, cell: int, owner: int) -> None:
        """The cell is the worker's; while a session does not have a process of its own, the worker is its process."""
        RECORD.pack_into(self._memory, self._records + cell * RECORD.size, owner, owner, 0)

    def begin(self, cell: int, address: str) -> None:
        """A session of that address begins in the cell (locked)."""
        (number,) = COUNTER.unpack_from(self._memory)
        COUNTER.pack_into(self._memory, 0, number + 1)
        owner = RECORD.unpack_from(self._memory, self._records + cell * RECORD.size)[0]
        RECORD.pack_into(self._memory, self._records + cell * RECORD.size, owner, owner, number + 1)
        start = self._addresses + cell * ADDRESS_SIZE
        self._memory[start : start + ADDRESS_SIZE] = _framed(address).ljust(ADDRESS_SIZE, b"\0")
        self.set_state(cell, BUSY)

    def set_program(self, cell: int, pid: int) -> None:
        """The session in the cell has become a process of its own."""
        owner, _, number = RECORD.unpack_from(self._memory, self._records + cell * RECORD.size)
        RECORD.pack_into(self._memory, self._records + cell * RECORD.size, owner, pid, number)

    def program(self, cell: int) -> int:
        """The process of the session in the cell."""
        pid: int = RECORD.unpack_from(self._memory, self._records + cell * RECORD.size)[1]
        return pid

    def owned_by(self, *owners: int) -> list[int]:
        """The cells a worker has, under whichever of the numbers."""
        found = []
        for cell, state in enumerate(self.states()):
            if state and RECORD.unpack_from(self._memory, self._records + cell * RECORD.size)[0] in owners:
                found.append(cell)
        return found

    def sessions_of(self, address: str) -> int:
        """How many sessions the address has now (locked)."""
        return sum(1 for _ in self._cells_of(address))

    def sessions_before(self, cell: int, address: str) -> int:
        """How many sessions the address has that were accepted before the one in `cell` (locked)."""
        number = self._number(cell)
        return sum(self._number(other) < number for other in self._cells_of(address))

    def _number(self, cell: int) -> int:
        number: int = RECORD.unpack_from(self._memory, self._records + cell * RECORD.size)[2]
        return number

    def _cells_of(self, address: str) -> Iterator[int]:
        """The cells with a session of the address."""
        wanted = _framed(address)
        states = self.states()
        at = self._memory.find(wanted, self._addresses)
        while at >= 0:
            cell = (at - self._addresses) // ADDRESS_SIZE
            if states[cell] == BUSY[0]:
                yield cell
            at = self._memory.find(wanted, at + 1)


def _framed(address: str) -> bytes:
    return b"\n%s\0" % address.encode()
