"""NAME
    fixcrio - run a program with CR put before every LF that has none, in both directions
SYNOPSIS
    fixcrio program [ arg ... ]
EXIT
    program's; 100 wrong call; 111 program cannot be run (ucspi 11)
"""

from __future__ import annotations

from qserver.base.errors import usage
from qserver.net import between
from qserver.net.newlines import FixCr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

BLOCK = 16384


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Become the program."""
    if len(argv) < 2:
        raise usage("fixcrio", "fixcrio program [ arg ... ]")
    between.run("fixcrio", argv[1:], env, FixCr().convert, FixCr().convert, BLOCK)
