"""NAME
    tcprules - compile rules for tcpserver (ucspi-tcp 0.88, ucspi-tcp6)
SYNOPSIS
    tcprules rules.cdb rules.tmp
DESCRIPTION
    Reads rules from descriptor 0, writes them to rules.tmp in the form that servers read, and moves that to rules.cdb;
    both must be in one file system. A server that is running sees the new rules at its next connection. A line is

        ADDRESS:allow,NAME="value",...
        ADDRESS:deny

    ADDRESS ends at the last colon before the first comma. It is one of

        1.2.3.4         an address            1.2.3.  1.2.  1.    all that begin so
        1.2.3-5.        1.2.3. 1.2.4. 1.2.5.  10.1.2.0/23         a network
        2001:db8::1     an IPv6 address       2001:db8::/32       an IPv6 network
        =host.example   a host name           =.example           all host names that end so
        =               any known host name   info@1.2.3.4        info@=host.example, with the ident answer
                        (nothing)             everyone else

    The first that speaks of a client counts: info@address, info@=host, address, =host, longest 1.2.3., longest network,
    longest =.example, =, nothing. A value may stand between any two equal characters. Lines that begin with # and lines
    without colon and comma are ignored.
EXIT
    0; 100 usage; 101 a line that is no rule (rules.cdb is as before); 111 cannot read or write
"""

from __future__ import annotations

import os

from qserver.base.cdb import CdbWriter
from qserver.base.errors import Die, error_text, usage
from qserver.net.ruletext import BadRule, parse

SYNOPSIS = "tcprules rules.cdb rules.tmp"
SYNTAX = 101
MODE = 0o644


def main(argv: list[str], env: dict[str, str]) -> int:
    """Compile the rules on descriptor 0."""
    if len(argv) < 3:
        raise usage("tcprules", SYNOPSIS)
    path, temporary = argv[1], argv[2]
    try:
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
    except OSError as error:
        raise _death("error", "unable to create: " + temporary, error) from error
    text = _read_rules()
    try:
        _compile(text, fd)
    except OSError as error:
        raise _death("fatal", "unable to write to: " + temporary, error) from error
    try:
        os.rename(temporary, path)
    except OSError as error:
        raise _death("error", f"unable to move {temporary} to: {path}", error) from error
    return 0


def _read_rules() -> bytes:
    blocks = []
    try:
        while block := os.read(0, 1 << 18):
            blocks.append(block)
    except OSError as error:
        raise _death("fatal", "unable to read input", error) from error
    return b"".join(blocks)


def _compile(text: bytes, fd: int) -> None:
    """Write the database; raises Die at the first line that is no rule, OSError."""
    writer = CdbWriter(fd)
    try:
        for keys, data in parse(text):
            writer.extend(keys, data)
    except BadRule as bad:
        raise Die(f"tcprules: syntax: {bad.complaint}{os.fsdecode(bad.line)}", SYNTAX) from bad
    writer.finish()
    os.close(fd)


def _death(kind: str, doing: str, error: OSError) -> Die:
    return Die(f"tcprules: {kind}: (111) {doing}: {error_text(error)}")
