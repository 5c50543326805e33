"""NAME
    softlimit - run a program with soft resource limits

SYNOPSIS
    softlimit [ -a allbytes ] [ -c corebytes ] [ -d databytes ] [ -f filebytes ] [ -l lockbytes ] [ -m membytes ]
              [ -o openfiles ] [ -p processes ] [ -r residentbytes ] [ -s stackbytes ] [ -t cpusecs ] child [ args ... ]

DESCRIPTION
    Lowers soft limits and runs child. A limit is a decimal number; = makes it the hard limit, - (for root) removes soft
    and hard limit. A number above the hard limit means the hard limit; hard limits stay. Variables count first, then the
    options from left to right. When child is one of our own programs, -a, -d and -m leave it the number beyond what its
    interpreter takes; programs that it starts in turn get the number itself (daemontools 17).

OPTIONS
    -a  all memory of a process (AS)           -o  open descriptors
    -c  size of a core file                    -p  processes of the user
    -d  data segment                           -r  resident memory
    -f  size of a file                         -s  stack segment
    -l  locked memory                          -t  CPU seconds
    -m  data, stack, locked and all memory

ENVIRONMENT
    SOFTLIMIT_ALLBYTES SOFTLIMIT_COREBYTES SOFTLIMIT_DATABYTES SOFTLIMIT_FILEBYTES SOFTLIMIT_LOCKEDBYTES SOFTLIMIT_MEMBYTES
    SOFTLIMIT_OPENFILES SOFTLIMIT_PROCS SOFTLIMIT_RSSBYTES SOFTLIMIT_STACKBYTES SOFTLIMIT_CPUSECS

EXIT
    100 misused; 111 a limit cannot be set; otherwise child's own status
"""

from __future__ import annotations

import sys

from qserver.base import chain, limits
from qserver.base.errors import PERMANENT, Die, fatal
from qserver.base.getopt import getopt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

USAGE = (
    "softlimit: usage: softlimit [-a allbytes] [-c corebytes] [-d databytes] [-f filebytes] [-l lockbytes] [-m membytes]"
    " [-o openfiles] [-p processes] [-r residentbytes] [-s stackbytes] [-t cpusecs] child"
)
LETTERS = "".join(f"{letter}:" for letter in limits.OPTIONS)


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Set the limits, then become the child."""
    options, operands = getopt(argv, LETTERS, USAGE)
    given = [(letter, env[name]) for letter, (_, name) in limits.OPTIONS.items() if name in env]
    wanted: dict[int, limits.Limit] = {}
    try:
        for letter, text in given + options:
            limits.setting(wanted, letter, text)
    except ValueError:
        raise Die(USAGE, PERMANENT) from None
    except OSError as error:
        raise fatal("softlimit", "getrlimit failed", error) from None
    if not operands:
        raise Die(USAGE, PERMANENT)
    sys.dont_write_bytecode = True  # a file limit would kill us in the middle of a cache file
    try:
        memory = limits.impose(wanted)
    except OSError as error:
        raise fatal("softlimit", "setrlimit failed", error) from None
    chain.limit_memory(memory)
    chain.execute(operands, env, "softlimit")
