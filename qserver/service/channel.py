"""How a service says that it is ready: a newline on a pipe (s6's `notification-fd`), or READY=1 in a datagram (systemd's
NOTIFY_SOCKET) where a file `notification-socket` asks for it (daemontools 24.3).

The socket has an abstract address that the kernel chose: a service that has changed its identity can write to it, and
nothing is left behind. So can everybody else on the host, and therefore only what the service's own processes say counts.
"""

from __future__ import annotations

import os
import sys

from qserver.base.errors import warn
from qserver.service import place, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

PROG = "supervise"
CREDENTIALS = 12
"""Bytes of a struct ucred: pid, uid, gid."""
LONGEST_DATAGRAM = 4096


class Pipe:
    """The reading end of one run's pipe. `fd` is -1 while there is none."""

    __slots__ = ("_writer", "fd")

    def __init__(self) -> None:
        self.fd = self._writer = -1

    def open(self, service: str) -> dict[int, int]:
        """A new pipe, if the service wants one: what its process gets, descriptor there → here. Raises OSError."""
        number = settings.notification(service)
        if number is None:
            return {}
        self.fd, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self._writer, True)
        return {number: self._writer}

    def started(self) -> None:
        """The process has its end: close ours."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def read(self) -> tuple[bool, bool]:
        """Whether a newline has come, and whether nothing more will."""
        try:
            block = os.read(self.fd, LONGEST_DATAGRAM)
        except BlockingIOError:
            return False, False
        return b"\n" in block, not block

    def close(self) -> None:
        """Both ends."""
        self.started()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Datagrams:
    """The socket of one service, kept across its restarts. `address` is what NOTIFY_SOCKET holds."""

    __slots__ = ("_socket", "address")

    def __init__(self) -> None:
        import _socket

        self._socket: _socket.socket = _socket.socket(
            _socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        )
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self._socket.bind("")
        self.address = "@" + os.fsdecode(self._socket.getsockname()[1:])

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    def read(self) -> list[tuple[int, bytes]]:
        """The datagrams that have come: the pid of the sender as the kernel tells it, and the text.

        Descriptors that come along are closed by the kernel, for there is no room for them; a sender that waits for that
        (BARRIER=1) goes on.
        """
        import _socket

        told: list[tuple[int, bytes]] = []
        while True:
            try:
                text, ancillary, _, _ = self._socket.recvmsg(LONGEST_DATAGRAM, _socket.CMSG_SPACE(CREDENTIALS))
            except OSError:
                return told
            for level, kind, data in ancillary:
                if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_CREDENTIALS):
                    told.append((int.from_bytes(data[:4], sys.byteorder), text))


def wants_socket() -> bool:
    """Whether the service in the current directory asks for NOTIFY_SOCKET."""
    return place.exists("notification-socket")


def says_ready(text: bytes) -> bool:
    """Whether a datagram of sd_notify(3) holds READY=1."""
    return b"READY=1" in text.split(b"\n")


def belongs(sender: int, pid: int, *, own_session: bool) -> bool:
    """Whether a process is the service's: itself, or one of its session; any of its process group where it has no session."""
    if sender == pid:
        return True
    try:
        return os.getsid(sender) == pid if own_session else os.getpgid(sender) == os.getpgid(pid)
    except OSError:
        return False


def datagrams(service: str) -> Datagrams | None:
    """The socket, or None with a warning."""
    try:
        return Datagrams()
    except OSError as error:
        warn(PROG, f"unable to create a notification socket for {service}", error)
        return None
