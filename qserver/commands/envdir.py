"""NAME
    envdir - run a program with an environment changed by the files of a directory

SYNOPSIS
    envdir [ -p prefix ] dir child [ args ... ]

DESCRIPTION
    Every file of dir whose name does not start with a dot changes the variable of its name: an empty file (or a symbolic
    link to nothing) removes it; otherwise the first line, without blanks and tabs at its end and with NUL bytes made
    newlines, becomes its value. Then runs child, found on the PATH that envdir was given (daemontools 18).

OPTIONS
    -p prefix  put before every name, of variables set and removed

EXIT
    111 misused, or a file or the directory cannot be read; otherwise child's own status
"""

from __future__ import annotations

import os

from qserver.base import chain
from qserver.base.errors import TEMPORARY, Die, fatal
from qserver.base.files import read_file
from qserver.base.getopt import getopt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

USAGE = "envdir: usage: envdir dir child"


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Change the environment, then become the child."""
    options, operands = getopt(argv, "p:", USAGE, TEMPORARY)
    if len(operands) < 2:
        raise Die(USAGE, TEMPORARY)
    prefix = options[-1][1] if options else ""
    changed = dict(env)
    for setting in read_settings(operands[0]):
        name, found, value = (prefix + os.fsdecode(setting)).partition("=")
        if found:
            changed[name] = value
        else:
            changed.pop(name, None)
    chain.execute(operands[1:], changed, "envdir", env.get("PATH", chain.DEFAULT_PATH))


def read_settings(directory: str) -> Iterator[bytes]:
    """`NAME=value` for every variable that the directory sets, `NAME` for every one that it removes. Raises Die."""
    here = _open_here()
    try:
        os.chdir(directory)
    except OSError as error:
        raise fatal("envdir", f"unable to switch to directory {directory}", error) from None
    try:
        names = os.listdir(b".")
    except OSError as error:
        raise fatal("envdir", f"unable to read directory {directory}", error) from None
    for name in names:
        if not name.startswith(b"."):
            data = _read(directory, name)
            yield name + b"=" + value_of(data) if data else name
    try:
        os.fchdir(here)
    except OSError as error:
        raise fatal("envdir", "unable to switch to starting directory", error) from None
    os.close(here)


def _open_here() -> int:
    try:
        return os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise fatal("envdir", "unable to switch to current directory", error) from None


def _read(directory: str, name: bytes) -> bytes:
    """The content of a file; nothing for a symbolic link to nothing."""
    try:
        return read_file(name)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise fatal("envdir", f"unable to read {directory}/{os.fsdecode(name)}", error) from None


def value_of(data: bytes) -> bytes:
    """The value that a file of this content stands for."""
    return data.partition(b"\n")[0].rstrip(b" \t").replace(b"\0", b"\n")
