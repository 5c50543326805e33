"""NAME
    qmail-qstat - count the messages in the queue

SYNOPSIS
    qmail-qstat

DESCRIPTION
    Prints how many messages are in the queue and how many of them qmail-send has not yet preprocessed.

ENVIRONMENT
    QMAILHOME

EXIT
    0; 111 when the queue cannot be read
"""

from __future__ import annotations

import os

from qmail.home import home as qmail_home
from qmail.queue.names import numbers
from qserver.base.errors import error_text, say


def main(argv: list[str], env: dict[str, str]) -> int:
    """Count mess and todo files."""
    queue = f"{qmail_home(env)}/queue"
    try:
        mess, todo = (_count(f"{queue}/{kind}") for kind in ("mess", "todo"))
    except OSError as error:
        say(f"fatal: unable to chdir: {error_text(error)}", fd=1)
        return 111
    say(f"messages in queue: {mess}\nmessages in queue but not yet preprocessed: {todo}", fd=1)
    return 0


def _count(directory: str) -> int:
    return sum(1 for part in os.listdir(directory) for _ in numbers(f"{directory}/{part}"))
