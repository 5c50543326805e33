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

from qserver.base.errors import usage
from qserver.net.programs import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Become the program."""
    if len(argv) < 3:
        raise usage("argv0", "argv0 realname program [ arg ... ]")
    become("argv0", argv[2:], env, name=argv[1])
