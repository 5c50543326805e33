"""NAME
    https@ - print a page fetched by TLS
SYNOPSIS
    https@ [ host [ path [ port [ options ] ] ] ]
DESCRIPTION
    Asks port (443) of host (0, this one) for /path by HTTP/1.1 in TLS, without verifying the certificate, and prints
    the body: everything after the first empty line, without CR and without further empty lines. The options are
    sslclient's.
EXIT
    0; 111 trouble (ucspi 9)
"""

from __future__ import annotations

from qserver.net import pipeline
from qserver.net.pipeline import HERE, operand


def main(argv: list[str], env: dict[str, str]) -> int:
    """Print the body."""
    host, path, port = operand(argv, 1, HERE), operand(argv, 2, ""), operand(argv, 3, "443")
    question = f"GET /{path} HTTP/1.1\nHost: {host}:{port}\nConnection: close\n\n"
    command = pipeline.tls_client("-XRHl0", argv[4:], host, port, "sh", "-c", pipeline.SAY, "https@", question)
    return pipeline.print_page("https@", command, env)
