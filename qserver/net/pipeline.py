"""The small clients: tcpclient with a shell script at its descriptors 6 and 7, and what is made of its output (ucspi 9)."""

from __future__ import annotations

import os

from qserver.base import chain
from qserver.base.errors import fatal
from qserver.base.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

HERE = "0"
BLOCK = 65536


def operand(argv: list[str], at: int, default: str) -> str:
    """An operand, or what it is where it is missing."""
    return argv[at] if len(argv) > at else default


def client(host: str, port: str, *program: str) -> list[str]:
    """The command line that connects."""
    return ["tcpclient", "-RHl0", "--", host, port, *program]


def tls_client(letters: str, options: list[str], host: str, port: str, *program: str) -> list[str]:
    """The command line that connects with TLS."""
    return ["sslclient", letters, *options, "--", host, port, *program]


def become(prog: str, argv: list[str], env: dict[str, str]) -> NoReturn:
    """Only connect: the client's exit code is ours."""
    chain.execute(argv, env, prog)


def reader(prog: str, argv: list[str], env: dict[str, str]) -> int:
    """Start the client; returns the descriptor its output is read from. Raises Die."""
    try:
        output, into = os.pipe2(os.O_CLOEXEC)
        chain.spawn(argv, env, {1: into})
    except OSError as error:
        raise fatal(prog, f"(111) unable to run: {argv[0]}", error, unknown=None) from error
    os.close(into)
    return output


def show(prog: str, argv: list[str], env: dict[str, str]) -> NoReturn:
    """Start the client and become `cat -v` behind it."""
    output = reader(prog, argv, env)
    os.dup2(output, 0)
    chain.execute(["cat", "-v"], env, prog)


def print_page(prog: str, argv: list[str], env: dict[str, str]) -> int:
    """Start a client that fetches a page, and print the body. Raises Die."""
    output = reader(prog, argv, env)
    try:
        print_body(output)
    except OSError as error:
        raise fatal(prog, "(111) unable to write", error, unknown=None) from error
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


DELCR = "exec delcr <&6"
SAY = 'printf "%s" "$1" | addcr >&7; ' + DELCR
"""Says its argument with CR LF, then reads."""
