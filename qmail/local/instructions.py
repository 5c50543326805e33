"""Finding a recipient's instructions: safety of the home, which .qmail file there is, who owns the list (delivery 7.1-7.5)."""

from __future__ import annotations

import errno
import os

from qmail.home import conf
from qmail.local import dotqmail
from qmail.local.delivery import NOBODY, Delivery
from qserver.base.errors import Die, error_text, is_temporary, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
FORMAT, REGULAR = 0o170000, 0o100000
STICKY = 0o1000
FORWARD_ONLY = 0o100
FORBIDDEN = (errno.EPERM, errno.EACCES)
UNSAFE = 0o002


class Found:
    """The instructions of a recipient, and what their file's name says about the address."""

    __slots__ = ("data", "default", "forward_only")

    def __init__(self, data: bytes, default: bytes | None, forward_only: bool) -> None:
        self.data = data
        self.default = default
        self.forward_only = forward_only


def unsafe_bits(env: Mapping[str, str]) -> int:
    """conf-patrn: the mode bits (in octal) that nobody's home and .qmail file may have."""
    try:
        return int(conf("conf-patrn", env), 8)
    except ValueError:
        return UNSAFE


def check_home(unsafe: int, delivering: bool) -> None:
    """Refuse a home that others may write or whose owner is editing; it is the working directory. Raises Die."""
    try:
        mode = os.stat(".").st_mode
    except OSError as error:
        raise Die(f"Unable to stat home directory: {error_text(error)}. (#4.3.0)") from None
    if mode & unsafe:
        raise Die("Uh-oh: home directory is writable. (#4.7.0)")
    if mode & STICKY:
        if delivering:
            raise Die("Home directory is sticky: user is editing his .qmail file. (#4.2.1)")
        say("Warning: home directory is sticky.")


def find(delivery: Delivery, unsafe: int) -> Found:
    """The first .qmail file of the address, else, for the user's own address, the default delivery. Raises Die."""
    for name, default in dotqmail.candidates(delivery.dash, delivery.extension):
        fd = _open(name)
        if fd is None:
            continue
        try:
            found = _read(fd, name, default, unsafe)
        finally:
            os.close(fd)
        if found is not None:
            return found if found.data else Found(delivery.default, default, False)
    if delivery.dash:
        raise Die("Sorry, no mailbox here by that name. (#5.1.1)", 100)
    return Found(delivery.default, None, False)


def _open(name: bytes) -> int | None:
    try:
        return os.open(name, READ)
    except OSError as error:
        if is_temporary(error) or error.errno in FORBIDDEN:
            raise _unable_to_open(name, error) from None
        return None


def _unable_to_open(name: bytes, error: OSError) -> Die:
    return Die(f"Unable to open {os.fsdecode(name)}: {error_text(error)}. (#4.3.0)")


def _read(fd: int, name: bytes, default: bytes | None, unsafe: int) -> Found | None:
    """The contents of an open .qmail file; None for what is not a file. Raises Die."""
    try:
        mode = os.fstat(fd).st_mode
        if mode & FORMAT != REGULAR:
            return None
        if mode & unsafe:
            raise Die("Uh-oh: .qmail file is writable. (#4.7.0)")
        return Found(_contents(fd), default, bool(mode & FORWARD_ONLY))
    except OSError as error:
        raise _unable_to_open(name, error) from None


def _contents(fd: int) -> bytes:
    blocks = []
    while block := os.read(fd, 1 << 16):
        blocks.append(block)
    return b"".join(blocks)


def new_sender(delivery: Delivery) -> bytes:
    """The envelope sender of what is forwarded: the list's owner if it has one. Raises Die."""
    if delivery.sender in NOBODY:
        return delivery.sender
    owner, default = dotqmail.owner_files(delivery.dash, delivery.extension)
    return delivery.owner(_exists(default)) if _exists(owner) else delivery.sender


def _exists(name: bytes) -> bool:
    try:
        os.stat(name)
    except OSError as error:
        if is_temporary(error):
            raise _unable_to_open(name, error) from None
        return False
    return True
