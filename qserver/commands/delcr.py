"""NAME
    delcr - remove CR before LF
SYNOPSIS
    delcr
DESCRIPTION
    Copies descriptor 0 to descriptor 1. One CR right before an LF is removed; other CRs stay, also at the end of the input.
EXIT
    0; 111 unable to read or write (ucspi 11)
"""

from __future__ import annotations

from qserver.net import filters
from qserver.net.newlines import DelCr


def main(argv: list[str], env: dict[str, str]) -> int:
    """Copy to the end of the input."""
    return filters.run("delcr", DelCr())
