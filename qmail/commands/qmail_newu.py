"""NAME
    qmail-newu - compile users/assign

SYNOPSIS
    qmail-newu

DESCRIPTION
    Reads users/assign and replaces users/cdb, in which qmail-lspawn looks users up, in one step. Lines:

        =local:user:uid:gid:home:dash:ext:       the address local
        +prefix:user:uid:gid:home:dash:pre:      every address that begins with prefix; the rest is added to pre
        .                                        the end

    Deliveries go on meanwhile. Follows qmail-newu of qmail 1.03 and s/qmail.

ENVIRONMENT
    QMAILHOME

FILES
    users/assign, users/cdb, users/cdb.tmp

EXIT
    0; 111 trouble, users/cdb is as it was
"""

from __future__ import annotations

import os

from qmail.home import home
from qmail.local.assign import BadFormat, records
from qserver.base.cdb import CdbWriter
from qserver.base.errors import Die, fatal
from qserver.base.files import fsync_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE, TEMPORARY, TARGET = "users/assign", "users/cdb.tmp", "users/cdb"
NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def _fatal(doing: str) -> Die:
    return fatal("qmail-newu", doing)


def main(argv: list[str], env: dict[str, str]) -> int:
    """Compile."""
    os.umask(0o033)
    try:
        os.chdir(home(env))
    except OSError:
        raise _fatal("unable to chdir") from None
    try:
        source = os.open(SOURCE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise _fatal(f"unable to open {SOURCE}") from None
    try:
        _write(source)
    except MemoryError:
        raise _fatal("out of memory") from None
    except BadFormat:
        raise _fatal(f"bad format in {SOURCE}") from None
    try:
        os.rename(TEMPORARY, TARGET)
        fsync_directory("users")
    except OSError:
        raise _fatal(f"unable to move {TEMPORARY} to {TARGET}") from None
    return 0


def _write(source: int) -> None:
    """The records of an open users/assign into a durable users/cdb.tmp. Raises Die, BadFormat."""
    try:
        fd = os.open(TEMPORARY, NEW_FILE, 0o644)
    except OSError:
        raise _fatal(f"unable to open {TEMPORARY}") from None
    try:
        writer = CdbWriter(fd)
        for key, data in records(_lines(source)):
            writer.add(key, data)
        writer.finish()
    except OSError:
        raise _fatal(f"unable to write {TEMPORARY}") from None
    finally:
        os.close(fd)


def _lines(source: int) -> Iterator[bytes]:
    """The lines of an open file. Raises Die."""
    try:
        with open(source, "rb") as file:
            yield from file
    except OSError:
        raise _fatal(f"unable to read {SOURCE}") from None
