"""NAME
    setuser - run a program as an account would run it
SYNOPSIS
    setuser account child [ args ... ]
DESCRIPTION
    Sets HOME, SHELL, USER, UID and GID to those of the account, goes to its home directory, takes its groups, group and
    user, and becomes child. There are no options (daemontools 22).
EXIT
    100 wrong call; 111 no such account, no such home, not permitted; otherwise child's own status
"""

from __future__ import annotations

import os

from qserver.base import chain
from qserver.base.errors import fatal, usage
from qserver.base.privileges import account
from qserver.commands.setuidgid import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from qserver.base.privileges import Account


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Become the account, then the child."""
    if len(argv) < 3:
        raise usage("setuser", "setuser account child")
    found = account(argv[1])
    if found is None:
        raise fatal("setuser", f"unknown account {argv[1]}")
    try:
        os.chdir(found.home)
    except OSError as error:
        raise fatal("setuser", f"unable to chdir to {found.home}", error) from error
    become(found, every_group=True, prog="setuser")
    chain.execute(argv[2:], {**env, **variables(found)}, "setuser")


def variables(found: Account) -> dict[str, str]:
    """What the account's environment says of it."""
    numbers = {"UID": str(found.uid), "GID": str(found.gid)}
    return {"HOME": found.home, "SHELL": found.shell, "USER": found.name, **numbers}
