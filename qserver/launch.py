"""The entry point of every installed command: the name it was called by picks the module.

A launcher in the bin directory is three lines that put the packages on `sys.path` and call `main(__file__)`.
Starting must cost little more than the bare interpreter, so this module imports only built-in modules.
"""

from __future__ import annotations

import os
import sys

from qserver.base import chain, signals
from qserver.base.errors import Die, say

STANDARD_ERROR = 2
COMMANDS: dict[str, str] = {
    # daemontools
    "envdir": "qserver",
    "envini": "qserver",
    "envuidgid": "qserver",
    "fghack": "qserver",
    "multilog": "qserver",
    "pgrphack": "qserver",
    "readproctitle": "qserver",
    "setlock": "qserver",
    "setuidgid": "qserver",
    "setuser": "qserver",
    "softlimit": "qserver",
    "supervise": "qserver",
    "svc": "qserver",
    "svok": "qserver",
    "svscan": "qserver",
    "svscanboot": "qserver",
    "svstat": "qserver",
    "svtop": "qserver",
    "svup": "qserver",
    "svwait": "qserver",
    "tai64n": "qserver",
    "tai64nlocal": "qserver",
    # ucspi
    "addcr": "qserver",
    "argv0": "qserver",
    "cdbdump": "qserver",
    "cdbget": "qserver",
    "cdbmake": "qserver",
    "cdbstats": "qserver",
    "date@": "qserver",
    "delcr": "qserver",
    "finger@": "qserver",
    "fixcrio": "qserver",
    "http@": "qserver",
    "https@": "qserver",
    "mconnect": "qserver",
    "mconnect-io": "qserver",
    "rblsmtpd": "qserver",
    "recordio": "qserver",
    "sslcat": "qserver",
    "sslclient": "qserver",
    "sslconnect": "qserver",
    "sslserver": "qserver",
    "tcpcat": "qserver",
    "tcpclient": "qserver",
    "tcprules": "qserver",
    "tcprulescheck": "qserver",
    "tcpserver": "qserver",
    "who@": "qserver",
    # mail
    "forward": "qmail",
    "maildirmake": "qmail",
    "qmail-authuser": "qmail",
    "qmail-clean": "qmail",
    "qmail-getpw": "qmail",
    "qmail-inject": "qmail",
    "qmail-local": "qmail",
    "qmail-lspawn": "qmail",
    "qmail-newu": "qmail",
    "qmail-pop3d": "qmail",
    "qmail-popup": "qmail",
    "qmail-qread": "qmail",
    "qmail-qstat": "qmail",
    "qmail-queue": "qmail",
    "qmail-queued": "qmail",
    "qmail-remote": "qmail",
    "qmail-rspawn": "qmail",
    "qmail-send": "qmail",
    "qmail-smtpd": "qmail",
    "qmail-start": "qmail",
    "qmailctl": "qmail",
    "sendmail": "qmail",
}
"""The one table of commands: name → package. `setup.py`, `scripts/setup` and the chain read it."""

ALIASES = {"mailq": "sendmail", "newaliases": "sendmail"}
"""Further names under which a command is installed; the command looks at argv[0]."""


def _take_standard_descriptors() -> None:
    """Open those of 0, 1, 2 that are closed, so that nothing we open gets their numbers. Raises OSError.

    They cannot be used, as if they were closed (EBADF), and the programs that are started see them closed.
    """
    while (fd := os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)) <= STANDARD_ERROR:
        if fd == 0:
            os.close(fd)
            os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    os.close(fd)


def main(launcher: str = "") -> int:
    """Run the command named by argv[0]; `launcher` is the path of the launcher file. Ends the process."""
    signals.restore_defaults()
    chain.set_table(COMMANDS, ALIASES)
    chain.set_bin_directory(launcher or sys.argv[0])
    try:
        _take_standard_descriptors()
    except OSError:  # no /dev/null in a chroot: it must do without
        pass
    argv = list(sys.argv)
    name = argv[0].rpartition("/")[2]
    if name not in COMMANDS and name not in ALIASES:
        say(f"{name}: fatal: no such command")
        return 100
    try:
        chain.run_own(name, argv, chain.environment())
    except Die as death:  # pragma: no cover - run_own ends the process itself
        say(death.text)
        return death.code
