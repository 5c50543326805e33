"""NAME
    mconnect - talk to a mail server
SYNOPSIS
    mconnect [ host [ port ] ]
DESCRIPTION
    Connects to host (0, this one) and port (25); lines typed are sent with CR LF, what is received is shown. Ends when
    the server does.
EXIT
    tcpclient's (ucspi 9)
"""

from __future__ import annotations

from qserver.net import pipeline
from qserver.net.pipeline import HERE, operand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Become tcpclient."""
    host, port = operand(argv, 1, HERE), operand(argv, 2, "25")
    pipeline.become("mconnect", pipeline.client(host, port, "mconnect-io"), env)
