"""NAME
    envuidgid - run a program with UID and GID set to the numbers of an account

SYNOPSIS
    envuidgid account child [ args ... ]

DESCRIPTION
    Sets the variables UID and GID and runs child; the identity stays as it is, so no privilege is needed. There are no
    options: every first word is taken for an account (daemontools 20).

EXIT
    100 misused; 111 no such account; otherwise child's own status
"""

from __future__ import annotations

from qserver.base import chain
from qserver.base.errors import fatal, usage
from qserver.base.privileges import account

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Look the account up, then become the child."""
    if len(argv) < 3:
        raise usage("envuidgid", "envuidgid account child")
    found = account(argv[1])
    if found is None:
        raise fatal("envuidgid", f"unknown account {argv[1]}")
    chain.execute(argv[2:], {**env, "UID": str(found.uid), "GID": str(found.gid)}, "envuidgid")
