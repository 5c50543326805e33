"""NAME
    qmail-rspawn - start remote deliveries

SYNOPSIS
    qmail-rspawn

DESCRIPTION
    Started by qmail-start. Takes orders for deliveries from descriptor 0, runs qmail-remote in a child for each, several
    at once, and reports on descriptor 1. Follows qmail-rspawn of qmail 1.03 and s/qmail.

ENVIRONMENT
    QMAILHOME

FILES
    queue/lock/tcpto is emptied at the start; conf/conf-spawn: deliveries at once

EXIT
    0 at the end of input, when the last delivery has ended; 111 no queue
"""

from __future__ import annotations

import os

from qmail import remote
from qmail.home import conf, home
from qmail.send import rspawn
from qmail.send.spawn import Spawner, preload, spawn_limit
from qserver.base import signals
from qserver.base.errors import TEMPORARY


def main(argv: list[str], env: dict[str, str]) -> int:
    """Serve qmail-send until the end."""
    try:
        os.chdir(f"{home(env)}/queue/mess")
        spawner = Spawner(rspawn.Remote(env), spawn_limit(conf("conf-spawn", env)))
    except OSError:
        return TEMPORARY
    rspawn.forget_timeouts()
    signals.ignore(signals.SIGPIPE)
    if preload("qmail-remote", env):
        remote.preload()
    return spawner.run()
