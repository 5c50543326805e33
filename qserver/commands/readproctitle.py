"""NAME
    readproctitle - show the last input in the list of processes
SYNOPSIS
    readproctitle word ... room
DESCRIPTION
    The bytes of the last argument, as ps shows them, become three dots and behind them the latest bytes of the standard
    input. Ends with its input (daemontools 13).
EXIT
    0 end of input; 100 no argument, or no room in it (5 bytes at least); 111 the input cannot be read
"""

from __future__ import annotations

import os
import sys

from qserver.base import chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LEAST_ROOM = 5
DOTS = b"..."
BLOCK = 65536
ARG_END = 49 - 3
"""Field 49 of /proc/self/stat, counted behind the command name."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Show what is read until its end."""
    room = len(os.fsencode(argv[-1])) if len(argv) > 1 else 0
    if room < LEAST_ROOM:
        return 100
    if argv[1:] != sys.argv[1:]:  # another program in this process was started with other words: their room is not ours
        _be_executed(argv, env)
    argument = Argument(room)
    argument.show(b"." * room)
    kept = b"." * (room - len(DOTS))
    while True:
        try:
            block = os.read(0, BLOCK)
        except OSError:
            return 111
        if not block:
            return 0
        kept = (kept + block.replace(b"\0", b""))[-(room - len(DOTS)) :]
        argument.show(DOTS + kept)


def _be_executed(argv: list[str], env: dict[str, str]) -> NoReturn:
    chain.execute([f"{chain.bin_directory()}/readproctitle", *argv[1:]], {**env, "QSERVER_EXEC": "1"}, "readproctitle")


class Argument:
    """The last argument of this process where the kernel keeps it; showing does nothing where that is out of reach."""

    __slots__ = ("_at", "_memory")

    def __init__(self, size: int) -> None:
        self._memory = -1
        self._at = 0
        try:
            with open("/proc/self/stat", "rb") as file:
                end = int(file.read().rpartition(b")")[2].split()[ARG_END])
            self._at = end - 1 - size
            self._memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
        except (OSError, ValueError, IndexError):
            return

    def show(self, text: bytes) -> None:
        """Overwrite the argument with as many bytes."""
        if self._memory >= 0:
            try:
                os.pwrite(self._memory, text, self._at)
            except OSError:
                os.close(self._memory)
                self._memory = -1
