"""NAME
    pgrphack - run a program in a session and process group of its own
SYNOPSIS
    pgrphack child [ args ... ]
DESCRIPTION
    Makes itself the leader of a new session, if it is not one already, and becomes child. There are no options: every
    first word is taken for a program (daemontools 15).
EXIT
    100 wrong call; 111 unable to run child; otherwise child's own status
"""

from __future__ import annotations

import os

from qserver.base import chain
from qserver.base.errors import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Lead a session, then become the child."""
    if len(argv) < 2:
        raise usage("pgrphack", "pgrphack child")
    try:
        os.setsid()
    except OSError:
        pass  # it leads a process group already
    chain.execute(argv[1:], env, "pgrphack")
