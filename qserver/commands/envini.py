"""NAME
    envini - run a program with variables set from an ini file
SYNOPSIS
    envini [ -p prefix ] inifile child [ args ... ]
DESCRIPTION
    A line `name = value` sets the variable name, behind a line `[section]` section_name; blanks around names and values,
    empty lines and lines that begin with `;` mean nothing. The last setting counts. There are neither quotes nor
    continuation lines. A missing file is an empty one. Then runs child, found on the PATH that envini was given.
OPTIONS
    -p prefix  put before every name
EXIT
    111 misused, or the file cannot be read; otherwise child's own status (daemontools 19)
"""

from __future__ import annotations

import os

from qserver.base import chain
from qserver.base.errors import TEMPORARY, Die, fatal
from qserver.base.files import read_file
from qserver.base.getopt import getopt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

USAGE = "envini: usage: envini [ -p prefix ] inifile child"
BLANKS = b" \t\r"


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Change the environment, then become the child."""
    options, operands = getopt(argv, "p:", USAGE, TEMPORARY)
    if len(operands) < 2:
        raise Die(USAGE, TEMPORARY)
    prefix = options[-1][1] if options else ""
    found = settings(_read(operands[0]))
    changed = {**env, **{prefix + os.fsdecode(name): os.fsdecode(value) for name, value in found.items()}}
    chain.execute(operands[1:], changed, "envini", env.get("PATH", chain.DEFAULT_PATH))


def _read(path: str) -> bytes:
    try:
        return read_file(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise fatal("envini", f"unable to read {path}", error) from None


def settings(data: bytes) -> dict[bytes, bytes]:
    """Section part and name → value of an ini file; what stands behind a NUL in a line cannot be told and is dropped."""
    found: dict[bytes, bytes] = {}
    section = b""
    for line in data.split(b"\n"):
        line = line.partition(b"\0")[0].strip(BLANKS)
        if line[:1] == b"[" and line[-1:] == b"]":
            section = line[1:-1] + b"_"
        elif line and line[:1] != b";":
            name, value = _setting(line)
            if value is not None:
                found[section + name] = value
    return found


def _setting(line: bytes) -> tuple[bytes, bytes | None]:
    """The name, and the value; None where no `=` follows the name."""
    end = next((at for at, byte in enumerate(line) if byte in b"= \t\r"), len(line))
    rest = line[end:].lstrip(BLANKS)
    return line[:end], rest[1:].lstrip(BLANKS) if rest[:1] == b"=" else None
