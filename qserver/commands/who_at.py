"""NAME
    who@ - list a host's users
SYNOPSIS
    who@ [ host ]
DESCRIPTION
    Connects to port 11 of host (0, this one) and prints what it says, without CR, unprintable characters made visible.
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
    pipeline.show("who@", pipeline.client(operand(argv, 1, HERE), "11", "sh", "-c", pipeline.DELCR), env)
