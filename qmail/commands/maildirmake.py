"""NAME
    maildirmake - make a Maildir

SYNOPSIS
    maildirmake name

DESCRIPTION
    Makes the directory name and in it tmp, new and cur, all closed to others. Follows maildirmake of qmail 1.03 and
    s/qmail.

EXIT
    0; 100 usage; 111 a directory cannot be made
"""

from __future__ import annotations

import os

from qserver.base.errors import Die, fatal, usage

FOLDERS = ("tmp", "new", "cur")


def main(argv: list[str], env: dict[str, str]) -> int:
    """Make the four directories."""
    os.umask(0o077)
    if len(argv) < 2:
        raise usage("maildirmake", "maildirmake name")
    name = argv[1]
    _make(name, name)
    try:
        os.chdir(name)
    except OSError as error:
        raise _fatal(f"unable to chdir to {name}", error) from None
    for folder in FOLDERS:
        _make(folder, f"{name}/{folder}")
    return 0


def _make(path: str, shown: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise _fatal(f"unable to mkdir {shown}", error) from None


def _fatal(doing: str, error: OSError) -> Die:
    return fatal("maildirmake", doing, error, unknown=None)
