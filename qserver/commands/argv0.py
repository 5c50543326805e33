"""NAME
    argv0 - run a program under another name
SYNOPSIS
    argv0 realname program [ arg ... ]
DESCRIPTION
    Runs realname, found on the PATH, with program as its name (argv[0]).
EXIT
    realname's; 100 wrong call; 111 it cannot be run (ucspi 11)
"""

from __future__ import annotations

from qserver.base import chain
from qserver.base.errors import Die, fatal, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Become the program."""
    if len(argv) < 3:
        raise usage("argv0", "argv0 realname program [ arg ... ]")
    try:
        chain.execute(argv[2:], env, "argv0", name=argv[1])
    except Die as death:
        if isinstance(death.__cause__, OSError):
            raise fatal("argv0", f"(111) unable to run: {argv[1]}", death.__cause__, unknown=None) from death
        raise
