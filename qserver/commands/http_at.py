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

from qserver.net import pipeline
from qserver.net.pipeline import HERE, operand


def main(argv: list[str], env: dict[str, str]) -> int:
    """Print the body."""
    host, path, port = operand(argv, 1, HERE), operand(argv, 2, ""), operand(argv, 3, "80")
    question = f"GET /{path} HTTP/1.0\nHost: {host}:{port}\n\n"
    return pipeline.print_page("http@", pipeline.client(host, port, "sh", "-c", pipeline.SAY, "http@", question), env)
