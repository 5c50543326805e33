"""NAME
    cdbget - look a key up in a constant database
SYNOPSIS
    cdbget key [ skip ]
DESCRIPTION
    Prints the data of the first record with that key in the database on descriptor 0, which must be a file, without a
    newline; with skip, of the one behind so many others with the same key.
EXIT
    0; 100 there is none, or wrong call; 111 that is no database, or trouble (ucspi 2.2)
"""

from __future__ import annotations

import os

from qserver.base.cdb import Cdb
from qserver.base.errors import PERMANENT, fatal, usage
from qserver.base.files import write_all
from qserver.base.getopt import scan_number


def main(argv: list[str], env: dict[str, str]) -> int:
    """Print the data."""
    if len(argv) < 2:
        raise usage("cdbget", "cdbget key [ skip ]")
    key, skip = os.fsencode(argv[1]), scan_number(argv[2]) if len(argv) > 2 else 0
    try:
        with Cdb.from_fd(0) as cdb:
            found = next((data for number, data in enumerate(cdb.get_all(key)) if number == skip), None)
    except OSError as error:
        raise fatal("cdbget", "unable to read input", error, unknown=None) from error
    if found is None:
        return PERMANENT
    try:
        write_all(1, found)
    except OSError as error:
        raise fatal("cdbget", "unable to write output", error, unknown=None) from error
    return 0
