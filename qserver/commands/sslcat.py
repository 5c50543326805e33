"""NAME
    sslcat - print what a TLS server says
SYNOPSIS
    sslcat [ host [ port [ options ] ] ]
DESCRIPTION
    Connects to host (0, this one) and port (443) with TLS, and copies everything received to descriptor 1. The options
    are sslclient's.
EXIT
    sslclient's (ucspi 9)
"""

from __future__ import annotations

from qserver.net import pipeline
from qserver.net.pipeline import HERE, operand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Become sslclient."""
    host, port = operand(argv, 1, HERE), operand(argv, 2, "443")
    pipeline.become("sslcat", pipeline.tls_client("-RHl0", argv[3:], host, port, "sh", "-c", "exec cat <&6"), env)
