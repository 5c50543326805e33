"""NAME
    cdbmake - make a constant database of a text
SYNOPSIS
    cdbmake cdb cdb.tmp
DESCRIPTION
    Reads `+KLEN,DLEN:KEY->DATA` and a newline for each record, then an empty line, from descriptor 0, writes them to
    cdb.tmp and moves that to cdb; both must be in one file system. Lengths are decimal; keys and data may hold any bytes.
EXIT
    0; 100 wrong call; 111 the text is not as it must be, or trouble: cdb is as before (ucspi 2.2)
"""

from __future__ import annotations

import os

from qserver.base.cdb import CdbWriter
from qserver.base.errors import Die, fatal, usage
from qserver.net.cdbtext import BadText, Source, parse

MODE = 0o644


def main(argv: list[str], env: dict[str, str]) -> int:
    """Make the database."""
    if len(argv) < 3:
        raise usage("cdbmake", "cdbmake cdb cdb.tmp")
    path, temporary = argv[1], argv[2]
    try:
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
        _write(fd)
        os.close(fd)
    except BadText as bad:
        raise Die(f"cdbmake: fatal: unable to read input: {bad}") from bad
    except OSError as error:
        raise fatal("cdbmake", f"unable to create {temporary}", error, unknown=None) from error
    try:
        os.rename(temporary, path)
    except OSError as error:
        raise fatal("cdbmake", f"unable to rename {temporary} to {path}", error, unknown=None) from error
    return 0


def _write(fd: int) -> None:
    writer = CdbWriter(fd)
    for key, data in parse(Source(0)):
        writer.add(key, data)
    writer.finish()
