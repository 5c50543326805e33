"""python -m bench.program SERVER PROGRAM [option ...] host port: our tcpserver or sslserver with a network program made for
measuring: `echo` sends back what it hears, `source` sends, `sink` counts and answers with the count."""

from __future__ import annotations

import importlib
import os
import sys

from qserver.net import programs
from qserver.net.connection import Connection

BULK = 100_000_000
BLOCK = bytes(65536)


def echo(_argv: list[str], _env: dict[str, str], connection: Connection) -> int:
    """Until the client's last word."""
    while words := connection.read():
        connection.write(words)
    return 0


def source(_argv: list[str], _env: dict[str, str], connection: Connection) -> int:
    """BULK octets."""
    left = BULK
    while left > 0:
        connection.write(BLOCK[:left])
        left -= len(BLOCK)
    return 0


def sink(_argv: list[str], _env: dict[str, str], connection: Connection) -> int:
    """BULK octets."""
    heard = 0
    while heard < BULK and (words := connection.read()):
        heard += len(words)
    connection.write(b"%d\n" % heard)
    return 0


def main() -> int:
    """Serve until SIGTERM."""
    server, name, *words = sys.argv[1:]
    serve = {"echo": echo, "source": source, "sink": sink}[name]
    programs.choose = lambda argv, env, always_spawn: programs.Called(argv, serve)
    command = importlib.import_module(f"qserver.commands.{server}")
    code: int = command.main([server, *words, name], dict(os.environ))
    return code


if __name__ == "__main__":
    sys.exit(main())
