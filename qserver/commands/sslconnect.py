"""NAME
    sslconnect - talk to a mail server by TLS
SYNOPSIS
    sslconnect [ host [ port [ options ] ] ]
DESCRIPTION
    Connects to host (0, this one) and port (465) with TLS, without verifying the certificate; lines typed are sent with
    CR LF, what is received is shown. Ends when the server does. The options are sslclient's.
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
    host, port = operand(argv, 1, HERE), operand(argv, 2, "465")
    pipeline.become("sslconnect", pipeline.tls_client("-XRHl0", argv[3:], host, port, "mconnect-io"), env)
