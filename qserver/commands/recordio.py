"""NAME
    recordio - run a program and log what it reads and writes
SYNOPSIS
    recordio program [ arg ... ]
DESCRIPTION
    Everything passes unchanged; on descriptor 2 each line of it is told of, when it is read and before it is passed on:
    `PID < TEXT ` for input, `PID > TEXT ` for output, with a + instead of the blank at the end of a piece that no newline
    ends, and `[EOF]`. PID is program's; at most 256 bytes are a piece.
EXIT
    program's; 100 wrong call; 111 program cannot be run (ucspi 11)
"""

from __future__ import annotations

import os

from qserver.base.errors import usage
from qserver.base.files import write_all
from qserver.net import between

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

BLOCK = 256


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Become the program."""
    if len(argv) < 2:
        raise usage("recordio", "recordio program [ arg ... ]")
    pid = os.getpid()
    between.run("recordio", argv[1:], env, recorder(pid, b"<"), recorder(pid, b">"), BLOCK)


def recorder(pid: int, sign: bytes) -> Callable[[bytes], bytes]:
    """What logs a block and passes it on."""

    def record(block: bytes) -> bytes:
        try:
            write_all(2, lines(pid, sign, block))
        except OSError:
            pass  # nobody listens; the program must not suffer
        return block

    return record


def lines(pid: int, sign: bytes, block: bytes) -> bytes:
    """What is said of a block; an empty one is the end."""
    start = b"%d %b " % (pid, sign)
    if not block:
        return start + b"[EOF]\n"
    *complete, piece = block.split(b"\n")
    said = [start + line + b" \n" for line in complete]
    if piece:
        said.append(start + piece + b"+\n")
    return b"".join(said)
