"""The protocol between a program and qmail-queued over a unix stream socket (delivery 2.1).

The client sends one byte `Q` with two descriptors (message, envelope) as SCM_RIGHTS, then NUL-terminated `NAME=value`
strings and a final NUL. The service answers one byte, qmail-queue's exit code. Who the client is the kernel tells.
"""

from __future__ import annotations

import _socket
import os
import struct

from qmail.queue import codes
from qmail.queue.scanner import VARIABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_NAME = 107
"""Bytes of a socket's name."""
LARGEST_SETTINGS = 65536
SO_PEERCRED = 17
CREDENTIALS = struct.Struct("=iII")
PATIENCE = 30.0
"""Seconds a client may take for its first bytes; after that, time is bounded by the 24 hours of a message."""


def with_address(path: str, use: Callable[[str], object]) -> None:
    """Call `use` with a name of the socket at `path` that fits into a sockaddr_un, however long the home's path is.

    Raises OSError.
    """
    if len(os.fsencode(path)) <= LONGEST_NAME:
        use(path)
        return
    directory, _, name = path.rpartition("/")
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        use(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)


def connect(path: str) -> _socket.socket:
    """A connection to the service. Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    try:
        with_address(path, sock.connect)
    except OSError:
        sock.close()
        raise
    return sock


def send(sock: _socket.socket, message: int, envelope: int, env: Mapping[str, str]) -> None:
    """Hand over the descriptors and the scanner's settings. Raises OSError."""
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("=2i", message, envelope))]
    sock.sendmsg([b"Q"], rights)
    settings = [f"{name}={env[name]}" for name in VARIABLES if name in env] if "QHPSI" in env else []
    sock.sendall(b"".join([os.fsencode(setting) + b"\0" for setting in settings]) + b"\0")


def answer(sock: _socket.socket) -> int:
    """Wait for the exit code; 53 when the service went away before it told."""
    try:
        byte = sock.recv(1)
    except OSError:
        return codes.WRITE_ERROR
    return byte[0] if byte else codes.WRITE_ERROR


class Request:
    """What came from a client: its descriptors (to be closed by `close`), its identity, its settings."""

    __slots__ = ("env", "envelope", "message", "pid", "uid")

    def __init__(self, message: int, envelope: int, pid: int, uid: int, env: dict[str, str]) -> None:
        self.message = message
        self.envelope = envelope
        self.pid = pid
        self.uid = uid
        self.env = env

    def close(self) -> None:
        """Close the client's descriptors."""
        os.close(self.message)
        os.close(self.envelope)


def receive(sock: _socket.socket) -> Request | None:
    """Read a request; None for a client that does not keep to the protocol. Raises TimeoutError, OSError."""
    sock.settimeout(PATIENCE)
    data, ancillary, flags, _ = sock.recvmsg(1, _socket.CMSG_SPACE(4 * 4), _socket.MSG_CMSG_CLOEXEC)
    fds = _descriptors(ancillary)
    if data != b"Q" or len(fds) != 2 or flags & _socket.MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        return None
    try:
        env = _settings(sock)
    except OSError:
        env = None
    if env is None:
        os.close(fds[0])
        os.close(fds[1])
        return None
    pid, uid, _ = CREDENTIALS.unpack(sock.getsockopt(_socket.SOL_SOCKET, SO_PEERCRED, CREDENTIALS.size))
    sock.settimeout(None)
    return Request(fds[0], fds[1], pid, uid, env)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found: list[int] = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            found += struct.unpack(f"={len(data) // 4}i", data[: len(data) // 4 * 4])
    return found


def _settings(sock: _socket.socket) -> dict[str, str] | None:
    """The strings up to the empty one; None if they end early or are too many."""
    data = b""
    while data != b"\0" and not data.endswith(b"\0\0"):
        block = sock.recv(4096)
        if not block or len(data) > LARGEST_SETTINGS:
            return None
        data += block
    pairs = (os.fsdecode(item).partition("=") for item in data.split(b"\0") if item)
    return {name: value for name, _, value in pairs if name in VARIABLES}
