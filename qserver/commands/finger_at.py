"""NAME
    finger@ - ask a host about a user
SYNOPSIS
    finger@ [ host [ user ] ]
DESCRIPTION
    Connects to port 79 of host (0, this one), says user, and prints the answer without CR, unprintable characters made
    visible.
EXIT
    0 (ucspi 9)
"""

from __future__ import annotations

from qserver.net import pipeline
from qserver.net.pipeline import HERE, operand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Become the last of the pipeline."""
    question = f"{operand(argv, 2, '')}\n"
    command = pipeline.client(operand(argv, 1, HERE), "79", "sh", "-c", pipeline.SAY, "finger@", question)
    pipeline.show("finger@", command, env)
