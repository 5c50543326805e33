"""The few system calls that Python 3.11 has no name for: mount, setns; and a network interface that is brought up."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
RDONLY, REMOUNT, BIND, RECURSIVE = 1, 32, 4096, 16384
NEWNET = 0x40000000
GET_FLAGS, SET_FLAGS, IS_UP = 0x8913, 0x8914, 1
INTERFACE = "16sh14x"


def _checked(result: int, what: object) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(what))


def mount(kind: str, at: Path, options: str = "") -> None:
    """Mount a file system that needs no device. Raises OSError."""
    name = kind.encode()
    _checked(LIBC.mount(name, os.fsencode(at), name, 0, options.encode() or None), at)


def bind(source: Path, at: Path, *, read_only: bool = True) -> None:
    """Show `source`, with what is mounted below it, at another place too. Raises OSError."""
    _checked(LIBC.mount(os.fsencode(source), os.fsencode(at), None, BIND | RECURSIVE, None), at)
    if read_only:
        _checked(LIBC.mount(None, os.fsencode(at), None, REMOUNT | BIND | RDONLY, None), at)


def enter_network(fd: int) -> None:
    """Move the calling thread to the network namespace of a descriptor. Raises OSError."""
    _checked(LIBC.setns(fd, NEWNET), "setns")


def bring_up(interface: str) -> None:
    """As `ip link set INTERFACE up`. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        name, flags = struct.unpack(INTERFACE, fcntl.ioctl(sock, GET_FLAGS, struct.pack(INTERFACE, interface.encode(), 0)))
        fcntl.ioctl(sock, SET_FLAGS, struct.pack(INTERFACE, name, flags | IS_UP))
