"""NAME
    setuidgid - run a program with the identity of an account

SYNOPSIS
    setuidgid [ -s ] account child [ args ... ]

DESCRIPTION
    Takes the supplementary groups, gid and uid of account, in this order, and runs child. The only supplementary group is
    the account's own; the environment is unchanged. Numbers are not accounts (daemontools 21).

OPTIONS
    -s  all supplementary groups of the account

EXIT
    100 misused; 111 no such account, or the identity cannot be taken; otherwise child's own status
"""

from __future__ import annotations

import os

from qserver.base import chain
from qserver.base.errors import Die, fatal
from qserver.base.getopt import getopt
from qserver.base.privileges import account

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from qserver.base.privileges import Account

USAGE = "setuidgid: usage: setuidgid [-s] account child"


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Become the account, then the child."""
    options, operands = getopt(argv, "s", USAGE)
    if len(operands) < 2:
        raise Die(USAGE, 100)
    found = account(operands[0])
    if found is None:
        raise fatal("setuidgid", f"unknown account {operands[0]}")
    become(found, every_group=bool(options))
    chain.execute(operands[1:], env, "setuidgid")


def become(found: Account, *, every_group: bool, prog: str = "setuidgid") -> None:
    """Groups, gid, uid; raises Die in the words of `prog`.

    Unlike `privileges.become` even an identity one has already takes the right to change it.
    """
    doing = "initgroups" if every_group else "setgid"
    try:
        if every_group:
            os.initgroups(found.name, found.gid)
        else:
            os.setgroups([found.gid])
        doing = "setgid"
        os.setgid(found.gid)
        doing = "setuid"
        os.setuid(found.uid)
    except OSError as error:
        raise fatal(prog, f"unable to {doing}", error) from None
