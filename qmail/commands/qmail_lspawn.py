"""NAME
    qmail-lspawn - start local deliveries

SYNOPSIS
    qmail-lspawn defaultdelivery

DESCRIPTION
    Started by qmail-start. Takes orders for deliveries from descriptor 0, finds the user each recipient belongs to, runs
    qmail-local as that user, several at once, and reports on descriptor 1. Never delivers as root. Follows qmail-lspawn
    of qmail 1.03 and s/qmail.

ENVIRONMENT
    QMAILHOME

FILES
    users/cdb; conf/conf-spawn: deliveries at once

EXIT
    0 at the end of input, when the last delivery has ended; 100 no argument; 111 no queue
"""

from __future__ import annotations

import os

from qmail.home import conf, home
from qmail.local import deliver
from qmail.send import lspawn
from qmail.send.spawn import Spawner, preload, spawn_limit
from qserver.base import signals
from qserver.base.errors import PERMANENT, TEMPORARY


def main(argv: list[str], env: dict[str, str]) -> int:
    """Serve qmail-send until the end."""
    try:
        os.chdir(f"{home(env)}/queue/mess")
        if len(argv) < 2:
            return PERMANENT
        spawner = Spawner(lspawn.Local(argv[1], env), spawn_limit(conf("conf-spawn", env)))
    except OSError:
        return TEMPORARY
    signals.ignore(signals.SIGPIPE)
    if preload("qmail-local", env):
        deliver.preload()
    return spawner.run()
