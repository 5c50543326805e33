"""NAME
    addcr - insert CR before LF
SYNOPSIS
    addcr
DESCRIPTION
    Copies descriptor 0 to descriptor 1. A CR is put before every LF, also where there is one already.
EXIT
    0; 111 unable to read or write (ucspi 11)
"""

from __future__ import annotations

from qserver.net import filters
from qserver.net.newlines import AddCr


def main(argv: list[str], env: dict[str, str]) -> int:
    """Copy to the end of the input."""
    return filters.run("addcr", AddCr())
