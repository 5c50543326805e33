"""NAME
    tcpcat - print what a server says
SYNOPSIS
    tcpcat [ host [ port ] ]
DESCRIPTION
    Connects to host (0, this one) and port (17), and copies everything received to descriptor 1.
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
    host, port = operand(argv, 1, HERE), operand(argv, 2, "17")
    pipeline.become("tcpcat", pipeline.client(host, port, "sh", "-c", "exec cat <&6"), env)
