"""NAME
    http@ - print a page
SYNOPSIS
    http@ [ host [ path [ port ] ] ]
DESCRIPTION
    Asks port (80) of host (0, this one) for /path by HTTP/1.0 and prints the body: everything after the first empty line,
    without CR and without further empty lines.
EXIT
    0; 111 trouble (ucspi 9)
"""

from __future__ import annotations

import os

from qserver.base.errors import fatal
from qserver.base.files import write_all
from qserver.net import pipeline
from qserver.net.pipeline import HERE, operand

BLOCK = 65536


def main(argv: list[str], env: dict[str, str]) -> int:
    """Print the body."""
    host, path, port = operand(argv, 1, HERE), operand(argv, 2, ""), operand(argv, 3, "80")
    question = f"GET /{path} HTTP/1.0\nHost: {host}:{port}\n\n"
    output = pipeline.reader("http@", pipeline.client(host, port, "sh", "-c", pipeline.SAY, "http@", question), env)
    try:
        print_body(output)
    except OSError as error:
        raise fatal("http@", "(111) unable to write", error, unknown=None) from error
    return 0


def print_body(fd: int) -> None:
    """The lines after the first empty one that are not empty. Raises OSError."""
    within, line = False, b""
    while block := os.read(fd, BLOCK):
        *lines, line = (line + block).split(b"\n")
        if not within and b"" in lines:
            lines = lines[lines.index(b"") :]
            within = True
        if within:
            write_all(1, b"".join(text + b"\n" for text in lines if text))
    if within and line:
        write_all(1, line + b"\n")
