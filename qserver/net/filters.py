"""A filter from descriptor 0 to descriptor 1."""

from __future__ import annotations

import os

from qserver.base.errors import fatal
from qserver.base.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Conversion(Protocol):
        """What is made of a stream, block by block."""

        def convert(self, block: bytes) -> bytes: ...

        def rest(self) -> bytes: ...


BLOCK = 65536


def run(prog: str, conversion: Conversion) -> int:
    """Convert all there is, saying at once what can be said. Raises Die, 111."""
    try:
        while block := os.read(0, BLOCK):
            _write(prog, conversion.convert(block))
    except OSError as error:
        raise fatal(prog, "(111) unable to read", error, unknown=None) from error
    _write(prog, conversion.rest())
    return 0


def _write(prog: str, data: bytes) -> None:
    try:
        write_all(1, data)
    except OSError as error:
        raise fatal(prog, "(111) unable to write", error, unknown=None) from error
